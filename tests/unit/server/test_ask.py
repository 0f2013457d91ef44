from __future__ import annotations

from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.context.policy import FreshnessPolicy
from headrace.core.errors import BadParameter
from headrace.server.ask import Ask, parse_flag, parse_max_age, parse_policy, parse_query

names = st.text(min_size=1).filter(lambda name: not name.startswith("_"))
text = st.text(st.characters(exclude_categories=("Cs",)))


@given(st.dictionaries(names.filter(lambda n: n.isprintable()), text))
def test_queries_come_back(params: dict[str, str]) -> None:
    assert parse_query(urlencode(params).encode()) == (params, {})
    assert parse_query("&".join(f"{quote_plus(n)}={quote_plus(v)}" for n, v in params.items()).encode())[0] == params


@pytest.mark.parametrize("query", [b"a=1&a=2", b"_x=1", b"a=%ff", b"%ff=1", b"_policy=1&_policy=2"])
def test_queries_that_are_refused(query: bytes) -> None:
    with pytest.raises(BadParameter):
        parse_query(query)


def test_the_query_beats_the_header_and_a_wrong_loser_is_said() -> None:
    headers = {b"headrace-policy": b"refuse", b"headrace-max-age": b"3"}
    ask = Ask.of(headers, {"_policy": "serve"}, max_wait=1)
    assert (str(ask.policy), ask.max_age, ask.readset) == ("serve", 3_000_000, False)
    with pytest.raises(BadParameter):
        Ask.of({b"headrace-policy": b"what"}, {"_policy": "serve"}, max_wait=1)
    with pytest.raises(BadParameter):
        Ask.of({b"headrace-policy": b""}, {}, max_wait=1)
    assert Ask.of({}, {}, max_wait=1) == Ask()


@pytest.mark.parametrize("given", ["2", "2.0", "2s", "2000ms"])
def test_ages(given: str) -> None:
    assert parse_max_age(given) == 2_000_000


@pytest.mark.parametrize("given", ["", "-1", "0", "two", "1e3", "1..2", "²", "nan", "inf", "9" * 400, "9" * 400 + "s"])
def test_ages_that_are_none(given: str) -> None:
    with pytest.raises(BadParameter):
        parse_max_age(given)


def test_a_wait_is_bounded() -> None:
    assert parse_policy("wait 1s", 1_000_000) == FreshnessPolicy(wait=1_000_000)
    with pytest.raises(BadParameter, match="too long"):
        parse_policy("wait 1s", 999_999)


def test_flags() -> None:
    assert [parse_flag(one) for one in (None, "0", "no", "1", "TRUE")] == [False, False, False, True, True]
    with pytest.raises(BadParameter):
        parse_flag("maybe")
