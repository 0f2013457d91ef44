"""The law of tuples: they are judged exactly as the mappings that they stand for."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.contracts.contract import Contract, NewFields
from headrace.contracts.infer import schema_of
from headrace.contracts.judge import Judge
from headrace.core.changes import Batch, Judged, Rows, Tuples, Upserts
from headrace.core.records import Field, OnViolation, Record
from headrace.core.schema import TableKind

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Color(enum.StrEnum):
    RED = "red"


TYPES: list[tuple[Any, dict[str, Any], list[Any]]] = [
    (str, {"min_length": 1}, ["a", "b", ""]),
    (int, {"gt": 0}, [1, 7, 0, "3", 2**63]),
    (float, {"le": 100}, [1, 2.5, 101.0, float("nan"), float("inf")]),
    (bool, {}, [True, False, 1, "x"]),
    (datetime, {}, [NOON, NOON.replace(tzinfo=None), "2026-01-31T12:00:00.1234567Z", "infinity", 5]),
    (date, {}, [date(2026, 1, 31), NOON, "2026-01-31", "0044-03-15 BC"]),
    (UUID, {}, ["00000000-0000-0000-0000-00000000000a", UUID(int=1), "x"]),
    (Decimal, {}, ["1.50", "0.000000000001", "NaN", Decimal("2.5")]),
    (Literal["a", "b"], {}, ["a", "b", "c"]),
    (Color, {}, ["red", Color.RED, "blue"]),
    (list[int], {}, [[], [1, 2], ["x"], None]),
    (time, {}, [time(1), "24:00:00"]),
    (Any, {}, [1, "a", None, [object()]]),
]
ODD: st.SearchStrategy[Any] = st.sampled_from([None, "\ud800", b"\xff", object(), {}, 10**400, timedelta(1), -0.0])
DEFAULTS: dict[Any, Any] = {str: "x", int: 3, float: 2.5, datetime: NOON, list[int]: None}


@dataclasses.dataclass
class Case:
    contract: Contract
    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    fields: dict[str, Any] = {}
    values: dict[str, st.SearchStrategy[Any]] = {}
    for i in range(draw(st.integers(1, 4))):
        kind, options, known = draw(st.sampled_from(TYPES))
        options = dict(options) if draw(st.booleans()) else {}
        optional = kind is not Any and draw(st.booleans())
        default = DEFAULTS.get(kind, ...) if not draw(st.integers(0, 3)) else ...
        name = f"f{i}"
        if optional and not draw(st.integers(0, 2)):
            options["on_violation"] = "null"
        if not draw(st.integers(0, 4)):
            name = options["alias"] = f"f{i}-alias"
        if default is None:
            fields[f"f{i}"] = (kind | None if optional else kind, Field(default_factory=list, **options))
        else:
            fields[f"f{i}"] = (kind | None if optional else kind, Field(default, **options))
        # Mostly what fits, so that whole payloads are good often enough.
        values[name] = st.sampled_from(known[:2]) | st.sampled_from(known[:2]) | st.sampled_from(known) | ODD
    record: Any = pydantic.create_model("Thing", __base__=Record, **fields)
    new_fields: NewFields = draw(st.sampled_from(["ignore", "ignore", "ignore", "adopt", "quarantine"]))
    policy: OnViolation = draw(st.sampled_from(["quarantine", "reject"]))
    contract = Contract(record, schema_of(record, kind=TableKind.EVENTS), new_fields=new_fields, on_violation=policy)
    given_names = [name for name in values if draw(st.integers(0, 9))]
    given_names += [name for name in ("zz", "y y") if not draw(st.integers(0, 3))]
    if given_names and not draw(st.integers(0, 9)):
        given_names.append(given_names[0])  # a repeated name
    names = tuple(draw(st.permutations(given_names)))
    cells = [values.get(name, st.sampled_from([1, "a", None])) for name in names]
    return Case(contract, names, draw(st.lists(st.tuples(*cells), max_size=8)))


def judged_as(case: Case, payload: Rows | Tuples) -> Judged:
    return Judge(case.contract).judge(Batch([payload], origin="o"), now=0)


def told(judged: Judged) -> dict[str, Any]:
    """All of a judgement; the types of its cells too, since 1 == 1.0 == True."""
    found = {field.name: getattr(judged, field.name) for field in dataclasses.fields(judged)}
    rows = [row for change in judged.changes if isinstance(change, Upserts) for row in change.rows]
    return {**found, "kinds": [[type(cell) for cell in row] for row in rows]}


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_tuples_are_judged_as_the_mappings_that_they_stand_for(case: Case) -> None:
    mappings = Rows([dict(zip(case.names, row, strict=True)) for row in case.rows])
    assert repr(told(judged_as(case, Tuples(case.names, case.rows)))) == repr(told(judged_as(case, mappings)))


class Item(Record):
    id: int
    name: str
    price: float = Field(default=1.5, gt=0)
    at: datetime | None = None


def judge(**options: Any) -> Judge:
    return Judge(Contract(Item, schema_of(Item, kind=TableKind.TABLE, key="id"), **options))


def test_one_bad_record_among_thousands_does_not_slow_down_the_others() -> None:
    judging = judge()
    slow: list[Any] = []
    exact = judging._exact.from_mapping  # pyright: ignore[reportPrivateUsage]
    judging._exact.from_mapping = lambda values: (slow.append(values), exact(values))[1]  # type: ignore[method-assign]  # pyright: ignore
    rows: list[tuple[Any, ...]] = [(i, f"n{i}", 2.0, NOON) for i in range(5_000)]
    rows[17] = (17, "n17", -1.0, NOON)
    rows[4_321] = (4_321, None, 2.0, NOON)
    judged = judging.judge(Batch([Tuples(("id", "name", "price", "at"), rows)], origin="o"), now=0)
    assert judged.rows == 4_998
    assert [(v.rule, v.column, v.position) for v in judged.violations] == [
        ("gt", "price", "o#17"),
        ("type", "name", "o#4321"),
    ]
    assert len(slow) == 2


def test_columns_in_any_order_with_unknown_ones_among_them_and_defaults_for_the_absent() -> None:
    judged = judge().judge(Batch([Tuples(("zz", "name", "id"), [(object(), "a", 1), (None, "b", 2)])]), now=0)
    assert judged.changes == [Upserts([(1, "a", 1.5, None), (2, "b", 1.5, None)])]
    assert judged.unknown_fields == {"zz": 1}  # of the first record, as everywhere on the fast path


def test_what_is_refused_is_kept_as_json_of_the_record() -> None:
    judged = judge().judge(Batch([Tuples(("id", "name", "zz"), [("x", "a", NOON)])], origin="o"), now=0)
    assert judged.violations[0].raw == b'{"id":"x","name":"a","zz":"2026-01-31T12:00:00.000000Z"}'
    assert judge().replay(judged.violations[0].raw, now=0).violations[0].column == "id"


def test_without_a_required_column_every_record_is_refused() -> None:
    judged = judge().judge(Batch([Tuples(("id",), [(1,), (2,)])]), now=0)
    assert [(v.rule, v.column) for v in judged.violations] == [("missing", "name")] * 2


def test_adopted_fields_are_kept() -> None:
    judged = judge(new_fields="adopt").judge(Batch([Tuples(("id", "name", "zz"), [(1, "a", 5)])]), now=0)
    assert judged.changes == [Upserts([(1, "a", 1.5, None)], ['{"zz":5}'])]


def test_tuples_of_another_width_are_an_error_of_the_source() -> None:
    with pytest.raises(ValueError, match="2 values id, name"):
        judge().judge(Batch([Tuples(("id", "name"), [(1, "a"), (2,)])]), now=0)


def test_no_tuples_at_all() -> None:
    assert judge().judge(Batch([Tuples(("zz",), [])]), now=0) == Judged()
