"""When a source changes its shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.contract import Contract
from headrace.contracts.evolution import Evolution
from headrace.contracts.infer import schema_of
from headrace.contracts.judge import Judge
from headrace.core.changes import Batch, Deletes, Json, Judged, Upserts, Violation
from headrace.core.events import Problem, Solved
from headrace.core.records import Record
from headrace.core.schema import TableKind


class Item(Record):
    item_id: str
    price: float


def contract(**options: Any) -> Contract:
    return Contract(Item, schema_of(Item, kind=TableKind.TABLE, key="item_id"), **options)


def bad(rule: str, column: str = "price", count: int = 1) -> Judged:
    return Judged(violations=[Violation(b"", rule, column, "", "")] * count)


def good(count: int = 1, **unknown: int) -> Judged:
    return Judged(changes=[Upserts([("a", 1.0)] * count)], unknown_fields=unknown)


@pytest.mark.parametrize(("rule", "kind"), [("missing", "column_dropped"), ("type", "column_retyped")])
def test_a_column_that_is_gone_or_changed_is_a_problem_until_it_is_back(rule: str, kind: str) -> None:
    evolution = Evolution(contract())
    assert evolution.observe(good(50)) == []
    events = [event for _ in range(100) for event in evolution.observe(bad(rule))]
    assert [type(event) for event in events] == [Problem]
    assert (events[0].subject, events[0].kind) == ("source:items", kind)  # type: ignore[union-attr]
    assert "'price'" in events[0].message  # type: ignore[union-attr]
    assert events[0].hint  # type: ignore[union-attr]
    events = [event for _ in range(100) for event in evolution.observe(good())]
    assert events == [Solved("source:items", kind)]


def test_some_bad_records_are_no_change_of_shape() -> None:
    evolution = Evolution(contract())
    assert [evolution.observe(Judged(good(3).changes, bad("missing").violations)) for _ in range(99)] == [[]] * 99
    assert [evolution.observe(bad("gt")) for _ in range(99)] == [[]] * 99


def test_a_few_records_prove_nothing() -> None:
    evolution = Evolution(contract())
    assert evolution.observe(bad("missing", count=9)) == []
    assert len(evolution.observe(bad("missing"))) == 1


def test_a_flickering_source_is_reported_once() -> None:
    evolution = Evolution(contract())
    events = evolution.observe(bad("missing", count=100))
    for _ in range(20):
        events += evolution.observe(good(30))
        events += evolution.observe(bad("missing", count=30))
    assert len(events) == 1


def test_a_second_column_is_reported_too() -> None:
    evolution = Evolution(contract())
    evolution.observe(bad("missing", count=200))
    (problem,) = evolution.observe(bad("missing", "item_id", 2000))
    assert isinstance(problem, Problem)
    assert "'item_id'" in problem.message


@pytest.mark.parametrize(
    ("new_fields", "kinds"), [("ignore", ["column_added"]), ("quarantine", ["column_added"]), ("adopt", [])]
)
def test_a_new_column_is_a_problem_unless_adopted(new_fields: Any, kinds: list[str]) -> None:
    evolution = Evolution(contract(new_fields=new_fields))
    events = [event for _ in range(20) for event in evolution.observe(good(5, color=1))]
    assert [event.kind for event in events] == kinds  # type: ignore[union-attr]
    events = [event for _ in range(20) for event in evolution.observe(good(5))]
    assert events == [Solved("source:items", kind) for kind in kinds]


def test_signs_come_from_real_judgements() -> None:
    judge, evolution = Judge(contract()), Evolution(contract())
    events = []
    for body in (b'[{"item_id": "a"}, {"item_id": "b"}]', b'[{"item_id": "a", "price": "x"}]'):
        for _ in range(200):
            events += evolution.observe(judge.judge(Batch([Json(body)]), now=0))
    assert [(type(e), e.kind) for e in events] == [  # type: ignore[union-attr]
        (Problem, "column_dropped"),
        (Solved, "column_dropped"),
        (Problem, "column_retyped"),
    ]


JUDGED = st.builds(
    Judged,
    changes=st.lists(
        st.builds(Upserts, st.lists(st.just(("a", 1.0)), max_size=30)) | st.just(Deletes([("a",)])), max_size=2
    ),
    violations=st.lists(
        st.builds(
            Violation,
            st.just(b""),
            st.sampled_from(["missing", "type", "gt", "json", "unknown_field"]),
            st.sampled_from(["", "price", "other"]),
            st.just(""),
            st.just(""),
        ),
        max_size=30,
    ),
    unknown_fields=st.dictionaries(st.text(max_size=2), st.integers(1, 9), max_size=3),
)


@given(st.lists(JUDGED, max_size=30))
def test_problems_and_solutions_alternate(stream: list[Judged]) -> None:
    evolution = Evolution(contract())
    open_now: set[str] = set()
    for judged in stream:
        for event in evolution.observe(judged):
            if isinstance(event, Solved):
                assert event.kind in open_now
                open_now.discard(event.kind)
            else:
                assert isinstance(event, Problem)
                open_now.add(event.kind)
