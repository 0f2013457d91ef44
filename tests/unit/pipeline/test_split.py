"""The laws of a split: sticky, in proportion, as few moves as there can be, and rows that never stop serving."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DeclarationError
from headrace.pipeline.split import Route, Split

NAMES = ("a", "b", "c", "d")
USERS = [f"user-{n}" for n in range(150)]
weights = st.lists(st.floats(0.01, 100), min_size=2, max_size=4)
anything = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(), st.sampled_from(NAMES))


def split(values: list[float], **options: Any) -> Split:
    return Split("/x", [Route(name, value) for name, value in zip(NAMES, values, strict=False)], **options)


def rows(**values: Any) -> list[dict[str, Any]]:
    return [{"endpoint": "/x", "version": name, "weight": value, "shadow": False} for name, value in values.items()]


@given(weights, st.text(max_size=8))
def test_a_user_stays_whoever_asks_and_however_the_weights_are_written(values: list[float], user: str) -> None:
    chosen = split(values).choose(user)
    assert split(values).choose(user) == chosen
    assert split([value * 4 for value in values]).choose(user) == chosen
    backwards = [Route(name, value) for name, value in zip(NAMES, values, strict=False)][::-1]
    assert Split("/x", backwards).choose(user) == chosen


@given(weights, weights)
def test_who_moves_leaves_a_version_that_fell_or_goes_to_one_that_rose(before: list[float], after: list[float]) -> None:
    after = [*after, *before[len(after) :]][: len(before)]
    old, new = split(before), split(after)
    for user in USERS:
        left, went = old.choose(user), new.choose(user)
        if left != went:
            assert new.weights[left] < old.weights[left] or new.weights[went] > old.weights[went]


@given(st.floats(0, 1), st.floats(0, 1))
def test_between_two_versions_only_the_difference_moves(before: float, after: float) -> None:
    def at(share: float) -> Split:
        return split([1, 0], rows=rows(a=1 - round(share, 3), b=round(share, 3)))

    moved = {(at(before).choose(user), at(after).choose(user)) for user in USERS}
    assert moved - {("a", "a"), ("b", "b")} <= ({("a", "b")} if after > before else {("b", "a")})


@given(st.integers(0, 10_000))
def test_raising_one_version_moves_users_to_it_alone(seed: int) -> None:
    users = [f"{seed}-{n}" for n in range(50)]
    old, new = split([5, 3, 2]), split([5, 3, 4])
    assert all(new.choose(user) in (old.choose(user), "c") for user in users)


@pytest.mark.parametrize("values", [[90, 10], [1, 1, 1], [97, 2, 1], [0.5, 0.25, 0.15, 0.1]])
def test_shares_are_as_the_weights(values: list[float]) -> None:
    one, count = split(values), 10_000
    found = [one.choose(f"u{n}") for n in range(count)]
    for name, value in zip(NAMES, values, strict=False):
        share = value / sum(values)
        # Five standard deviations of a binomial: the users are fixed, so this cannot fail by chance tomorrow.
        assert abs(found.count(name) / count - share) < 5 * math.sqrt(share * (1 - share) / count)


def test_at_most_what_the_bound_says_moves_among_three() -> None:
    old, new, count = split([60, 30, 10]), split([40, 30, 30]), 10_000
    moved = sum(old.choose(f"u{n}") != new.choose(f"u{n}") for n in range(count)) / count
    assert 0.2 - 0.015 < moved < 2 * 0.2 / 1.2 + 0.015


def test_endpoints_and_salts_deal_anew() -> None:
    first, other = split([1, 1]), Split("/y", [Route("a", 1), Route("b", 1)])
    salted = split([1, 1], salt="second experiment")
    for one in (other, salted):
        same = sum(first.choose(user) == one.choose(user) for user in USERS)
        assert 45 < same < 105


def test_rows_replace_the_declared_weights() -> None:
    one = split([1, 0], rows=[*rows(a=0, b=3), {"endpoint": "/other", "version": "zzz", "weight": -1}])
    assert {one.choose(user) for user in USERS} == {"b"}
    assert one.problem is None


def test_a_version_without_a_row_keeps_what_is_declared() -> None:
    declared = [Route("a", 1), Route("b", 0), Route("s", 1, shadow=True)]
    canary = Split("/x", declared, rows(b=0.05))
    assert (canary.weights, canary.mirrored, canary.problem) == ({"a": 1, "b": 0.05}, {"s": 1}, None)
    assert Split("/x", declared, rows(a=3)).weights == {"a": 3, "b": 0}
    assert Split("/x", declared, rows(b=-1)).weights == {"a": 1, "b": 0}


def test_a_row_moves_its_version_between_those_that_answer_and_the_shadows() -> None:
    declared = [Route("a", 1), Route("b", 1), Route("s", 1, shadow=True)]
    live = Split("/x", declared, rows(s=2))
    assert (live.weights, live.mirrored) == ({"a": 1, "b": 1, "s": 2}, {})
    unseen = Split("/x", declared, [{"endpoint": "/x", "version": "b", "weight": 0.5, "shadow": True}])
    assert (unseen.weights, unseen.mirrored) == ({"a": 1}, {"s": 1, "b": 0.5})


def test_the_declared_weights_hold_when_the_last_that_answers_is_made_a_shadow() -> None:
    one = split([1, 0], rows=[{"endpoint": "/x", "version": "a", "weight": 1, "shadow": True}])
    assert one.choose("ann") == "a"
    assert one.problem is not None
    assert "no version has a weight above 0" in one.problem.message


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (rows(a=1, z=1), "no version 'z'"),
        (rows(a=1, b=-1), "'b' has the weight -1"),
        (rows(a=1, b=math.nan), "nan"),
        (rows(a=1, b=10**400), "weight 1000"),
        (rows(a=1, b="5"), "'5'"),
        (rows(a=0, b=0), "no version has a weight above 0"),
        ([*rows(a=1), *rows(a=2)], "named twice"),
        ([*rows(a=1), {"endpoint": "/x", "version": "b", "weight": 5, "shadow": True}], "share of users"),
        ([*rows(a=1), {"endpoint": "/x"}], "no version None"),
    ],
)
def test_a_wrong_row_is_left_out_and_told(wrong: list[dict[str, Any]], word: str) -> None:
    one = split([1, 0], rows=wrong)
    assert {one.choose(user) for user in USERS} == {"a"}
    assert one.problem is not None
    assert one.problem.subject == "endpoint:/x"
    assert word in one.problem.message


@given(st.lists(st.fixed_dictionaries({"endpoint": st.just("/x"), "version": anything, "weight": anything})))
def test_no_row_stops_serving(some: list[dict[str, Any]]) -> None:
    one = split([1, 2], rows=some)
    assert one.choose("ann") in ("a", "b")
    assert one.shadows("ann") == ()


def test_a_shadow_sees_its_share_and_never_answers() -> None:
    shadow = {"endpoint": "/x", "version": "b", "weight": 0.25, "shadow": True}
    one = split([1, 0], rows=[shadow])
    seen = {user for user in USERS if one.shadows(user) == ("b",)}
    assert {one.choose(user) for user in USERS} == {"a"}
    assert 20 < len(seen) < 55
    more = split([1, 0], rows=[{**shadow, "weight": 0.5}])
    assert seen <= {user for user in USERS if more.shadows(user)}


def test_who_is_answered_by_the_shadow_is_not_mirrored_to_it() -> None:
    shadow = {"endpoint": "/x", "version": "b", "weight": 1, "shadow": True}
    one = split([1, 0], rows=[shadow, *rows(a=1, b=1)])
    assert all(one.shadows(user) == (() if one.choose(user) == "b" else ("b",)) for user in USERS)


@pytest.mark.parametrize("routes", [[], [Route("a", 0)], [Route("a", -1)], [Route("a", 1, shadow=True)]])
def test_defaults_that_answer_nobody_are_refused(routes: list[Route]) -> None:
    with pytest.raises(DeclarationError):
        Split("/x", routes)
