"""Contracts as files of the Open Data Contract Standard, and back."""

from __future__ import annotations

import contextlib
import enum
import importlib.resources
import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.contracts.contract import Contract
from headrace.contracts.infer import schema_of
from headrace.contracts.odcs import export_odcs, import_odcs
from headrace.contracts.rules import Rule
from headrace.core.durations import parse_duration
from headrace.core.errors import ContractError
from headrace.core.records import Field, Record
from headrace.core.schema import TableKind

STANDARD = json.loads(importlib.resources.files("open_data_contract_standard").joinpath("schema.json").read_text())


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Item(Record):
    item_id: str = Field(min_length=1, max_length=40, pattern="^[a-z0-9-]+$", description="Never reused")
    restaurant: UUID = Field(alias="restaurantId")
    price: float = Field(gt=0, lt=1000.5)
    cost: Decimal = Field(ge=Decimal("0.05"))
    stock: int = Field(0, ge=0, multiple_of=2)
    size: Size = Size.SMALL
    level: Literal[1, 2, 3] | None = None
    tags: list[str] = Field(default_factory=list, max_length=5)
    more: dict[str, Any] | None
    rating: float | None = Field(None, ge=1, le=5, on_violation="null")
    cooled: timedelta = timedelta(seconds=1.5)
    since: date = date(2026, 1, 31)
    changed: datetime
    picture: bytes | None = None
    active: bool = True


class Sale(Record):
    sale_id: int
    sold_at: datetime


def item_contract(**options: Any) -> Contract:
    schema = schema_of(
        Item,
        kind=TableKind.TABLE,
        key=("restaurant", "item_id"),
        indexes=["price", ("restaurant", "stock")],
        changed_at="changed",
    )
    rules = (
        Rule("price > cost OR cost IS NULL", name="price_above_cost", message="sold at a loss", columns="price"),
        Rule("stock < 100", on_violation="reject"),
        Rule("rating <> 3", on_violation="null", columns=("rating",)),
    )
    return Contract(
        Item, schema, rules, new_fields="adopt", description="What can be ordered", owner="menu", freshness=250_000
    )


def sale_contract() -> Contract:
    schema = schema_of(Sale, kind=TableKind.EVENTS, event_time="sold_at", keep=parse_duration("7d"))
    return Contract(Sale, schema, lateness=90_000_000, ahead=61_000_000, on_violation="reject", freshness=2_000_000)


def load(source: str) -> Any:
    """The app that imported source declares."""
    names: dict[str, Any] = {"__name__": "imported"}
    exec(compile(source, "imported.py", "exec", dont_inherit=True), names)
    return names["app"]


def contracts_of(app: Any) -> list[Contract]:
    return [table.contract for table in app.tables.values()]


def check_standard(text: str) -> Any:
    document = yaml.safe_load(text)
    jsonschema.Draft201909Validator(STANDARD).validate(document)
    return document


def test_an_export_follows_the_published_schema() -> None:
    document = check_standard(export_odcs([item_contract(), sale_contract()], name="food-delivery"))
    assert document["apiVersion"] == "v3.1.0"
    items, sales = document["schema"]
    price = next(p for p in items["properties"] if p["name"] == "price")
    assert price["logicalType"] == "number"
    assert price["physicalType"] == "REAL"
    assert price["logicalTypeOptions"] == {"format": "f64", "exclusiveMinimum": 0, "exclusiveMaximum": 1000.5}
    assert [p["primaryKeyPosition"] for p in items["properties"] if p.get("primaryKey")] == [2, 1]
    assert items["quality"][0]["query"] == "SELECT COUNT(*) FROM ${table} WHERE NOT (price > cost OR cost IS NULL)"
    assert sales["physicalType"] == "topic"
    assert document["slaProperties"] == [
        {"property": "latency", "value": 0.25, "unit": "s", "element": "items"},
        {"property": "latency", "value": 2, "unit": "s", "element": "sales"},
        {"property": "retention", "value": 7, "unit": "d", "element": "sales"},
    ]


def test_an_export_comes_back_as_an_equivalent_contract() -> None:
    text = export_odcs([item_contract(), sale_contract()], name="food-delivery")
    app = load(import_odcs(text))
    assert app.name == "food-delivery"
    assert export_odcs(contracts_of(app), name=app.name) == text
    assert [c.schema for c in contracts_of(app)] == [item_contract().schema, sale_contract().schema]
    assert contracts_of(app)[0].policies == item_contract().policies
    assert contracts_of(app)[0].rules == item_contract().rules


def test_what_is_python_is_told_and_not_carried_over() -> None:
    def cheap(item: Item) -> bool:
        return item.price < 10

    contract = Contract(Item, item_contract().schema, (Rule(cheap),))
    text = export_odcs([contract])
    assert check_standard(text)["schema"][0]["quality"] == [
        {"type": "text", "name": "cheap", "description": "Judged by the Python function cheap."}
    ]
    source = import_odcs(text)
    assert "# not carried over: cheap" in source
    assert contracts_of(load(source))[0].rules == ()


FOREIGN = """
apiVersion: v3.0.2
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
name: "orders '''\\" + exit()"
version: 1.1.0
status: active
schema:
  - name: customer orders
    description: |
      All of them.
      \"\"\" + exit()
    properties:
      - name: order id
        logicalType: string
        logicalTypeOptions: {format: uuid, minLength: 36}
        primaryKey: true
        primaryKeyPosition: 1
      - {name: class, physicalType: "NUMERIC(10,2)"}
      - {name: _at, physicalType: timestamptz, required: true}
      - {name: note, logicalType: string, quality: [{metric: missingValues, mustBe: 0}]}
      - {name: lines, logicalType: array, items: {logicalType: string}}
    quality:
      - {type: sql, name: has_note, query: "SELECT COUNT(*) FROM ${object} WHERE NOT (LENGTH(note) > 0)", mustBe: 0}
      - {type: sql, name: "count\\nimport os", query: "SELECT COUNT(*) FROM orders", mustBeGreaterThan: 10}
slaProperties:
  - {property: latency, value: 4, unit: d}
"""


def test_a_foreign_contract_is_imported_with_safe_names() -> None:
    source = import_odcs(FOREIGN)
    app = load(source)
    (contract,) = contracts_of(app)
    assert contract.schema.name == "customer_orders"
    assert [(c.name, c.type.value, c.nullable) for c in contract.schema.columns] == [
        ("order_id", "uuid", False),
        ("class_", "decimal", True),
        ("c_at", "timestamp", False),
        ("note", "text", True),
        ("lines", "json", True),
    ]
    assert contract.schema.key == ("order_id",)
    assert contract.record.model_fields["class_"].alias == "class"
    assert [rule.sql for rule in contract.rules] == ["LENGTH(note) > 0"]
    assert "# not carried over: count import os" in source
    assert contract.freshness == parse_duration("4d")


def test_a_foreign_table_without_a_key_becomes_events() -> None:
    text = FOREIGN.replace("primaryKey: true", "primaryKey: false")
    (contract,) = contracts_of(load(import_odcs(text)))
    assert (contract.schema.kind, contract.schema.event_time) == (TableKind.EVENTS, "c_at")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("kind: [", 1, "not YAML"),
        ("- 1", None, "not a mapping"),
        ("apiVersion: v3.1.0\nkind: Table\n", 2, "kind is 'Table'"),
        ("kind: DataContract\napiVersion: v2.2.2\n", 2, "apiVersion"),
        ("kind: DataContract\napiVersion: v3.1.0\nschema:\n  - name: a\n    properties: 3\n", 5, "properties is 3"),
        ("kind: DataContract\napiVersion: v3.1.0\nschema:\n  - name: a\n    properties: [3]\n", 5, "an entry of"),
        (
            "kind: DataContract\napiVersion: v3.1.0\nschema:\n  - name: a\n    properties:\n"
            "      - name: b\n        logicalType: strnig\n",
            7,
            "logicalType is 'strnig'",
        ),
        ("kind: DataContract\napiVersion: v3.1.0\nschema: []\n", 3, "no schema"),
        ("a: 2024-13-45\n", None, "cannot be read"),
        (
            "kind: DataContract\napiVersion: v3.1.0\nschema:\n  - name: a\n    properties: [{name: b}]\n",
            4,
            "a has no key",
        ),
        (
            "kind: DataContract\napiVersion: v3.1.0\nschema:\n  - {name: a b, properties: &p "
            "[{name: b, primaryKey: true}]}\n"
            "  - {name: a_b, properties: *p}\n",
            5,
            "two tables 'a_b'",
        ),
    ],
)
def test_a_broken_file_says_where(text: str, line: int | None, says: str) -> None:
    with pytest.raises(ContractError) as caught:
        import_odcs(text, filename="contract.yaml")
    assert caught.value.message.startswith("contract.yaml")
    assert line is None or f"line {line}:" in caught.value.message
    assert says in caught.value.message
    assert caught.value.hint


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: FOREIGN + b.decode("latin-1")))
def test_no_text_makes_the_import_crash(text: str) -> None:
    with contextlib.suppress(ContractError):
        assert import_odcs(text)


BOUNDS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-1000, 1000),
    float: st.floats(-1e6, 1e6),
    timedelta: st.integers(0, 10**6).map(lambda s: timedelta(seconds=s)),
    date: st.dates(),
    datetime: st.datetimes().map(lambda d: d.replace(tzinfo=None)),
}


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    fields: dict[str, Any] = {}
    for name in draw(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}_x", fullmatch=True), unique=True, max_size=6)):
        kind = draw(st.sampled_from([str, bool, UUID, Decimal, bytes, list[int], dict[str, str], Any, *BOUNDS]))
        options: dict[str, Any] = {}
        if kind in BOUNDS and draw(st.booleans()):
            options[draw(st.sampled_from(["gt", "ge", "lt", "le"]))] = draw(BOUNDS[kind])
        if kind is str and draw(st.booleans()):
            options["max_length"] = draw(st.integers(0, 99))
        nullable = kind is not Any and draw(st.booleans())
        if nullable and draw(st.booleans()):
            options["on_violation"] = "null"
        options["description"] = draw(
            st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=9)
        )
        default = None if nullable and draw(st.booleans()) else ...
        if kind in BOUNDS and not nullable and draw(st.booleans()):
            default = draw(BOUNDS[kind])
        fields[name] = (kind | None if nullable else kind, Field(default, **options))
    import pydantic

    record: Any = pydantic.create_model("Thing", __base__=Record, key_id=(int, ...), **fields)
    rules = tuple(
        Rule(f"key_id > {n}", message=draw(st.text("ab'\"{}\\", max_size=5)))
        for n in draw(st.lists(st.integers(0, 9), unique=True, max_size=2))
    )
    schema = schema_of(record, kind=TableKind.TABLE, key="key_id", name=draw(st.sampled_from(["things", "other"])))
    freshness = draw(st.none() | st.integers(1, 10**13))
    return Contract(record, schema, rules, new_fields=draw(st.sampled_from(["ignore", "adopt"])), freshness=freshness)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contracts())
def test_every_contract_round_trips(contract: Contract) -> None:
    text = export_odcs([contract], name="app")
    check_standard(text)
    app = load(import_odcs(text))
    assert export_odcs(contracts_of(app), name="app") == text
    assert contracts_of(app)[0].schema == contract.schema
