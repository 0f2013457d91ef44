"""Requests whose head is kept are the same bytes as those that are written anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import Misuse
from headrace.http1.client import Client, _message  # pyright: ignore[reportPrivateUsage]
from headrace.http1.origin import Origin

ORIGINS = st.builds(Origin, st.just("http"), st.sampled_from(["a", "::1", "127.0.0.1"]), st.sampled_from([80, 8000]))
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"x-a", b"x-b", b"host", b"authorization"]), st.from_regex(rb"\A[\x21-\x7e]{0,9}\Z")),
    max_size=4,
).map(tuple)
ONES = st.tuples(ORIGINS, st.sampled_from([b"/", b"/v1/a?b=c"]), FIELDS, st.binary(max_size=40))


@given(st.lists(ONES, max_size=6))
def test_a_kept_head_is_the_head_that_would_be_written(
    ones: list[tuple[Origin, bytes, tuple[tuple[bytes, bytes], ...], bytes]],
) -> None:
    client = Client()
    for origin, target, headers, body in ones + ones:
        anew = _message(b"POST", origin, target, headers, body, None)
        assert client._post(origin, target, headers, body) == anew  # pyright: ignore[reportPrivateUsage]


def test_what_may_not_be_written_is_refused_each_time() -> None:
    client = Client()
    for _ in range(2):
        with pytest.raises(Misuse, match="line break"):
            client._post(Origin("http", "a", 80), b"/", ((b"x", b"a\r\nb"),), b"")  # pyright: ignore[reportPrivateUsage]
