"""Judging batches: precise about the bad, complete about everything, never raising."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.contracts.contract import Contract, NewFields
from headrace.contracts.infer import schema_of
from headrace.contracts.judge import Judge, unreadable
from headrace.contracts.rules import Rule
from headrace.core.changes import BadBytes, Batch, Deletes, Json, Judged, Keys, Payload, Rows, Upserts
from headrace.core.clock import SECOND
from headrace.core.records import Field, OnViolation, Record
from headrace.core.schema import TableKind

NOW = 1_767_225_600 * SECOND


class Item(Record):
    item_id: str = Field(min_length=1)
    price: float = Field(gt=0)
    stock: int = Field(ge=0)
    rating: float | None = Field(None, le=5, on_violation="null")


class Ping(Record):
    driver_id: str
    at: datetime


def items(rules: Sequence[Rule] = (), record: type[Record] = Item, **options: Any) -> Judge:
    schema = schema_of(record, kind=TableKind.TABLE, key="item_id", name="items")
    return Judge(Contract(record, schema, tuple(rules), **options))


def judge(
    judge: Judge, *payloads: Payload | bytes | list[Any], snapshot: Any = None, watermark: int | None = None
) -> Judged:
    found: list[Payload] = []
    for payload in payloads:
        data = json.dumps(payload).encode() if isinstance(payload, list) else payload
        found.append(Json(data) if isinstance(data, bytes) else data)
    return judge.judge(Batch(found, origin="here", snapshot=snapshot), now=NOW, watermark=watermark)


def row(name: str, price: float = 1, stock: int = 1, **more: Any) -> dict[str, Any]:
    return {"item_id": name, "price": price, "stock": stock, **more}


GOOD = [row("a"), row("b", 2.5), row("c", rating=4)]
STORED = [("a", 1.0, 1, None), ("b", 2.5, 1, None), ("c", 1.0, 1, 4.0)]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(GOOD).encode(),
        json.dumps(GOOD, indent=2).encode(),
        b"\xef\xbb\xbf " + json.dumps(GOOD).encode(),
        b"\n".join(json.dumps(r).encode() for r in GOOD),
        b"\r\n\r\n".join(json.dumps(r).encode() for r in GOOD) + b"\n\n",
    ],
)
def test_arrays_and_lines_are_read(body: bytes) -> None:
    assert judge(items(), body) == Judged(changes=[Upserts(STORED)])


def test_one_object_may_stand_on_several_lines() -> None:
    assert judge(items(), json.dumps(GOOD[0], indent=2).encode()).changes[0].rows == STORED[:1]


@pytest.mark.parametrize("body", [b"", b"  \n", b"[]", b" [ ] "])
def test_an_empty_body_holds_nothing(body: bytes) -> None:
    assert judge(items(), body) == Judged()


BAD: list[tuple[str, str, str, str]] = [
    ('{"item_id": "a", "price": 0, "stock": 1}', "gt", "price", "0"),
    ('{"item_id": "a", "price": 1, "stock": -1}', "ge", "stock", "-1"),
    ('{"item_id": "a", "price": "x", "stock": 1}', "type", "price", '"x"'),
    ('{"item_id": "a", "price": null, "stock": 1}', "type", "price", "null"),
    ('{"item_id": "", "price": 1, "stock": 1}', "min_length", "item_id", '""'),
    ('{"item_id": "a", "stock": 1}', "missing", "price", ""),
    ('{"item_id": "a", "price": NaN, "stock": 1}', "finite", "price", "NaN"),
    ('{"item_id": "a", "price": 1e999, "stock": 1}', "finite", "price", "Infinity"),
    ('{"item_id": "a", "price": 1, "stock": 9223372036854775808}', "range", "stock", "9223372036854775808"),
    ('{"item_id": "\\ud800", "price": 1, "stock": 1}', "json", "", ""),
    ("[1]", "type", "", "[1]"),
    ("3", "type", "", "3"),
    ('{"item_id": "a", "price": 1', "json", "", ""),
    ("\xff", "json", "", ""),
]


@pytest.mark.parametrize(("raw", "rule", "column", "value"), BAD)
def test_a_bad_line_is_told_precisely(raw: str, rule: str, column: str, value: str) -> None:
    data = raw.encode("latin-1")
    good = json.dumps(GOOD[0]).encode()
    judged = judge(items(), good + b"\n" + data + b"\n" + good)
    assert [r for c in judged.changes if isinstance(c, Upserts) for r in c.rows] == STORED[:1] * 2
    (violation,) = judged.violations
    assert (violation.rule, violation.column, violation.value) == (rule, column, value)
    assert violation.raw == data
    assert violation.position == "here#1"
    assert violation.message


def test_a_record_in_an_array_keeps_its_exact_bytes() -> None:
    bad = b'{ "price":-1,"item_id" : "a", "stock":1.0 }'
    judged = judge(items(), b"[" + json.dumps(GOOD[0]).encode() + b" ,\n" + bad + b"]")
    assert [(v.raw, v.position) for v in judged.violations] == [(bad, "here#1")]


def test_a_number_that_is_not_finite_spoils_only_its_own_record() -> None:
    judged = judge(items(), json.dumps([*GOOD, row("x", float("nan"))]).encode())
    assert judged.rows == 3
    assert [(v.rule, v.position) for v in judged.violations] == [("finite", "here#3")]


def test_all_that_is_wrong_is_in_the_message() -> None:
    (violation,) = judge(items(), [{"item_id": "", "stock": "many", "price": 1}]).violations
    assert violation.rule == "min_length"
    assert "item_id" in violation.message
    assert 'stock: input should be a valid integer, unable to parse string as an integer; it is "many"' in (
        violation.message
    )


def test_a_long_value_is_cut() -> None:
    (violation,) = judge(items(), [row("a") | {"stock": "x" * 1000}]).violations
    assert len(violation.value) == 200


@pytest.mark.parametrize("body", [b"hello", b"[1, 2", b'{"a":', b"\x80\x81", b'[{"item_id": "a"},\n{"ite'])
def test_a_body_that_is_no_json_is_one_violation_and_tells_so(body: bytes) -> None:
    judged = judge(items(), body)
    assert [v.raw for v in judged.violations] == [body]
    found = unreadable(judged)
    assert found is not None
    assert found.rule == "json"


def test_a_bad_record_is_not_an_unreadable_body() -> None:
    assert unreadable(judge(items(), [row("a", -1)])) is None
    assert unreadable(judge(items(), b'{"item_id": "a", "price": 1, "stock": 1}\nhello')) is None


# -- policies


def test_null_repairs_a_column_and_counts() -> None:
    judged = judge(items(), [row("a", rating=9), row("b", rating="x"), row("c", rating=float("inf"))])
    assert judged == Judged(changes=[Upserts([(n, 1.0, 1, None) for n in "abc"])], nulled=3)


def test_null_does_not_hide_another_violation() -> None:
    judged = judge(items(), [row("a", -1, rating=9)])
    assert [v.rule for v in judged.violations] == ["gt"]
    assert "rating" in judged.violations[0].message
    assert judged.nulled == 0


def test_reject_goes_apart() -> None:
    class Strict(Item):
        stock: int = Field(ge=0, on_violation="reject")

    judged = judge(items(record=Strict), [row("a", -1, -1), row("b", -1), row("c")])
    assert [v.column for v in judged.rejected] == ["stock"]
    assert [v.column for v in judged.violations] == ["price"]
    assert judged.rows == 1


@pytest.mark.parametrize(("policy", "where"), [("quarantine", "violations"), ("reject", "rejected")])
def test_a_sql_rule_has_a_policy(policy: OnViolation, where: str) -> None:
    rule = Rule(
        "price < stock", name="cheap", message="too dear", on_violation=policy, columns="price"
    )  # fmt: skip
    judged = judge(items([rule]), [row("a", 1, 2), row("b", 3, 2)])
    assert [r[0] for r in judged.changes[0].rows] == ["a"]  # type: ignore[union-attr]
    (violation,) = getattr(judged, where)
    assert (violation.rule, violation.column, violation.value) == ("cheap", "price", "3.0")
    assert (violation.message, violation.position) == ("too dear", "here#1")


def test_a_sql_rule_lets_null_pass_and_can_set_null() -> None:
    rule = Rule("rating < 3", on_violation="null", columns="rating")
    judged = judge(items([rule]), [row("a"), row("b", rating=2), row("c", rating=4)])
    assert [r[3] for r in judged.changes[0].rows] == [None, 2.0, None]  # type: ignore[union-attr]
    assert judged.nulled == 1


def test_a_python_rule_answers_or_raises() -> None:
    def plausible(item: Any) -> Any:
        return {1: True, 2: None, 3: False, 4: "four is unlucky", 5: ""}[item.stock]

    judged = judge(items([Rule(plausible)]), [row("a", stock=n) for n in range(1, 7)])
    assert judged.rows == 2
    assert [(v.rule, v.message) for v in judged.violations] == [
        ("plausible", "the record breaks the rule 'plausible'"),
        ("plausible", "four is unlucky"),
        ("plausible", "the record breaks the rule 'plausible'"),
        ("plausible", "the rule 'plausible' raised KeyError: 6"),
    ]


def test_a_validator_that_crashes_is_a_violation() -> None:
    class Fragile(Item):
        @pydantic.field_validator("stock")
        @classmethod
        def check(cls, value: int) -> int:
            return 10 // value

    judged = judge(items(record=Fragile), [row("a", stock=2), row("b", stock=0)])
    assert judged.changes[0].rows == [("a", 1.0, 5, None)]  # type: ignore[union-attr]
    assert "ZeroDivisionError" in judged.violations[0].message


# -- envelopes and deletes


def test_changes_keep_their_order() -> None:
    body = [
        row("a"),
        {"op": "delete", "key": "a"},
        {"op": "delete", "item_id": "b"},
        {"op": "upsert", "record": row("c")},
        {"op": "upsert", **row("d")},
        {"op": "delete", "key": ["e"]},
        {"op": "delete", "key": {"item_id": "f"}},
    ]
    changes = judge(items(), body).changes
    assert [c.keys if isinstance(c, Deletes) else [r[0] for r in c.rows] for c in changes] == [
        ["a"],
        [("a",), ("b",)],
        ["c", "d"],
        [("e",), ("f",)],
    ]


def test_a_delete_with_all_fields_is_a_delete_however_it_is_written() -> None:
    plain = json.dumps({"op": "delete", **row("a")}).encode()
    for body in (plain, plain.replace(b'"op"', b'"\\u006fp"'), b"[" + plain.replace(b'"op"', b'"o\\u0070"') + b"]"):
        assert judge(items(), body).changes == [Deletes([("a",)])]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"op": "truncate"}, "op"),
        ({"op": 3}, "op"),
        ({"op": "delete"}, "key_missing"),
        ({"op": "delete", "key": ["a", "b"]}, "key_missing"),
        ({"op": "delete", "key": {"other": 1}}, "key_missing"),
        ({"op": "delete", "key": 3}, "type"),
        ({"op": "delete", "key": ""}, "min_length"),
        ({"op": "upsert", "record": 3}, "type"),
        ({"op": "upsert", "record": {"item_id": "a"}}, "missing"),
    ],
)
def test_a_bad_change_is_kept_with_its_envelope(change: dict[str, Any], rule: str) -> None:
    (violation,) = judge(items(), [change]).violations
    assert violation.rule == rule
    assert json.loads(violation.raw) == change


def test_a_record_may_have_a_field_called_op() -> None:
    class Operation(Record):
        item_id: str
        op: str

    judged = judge(items(record=Operation), [{"item_id": "a", "op": "delete"}])
    assert judged.changes[0].rows == [("a", "delete")]  # type: ignore[union-attr]


def test_envelopes_can_be_switched_off() -> None:
    judged = judge(items(), Json(b'{"op": "delete", "key": "a"}', envelope=False))
    assert judged.violations[0].rule == "missing"


def test_deletes_carry_versions_where_the_table_has_them() -> None:
    class Versioned(Record):
        shop: int
        item_id: str
        changed: datetime

    schema = schema_of(Versioned, kind=TableKind.TABLE, key=("shop", "item_id"), version="changed", name="items")
    changes = judge(
        Judge(Contract(Versioned, schema)),
        [
            {"op": "delete", "key": [1, "a"], "version": "1970-01-01T00:00:01Z"},
            {"op": "delete", "shop": 1, "item_id": "b", "changed": "1970-01-01T00:00:02Z"},
            {"op": "delete", "key": {"shop": "1", "item_id": "c"}},
        ],
    ).changes
    assert changes == [Deletes([(1, "a"), (1, "b")], [SECOND, 2 * SECOND]), Deletes([(1, "c")])]


def test_keys_are_deletes() -> None:
    judged = judge(items(), Keys([{"item_id": "a", "price": 3}, {"item_id": 5}, {}]))
    assert judged.changes == [Deletes([("a",)])]
    assert [v.rule for v in judged.violations] == ["type", "key_missing"]
    assert json.loads(judged.violations[0].raw) == {"op": "delete", "key": {"item_id": 5}}


def test_events_cannot_be_deleted() -> None:
    schema = schema_of(Ping, kind=TableKind.EVENTS, event_time="at", key="driver_id")
    assert judge(Judge(Contract(Ping, schema)), [{"op": "delete", "key": "a"}]).violations[0].rule == "op"


# -- times, snapshots, new fields


def pings(*seconds: float) -> bytes:
    return json.dumps([{"driver_id": "d", "at": (NOW / SECOND) + s} for s in seconds]).encode()


def test_events_that_come_too_late_are_named_by_their_key() -> None:
    schema = schema_of(Ping, kind=TableKind.EVENTS, event_time="at", key=("driver_id", "at"))
    judged = judge(Judge(Contract(Ping, schema, lateness=10 * SECOND)), pings(-11, 0, 301), watermark=NOW)
    assert [(v.rule, v.key) for v in judged.violations] == [
        ("too_late", ("d", NOW - 11 * SECOND)),
        ("too_early", None),
    ]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"nonsense", True),
        (b"nonsense\nmore of it\n", True),
        (b'{"item_id": \n{"item_id": "b"', True),
        (b"[nonsense]", True),
        (b'nonsense\n{"item_id": "a"}', False),
        (b"[1, 2]", False),
        (b"", False),
    ],
)
def test_a_body_of_which_nothing_is_json_is_told_from_one_with_bad_records(body: bytes, refused: bool) -> None:
    found = unreadable(items().judge(Batch([Json(body)], origin="here"), now=NOW))
    assert (found is not None) == refused


def test_what_only_looks_like_an_envelope_is_replayed_as_a_record() -> None:
    raw = b'{"op": "delete", "item_id": "a"}'
    (change,) = items().replay(raw, now=NOW).changes
    assert isinstance(change, Deletes)
    judged = items().replay(raw, now=NOW, envelope=False)
    assert judged.changes == []
    assert judged.violations


def test_late_and_early_events() -> None:
    schema = schema_of(Ping, kind=TableKind.EVENTS, event_time="at")
    judging = Judge(Contract(Ping, schema, lateness=10 * SECOND))
    judged = judge(judging, pings(-11, -10, 0, 300, 301), watermark=NOW)
    assert [(v.rule, v.column, v.position) for v in judged.violations] == [
        ("too_late", "at", "here#0"),
        ("too_early", "at", "here#4"),
    ]
    assert "11s behind" in judged.violations[0].message
    assert judged.max_event_time == NOW + 300 * SECOND
    assert judge(judging, pings(-1000)).rows == 1
    assert judging.replay(judged.violations[0].raw, now=NOW).rows == 1


def test_a_key_comes_once_in_a_snapshot() -> None:
    body = [row("a"), row("b"), row("a", 5)]
    judged = judge(items(), body, [row("b", 7)], snapshot="part")
    assert [(v.rule, v.column, v.value, v.position) for v in judged.violations] == [
        ("unique", "item_id", '"a"', "here#2"),
        ("unique", "item_id", '"b"', "here#3"),
    ]
    assert judge(items(), body).violations == []


@pytest.mark.parametrize("new_fields", ["ignore", "adopt", "quarantine"])
def test_new_fields(new_fields: NewFields) -> None:
    judged = judge(items(new_fields=new_fields), [row("a", color="red"), row("b", color="blue", size=[1, None])])
    if new_fields == "ignore":
        assert judged.changes == [Upserts([("a", 1.0, 1, None), ("b", 1.0, 1, None)])]
        assert judged.unknown_fields == {"color": 1}  # a sample: the first record
    elif new_fields == "adopt":
        assert judged.changes[0].extras == ['{"color":"red"}', '{"color":"blue","size":[1,null]}']  # type: ignore
    else:
        assert [(v.rule, v.column, v.value) for v in judged.violations] == [
            ("unknown_field", "color", '"red"'),
            ("unknown_field", "color", '"blue"'),
        ]


# -- mappings, text and bytes


def test_mappings_are_judged_and_kept_as_json() -> None:
    judged = judge(items(), Rows([row("a"), row("b", -1), {"item_id": b"\xff", "price": 1, "stock": object()}]))
    assert judged.changes[0].rows == [("a", 1.0, 1, None)]  # type: ignore[union-attr]
    assert json.loads(judged.violations[0].raw) == row("b", -1)
    assert json.loads(judged.violations[1].raw)["price"] == 1


def test_mappings_keep_the_bytes_that_they_came_with() -> None:
    judged = judge(items(), Rows([row("a"), row("b", -1)], raw=[b"1", b"2"]))
    assert [v.raw for v in judged.violations] == [b"2"]


def test_text_becomes_typed_and_empty_becomes_null() -> None:
    class Loose(Record):
        item_id: str
        price: float
        note: str = "none"
        open: bool = True
        rating: float | None = 3.0
        tags: list[str] | None = None

    records = [
        {"item_id": "a", "price": "2.5", "note": "", "open": "", "rating": "", "tags": '["x"]'},
        {"item_id": "b", "price": "", "note": "n", "open": "false", "rating": "1", "tags": ""},
    ]
    judged = judge(items(record=Loose), Rows(records, text=True, raw=[b"a,2.5", b"b,"]))
    assert judged.changes[0].rows == [("a", 2.5, "", 1, None, '["x"]')]  # type: ignore[union-attr]
    (violation,) = judged.violations
    assert (violation.rule, violation.column) == ("type", "price")
    assert json.loads(violation.raw)["price"] is None


def test_bad_bytes_wait_as_they_are() -> None:
    judged = judge(items(), BadBytes(b"\xff\xfe", "half a line"), [row("a")])
    assert [(v.rule, v.raw, v.message) for v in judged.violations] == [("bad_bytes", b"\xff\xfe", "half a line")]
    assert judged.rows == 1


def test_a_source_that_takes_anything_for_a_record_does_not_stop_the_judge() -> None:
    judged = judge(items(), Rows([Item(**row("a")), 3, None, [1]]))  # type: ignore[list-item]
    assert judged.rows + len(judged.violations) == 4


# -- laws

LINES = st.lists(
    st.sampled_from([json.dumps(r).encode() for r in GOOD])
    | st.sampled_from([raw.encode("latin-1") for raw, *_ in BAD])
    | st.sampled_from([b'{"op": "delete", "key": "a"}', b'{"op": "upsert", "record": {}}', b'{"op": null}']),
    min_size=1,
    max_size=8,
)


def total(judged: Judged) -> int:
    return judged.rows + len(judged.violations) + len(judged.rejected)


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_nothing_is_lost(lines: list[bytes]) -> None:
    if lines[0] == b"[1]" or lines[0].startswith(b"["):
        lines = [json.dumps(GOOD[0]).encode(), *lines]
    judged = judge(items(), b"\n".join(lines))
    assert total(judged) == len(lines)
    alone = [items().replay(line, now=NOW) for line in lines]
    assert [v.raw for v in judged.violations] == [v.raw for one in alone for v in one.violations]
    assert judged.rows == sum(one.rows for one in alone)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*GOOD, row("x", -1), row("y", stock=1.5), {}, 3, None, [], {"op": "delete"}])))  # type: ignore
def test_nothing_is_lost_in_arrays_either(records: list[Any]) -> None:
    judged = judge(items(), records)
    assert total(judged) == len(records)
    assert total(judge(items(), Rows(records))) == len(records)
    for violation in judged.violations:
        again = items().replay(violation.raw, now=NOW)
        assert [(v.rule, v.raw) for v in again.violations] == [(violation.rule, violation.raw)]


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=60)
    | st.tuples(st.sampled_from([json.dumps(GOOD).encode()]), st.integers(0, 150), st.binary(max_size=3)).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + len(t[2]) :]
    )
)
def test_no_bytes_make_the_judge_raise(data: bytes) -> None:
    for judging in (items(), items(new_fields="adopt"), items([Rule(lambda r: True, name="any")])):
        judge(judging, data)
        judge(judging, BadBytes(data, ""), Rows([{"item_id": data, "price": data}]), snapshot="only")
        judging.replay(data, now=NOW)


def test_nesting_without_end_is_a_violation() -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b'{"item_id":' + b"[" * 5_000 + b"]" * 5_000 + b"}"):
        assert total(judge(items(), body)) == 1
