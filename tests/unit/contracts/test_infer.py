"""From records to schemas, and what a declaration may not say."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pydantic
import pytest
from typing_extensions import TypedDict

from headrace.contracts.contract import Contract
from headrace.contracts.infer import default_name, schema_of
from headrace.contracts.rules import Rule
from headrace.core.errors import DeclarationError, SqlError
from headrace.core.records import Field, Record
from headrace.core.schema import TableKind

ItemId = NewType("ItemId", str)


class Color(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(TypedDict):
    x: float


@dataclass
class Box:
    x: int


class Inner(pydantic.BaseModel):
    x: int


@pytest.mark.parametrize(
    ("annotation", "column", "nullable"),
    [
        (str, "text", False),
        (ItemId, "text", False),
        (Literal["a", "b"], "text", False),
        (Literal["a", None], "text", True),
        (Color, "text", False),
        (pydantic.HttpUrl, "text", False),
        (int, "integer", False),
        (Level, "integer", False),
        (pydantic.PositiveInt, "integer", False),
        (int | None, "integer", True),
        (Annotated[int, Field(gt=0)] | None, "integer", True),
        (float, "real", False),
        (int | float, "real", False),
        (bool, "boolean", False),
        (datetime, "timestamp", False),
        (pydantic.AwareDatetime, "timestamp", False),
        (date, "date", False),
        (time, "time", False),
        (timedelta, "duration", False),
        (UUID, "uuid", False),
        (pydantic.UUID4, "uuid", False),
        (Decimal, "decimal", False),
        (bytes, "bytes", False),
        (list[int], "json", False),
        (dict[str, Any] | None, "json", True),
        (tuple[int, str], "json", False),
        (set[str], "json", False),
        (Inner, "json", False),
        (Point, "json", False),
        (Box, "json", False),
        (int | str, "json", False),
        (Any, "json", True),
    ],
)
def test_each_type_has_a_column(annotation: Any, column: str, nullable: bool) -> None:
    record = pydantic.create_model("Thing", __base__=Record, x=(annotation, ...))
    (found,) = schema_of(record, kind=TableKind.EVENTS).columns
    assert (found.name, found.type, found.nullable) == ("x", column, nullable)


class Item(Record):
    item_id: str
    price: float
    stock: int = Field(0, description="left")
    tags: list[str] = Field(default_factory=list)
    note: str | None = None
    changed: datetime
    seen: datetime | None = None


class Mixed(enum.Enum):
    A = 1
    B = "b"


def test_a_schema_has_all_that_was_declared() -> None:
    schema = schema_of(
        Item,
        kind=TableKind.TABLE,
        key="item_id",
        indexes=["price", ("stock", "price")],
        version="stock",
        changed_at="changed",
    )
    assert schema.key == ("item_id",)
    assert schema.indexes == (("price",), ("stock", "price"))
    assert schema.column("stock").description == "left"


@pytest.mark.parametrize(
    ("options", "says", "hints"),
    [
        ({"key": "item"}, "key of 'items' names the column 'item'", "did you mean 'item_id'?"),
        ({"indexes": ["prise"]}, "index of 'items' names the column 'prise'", "did you mean 'price'?"),
        ({"key": "note"}, "may be None", "drop `| None`"),
        ({"key": "price"}, "cannot be compared", "text"),
        ({"key": "tags"}, "cannot be compared", "text"),
        ({"key": ()}, "has no key", "item_id"),
        ({"key": ("item_id", "item_id")}, "twice", "once"),
        ({"indexes": [()]}, "no columns", "at least one"),
        ({"version": "price"}, "version column 'price' of 'items' is real", "stock, changed"),
        ({"version": "sotck"}, "'sotck'", "stock"),
        ({"changed_at": "stock"}, "not a datetime", "changed"),
        ({"changed_at": "seen"}, "may be None", "drop"),
        ({"event_time": "changed"}, "event time or a retention", "app.events"),
        ({"name": "my items"}, "cannot be the name of a table", "letters"),
        ({"name": "_items"}, "cannot be the name of a table", "letters"),
        ({"name": "sqlite_items"}, "cannot be the name of a table", "sqlite_"),
        ({"kind": TableKind.EVENTS, "event_time": "stock"}, "not a datetime", "changed"),
        ({"kind": TableKind.EVENTS, "version": "stock"}, "never overwritten", "table"),
    ],
)
def test_a_declaration_that_cannot_be_true(options: dict[str, Any], says: str, hints: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        schema_of(Item, **({"kind": TableKind.TABLE, "key": "item_id"} | options))
    assert says in caught.value.message
    assert hints in caught.value.hint


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"x": (Callable[[], int], ...)}, "which no column can hold"),
        ({"x": (type[int], ...)}, "which no column can hold"),
        ({"x": (Mixed, ...)}, "which no column can hold"),
        ({"x": (int, None)}, "has the default None"),
        ({"größe": (int, ...)}, "cannot be the name of a column"),
        ({"a": (int, ...), "A": (int, ...)}, "differ in case only"),
        ({}, "has no fields"),
    ],
)
def test_a_record_that_cannot_be_a_table(fields: dict[str, Any], says: str) -> None:
    record = pydantic.create_model("Thing", __base__=Record, **fields)
    with pytest.raises(DeclarationError) as caught:
        schema_of(record, kind=TableKind.EVENTS)
    assert says in caught.value.message
    assert caught.value.hint


def test_a_record_that_is_not_complete() -> None:
    class Half(Record):
        x: Missing  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DeclarationError, match="not complete"):
        schema_of(Half, kind=TableKind.EVENTS)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("Status", "statuses"),
        ("Address", "addresses"),
        ("Box", "boxes"),
        ("Day", "days"),
        ("Sales", "sales"),
        ("HTTPLog", "http_logs"),
        ("Match2", "match2s"),
    ],
)
def test_default_names(name: str, table: str) -> None:
    assert default_name(type(name, (Record,), {})) == table


def contract(*rules: Rule, record: type[Record] = Item, **options: Any) -> Contract:
    return Contract(record, schema_of(record, kind=TableKind.TABLE, key="item_id", name="items"), rules, **options)


class NullPrice(Item):
    price: float = Field(on_violation="null")


class Unknown(Item):
    price: float = Field(on_violation="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: contract(record=NullPrice), "'price' does not allow NULL"),
        (lambda: contract(record=Unknown), "on_violation='drop'"),
        (lambda: contract(on_violation="null"), "as a whole"),
        (lambda: contract(lateness=5), "no event time"),
        (lambda: contract(new_fields="keep"), "none of the choices"),
        (lambda: contract(Rule("price > 0"), Rule("price  > 0")), "two rules"),
        (lambda: contract(Rule("price > 0", columns="prise")), "'prise'"),
        (lambda: contract(Rule("price > 0", on_violation="null")), "no columns"),
        (lambda: contract(Rule("price > 0", on_violation="null", columns="price")), "does not allow NULL"),
        (lambda: Rule("price > 0", name="unique"), "built-in"),
        (lambda: Rule(""), "no name or is empty"),
        (lambda: Rule(lambda r: True), "no name"),
        (lambda: Rule(3), "a rule cannot be 3"),  # type: ignore[arg-type]
        (lambda: Rule("a > b", on_violation="ignore"), "on_violation='ignore'"),  # type: ignore[arg-type]
    ],
)
def test_a_contract_that_contradicts_itself(declare: Callable[[], Any], says: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert says in caught.value.message
    assert caught.value.hint


def test_an_async_rule_is_refused() -> None:
    async def check(item: Item) -> bool:
        return True

    with pytest.raises(DeclarationError, match="async"):
        Rule(check)


@pytest.mark.parametrize(
    ("sql", "says", "hints"),
    [
        ("prise > 0", "names the column 'prise'", "did you mean 'price'?"),
        ("price >", "is not SQL", "condition"),
        ("price > 0; DROP TABLE items", "uses Block", "columns of one record"),
        ("price IN (SELECT 1)", "uses", "columns of one record"),
        ("price > :limit", "uses Placeholder", "columns of one record"),
        ("price > ?", "uses Placeholder", "columns of one record"),
        ("count(*) > 1", "uses", "columns of one record"),
        ("load_extension('x')", "the function load_extension()", "columns of one record"),
        ("random() > 0", "uses", "columns of one record"),
        ("changed < CURRENT_TIMESTAMP", "uses CurrentTimestamp", "columns of one record"),
        ("items.price > 0", "names a table", "alone"),
        ("changed > '2026-01-01'", "compares the timestamp 'changed' with text", "TIMESTAMP '2026-01-01'"),
        ("changed > TIMESTAMP 'yesterday'", "is not a timestamp", "TIMESTAMP"),
        ("changed > changed + INTERVAL '1' MONTH", "not an interval of fixed length", "MINUTE"),
    ],
)
def test_sql_outside_the_subset(sql: str, says: str, hints: str) -> None:
    with pytest.raises(SqlError) as caught:
        contract(Rule(sql))
    assert says in caught.value.message
    assert hints in caught.value.hint


def test_a_default_is_kept_as_it_is_stored():
    class Parcel(Record):
        parcel_id: str
        fragile: bool = False
        sent: datetime = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
        tags: list[str] = Field(default_factory=list)
        note: str | None = None
        label: str = Field(default_factory=lambda: "never the same")

    schema = schema_of(Parcel, kind=TableKind.TABLE, key="parcel_id")
    defaults = {column.name: column.default for column in schema.columns}
    assert defaults == {"parcel_id": None, "fragile": 0, "sent": 1_000_000, "tags": "[]", "note": None, "label": None}


def test_a_default_of_another_type_is_refused():
    with pytest.raises(DeclarationError, match="the default 'many' of the field 'stock' is no integer"):
        schema_of(
            pydantic.create_model("Item", __base__=Record, stock=(int, "many")), kind=TableKind.TABLE, key="stock"
        )
