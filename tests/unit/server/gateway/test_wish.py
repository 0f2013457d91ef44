from __future__ import annotations

import json

import pytest

from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.wish import OnStale, Wish, read

LIMITS = {"max_reads": 2, "max_wait": 1_000_000}


def of(member: object = None, headers: list | None = None) -> Wish | None:
    extra = None if member is None else json.dumps(member).encode()
    return read(extra, headers or [], **LIMITS)


def test_body_and_headers_add_up() -> None:
    found = of(
        {"context": [{"view": "a", "params": {"x": 1}, "policy": "refuse", "max_age": "2s"}], "on_stale": "retry"},
        [(b"x-headrace-context", b"b?y=1%2C2&_policy=flag"), (b"x-headrace-context-as", b"user")],
    )
    assert found is not None
    assert [(one.view, one.params, str(one.policy), one.max_age) for one in found.views] == [
        ("a", {"x": 1}, "refuse", 2_000_000),
        ("b", {"y": "1,2"}, "flag", None),
    ]
    assert (found.place, found.on_stale) == ("user", OnStale.RETRY)


def test_nothing_is_wanted() -> None:
    assert of() is None
    assert of({}) is None
    assert of({"on_stale": "refuse"}) is None


@pytest.mark.parametrize(
    ("member", "headers"),
    [
        ({"contexts": []}, []),
        ({"context": "menu"}, []),
        ({"context": [{"params": {}}]}, []),
        ({"context": [{"view": "a", "policy": "never"}]}, []),
        ({"context": [{"view": "a", "policy": "wait 5s"}]}, []),
        ({"context": [{"view": "a", "max_age": "soon"}]}, []),
        ({"context": [{"view": "a"}], "as": "assistant"}, []),
        ({"context": [{"view": "a"}] * 3}, []),
        (None, [(b"x-headrace-context", b"a,b,c")]),
        (None, [(b"x-headrace-context", b"a?x=1&x=2")]),
        (None, [(b"x-headrace-context", b"a"), (b"x-headrace-on-stale", b"ignore")]),
        (None, [(b"x-headrace-context", b"a"), (b"x-headrace-context-as", b"tool")]),
    ],
)
def test_mistakes_are_told(member: object, headers: list) -> None:
    with pytest.raises(Complaint) as caught:
        of(member, headers)
    assert caught.value.status == 400
    assert (caught.value.param or "").startswith("headrace")
