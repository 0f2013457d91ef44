"""Values of real servers: random rows of all types come out of COPY and of the stream as they were written."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pydantic
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Json, Jsonb
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from headrace.contracts.contract import Contract
from headrace.contracts.infer import schema_of
from headrace.contracts.judge import Judge
from headrace.core.changes import Batch, Tuples, Upserts
from headrace.core.records import Field, Record
from headrace.core.schema import ColumnType, TableKind, encode
from headrace.demo.postgres import TemporaryPostgres, binaries, packaged_binaries
from headrace.sources.postgres.copy import CopyText
from headrace.sources.postgres.messages import Commit, Insert, Message, Relation
from headrace.sources.postgres.pgoutput import Decoder
from headrace.sources.postgres.types import TYPES_QUERY, PgType, Types
from headrace.sources.postgres.values import SETTINGS, Conversion
from headrace.sources.postgres.wire import BODY, XLogData, read_wire

OPTIONS = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())


class Mood(enum.StrEnum):
    HAPPY = "happy"
    SAD = "so sad"


@dataclass(frozen=True)
class Kind:
    """A column: its SQL type, the field that takes it, what is written, and what the record then holds."""

    sql: str
    field: Any
    written: st.SearchStrategy[Any]
    held: Callable[[Any], Any] = lambda value: value
    sent: Callable[[Any], Any] = lambda value: value


TEXT = st.text(
    st.sampled_from("aN\\\t\n\r\b\"',{}\u00e9\U0001f600") | st.characters(codec="utf-8", exclude_characters="\0"),
    max_size=8,
)
SHORT = st.text("ab \\\t", max_size=5)
DECIMALS = st.builds(lambda n, places: Decimal(n).scaleb(-places), st.integers(-(10**20), 10**20), st.integers(0, 12))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
OFFSETS = st.integers(-15 * 60 + 1, 15 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def plain(value: Decimal) -> Decimal:
    return Decimal(format(value, "f"))


def bounds(found: Range[Any]) -> dict[str, Any]:
    if found.isempty:
        return {"lower": None, "upper": None, "lower_inc": False, "upper_inc": False, "empty": True}
    return {
        "lower": found.lower,
        "upper": found.upper,
        "lower_inc": found.lower_inc,
        "upper_inc": found.upper_inc,
        "empty": False,
    }


def point(pair: tuple[int, int]) -> str:
    return f"({pair[0]},{pair[1]})"


def all_bounds(found: list[Range[Any]]) -> list[dict[str, Any]]:
    return [bounds(one) for one in found]


def has_lower(found: Range[int]) -> bool:
    return found.lower is not None


def span_text(found: Range[int]) -> str:
    return f"[{found.lower},{found.upper})"


def span(start: int | None, length: int) -> Range[int]:
    """A range as the server writes it back: with its lower bound, without its upper one."""
    return Range(start, (start or 0) + length, "[)" if start is not None else "()")


DURATIONS = st.timedeltas(timedelta(-99), timedelta(99))
PAIRS = st.tuples(st.integers(-9, 9), st.integers(-9, 9))
SPANS = st.builds(span, st.none() | st.integers(-100, 100), st.integers(1, 50))
SINGLES = st.lists(SPANS, max_size=1)
KINDS: dict[str, Kind] = {
    "a_bool": Kind("bool", bool, st.booleans()),
    "a_bool_text": Kind("bool", str, st.booleans(), lambda value: str(value).lower()),
    "an_int2": Kind("int2", int, st.integers(-(2**15), 2**15 - 1)),
    "an_int4": Kind("int4", int, st.integers(-(2**31), 2**31 - 1)),
    "an_int8": Kind("int8", int, st.integers(-(2**63), 2**63 - 1)),
    "an_oid": Kind("oid", int, st.integers(0, 2**32 - 1)),
    "a_float4": Kind("float4", float, st.integers(-(2**15), 2**15).map(lambda n: n / 8)),
    "a_float8": Kind("float8", float, FLOATS),
    "a_numeric": Kind("numeric", Decimal, DECIMALS, plain),
    "a_numeric_real": Kind("numeric", float, DECIMALS, float),
    "a_numeric_whole": Kind("numeric(20,3)", int, st.integers(-(10**15), 10**15)),
    "a_money": Kind("money", Decimal, st.integers(-(10**12), 10**12).map(lambda n: Decimal(n).scaleb(-2)), plain),
    "a_text": Kind("text", str, TEXT),
    "a_varchar": Kind("varchar(10)", str, TEXT),
    "a_bpchar": Kind("char(5)", str, SHORT, lambda value: value.ljust(5)),
    "a_char": Kind('"char"', str, st.sampled_from("ab\\")),
    "a_name": Kind("name", str, SHORT),
    "a_timestamptz": Kind("timestamptz", datetime, INSTANTS),
    "a_timestamp": Kind("timestamp", datetime, st.datetimes()),
    "a_date": Kind("date", date, st.dates()),
    "a_time": Kind("time", time, st.times()),
    "a_timetz": Kind("timetz", time, st.times(timezones=OFFSETS)),
    "an_interval": Kind("interval", timedelta, st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6))),
    "a_uuid": Kind("uuid", UUID, st.uuids()),
    "a_json": Kind("json", dict[str, Any], st.dictionaries(TEXT, JSON | FLOATS, max_size=3), sent=Json),
    "a_jsonb": Kind("jsonb", dict[str, Any], st.dictionaries(TEXT, JSON, max_size=3), sent=Jsonb),
    "a_bytea": Kind("bytea", bytes, st.binary(max_size=10)),
    "ints": Kind("int8[]", list[int | None], st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4)),
    "texts": Kind("text[]", list[str | None], st.lists(st.none() | TEXT | st.just("NULL"), max_size=4)),
    "grid": Kind("int4[][]", list[list[int]], st.lists(PAIRS.map(list), min_size=1, max_size=3)),
    "instants": Kind("timestamptz[]", list[datetime], st.lists(INSTANTS, max_size=2)),
    "numbers": Kind("numeric[]", list[Decimal], st.lists(DECIMALS.map(plain), max_size=3)),
    "durations": Kind("interval[]", list[timedelta], st.lists(DURATIONS, max_size=3)),
    "moods": Kind("mood[]", list[Mood], st.lists(st.sampled_from(Mood), max_size=3)),
    "a_mood": Kind("mood", Mood, st.sampled_from(Mood)),
    "a_positive": Kind("positive", int, st.integers(1, 1000)),
    "a_range": Kind("int4range", dict[str, Any], SPANS | st.just(Range(empty=True)), bounds),
    "a_range_text": Kind("int8range", str, SPANS.filter(has_lower), span_text),
    "a_multirange": Kind("int4multirange", list[dict[str, Any]], SINGLES, all_bounds, Multirange),
    "a_bit": Kind("bit(4)", str, st.text("01", min_size=4, max_size=4)),
    "a_varbit": Kind("varbit", str, st.text("01", max_size=9)),
    "an_inet": Kind("inet", str, st.ip_addresses(v=4).map(str)),
    "a_macaddr": Kind("macaddr", str, st.sampled_from(["08:00:2b:01:02:03"])),
    "a_point": Kind("point", str, PAIRS.map(point)),
    "a_tsvector": Kind("tsvector", str, st.sampled_from(["'a' 'b'"])),
    "a_pair": Kind("pair", str, st.integers(-9, 9).map(lambda n: f'({n},"a b")')),
}  # fmt: skip
SETUP = """
CREATE TYPE mood AS ENUM ('happy', 'so sad');
CREATE DOMAIN positive AS int4 CHECK (value > 0);
CREATE TYPE pair AS (a int, b text);
"""
Anything: Any = pydantic.create_model(
    "Anything", __base__=Record, id=(int, Field()), **{name: (kind.field | None, None) for name, kind in KINDS.items()}
)
SCHEMA = schema_of(Anything, kind=TableKind.EVENTS)
JUDGE = Judge(Contract(Anything, SCHEMA))


@dataclass
class Server:
    """A server with the table `anything`, a session of the right settings, and the stream of its commits."""

    session: psycopg.Connection[Any]
    stream: pq.PGconn
    relation: Relation | None = None

    def transaction(self) -> list[Message]:
        """The messages of the next transaction."""
        found: list[Message] = []
        while not found or not isinstance(found[-1], Commit):
            size, data = self.stream.get_copy_data(0)
            assert size > 0, self.stream.error_message
            wire = read_wire(bytes(data))
            if isinstance(wire, XLogData):
                found.append(Decoder().decode(wire.data, BODY))
                if isinstance(found[-1], Relation):
                    self.relation = found[-1]
        return found

    def conversion(self, given: list[tuple[str, int]]) -> Conversion:
        types = Types()
        types.add(self.session.execute(TYPES_QUERY, [types.missing(oid for _, oid in given)]).fetchall())
        assert not types.missing(oid for _, oid in given)
        return Conversion(types, given, {column.name: column.type for column in SCHEMA.columns})

    def copied(self, query: str, width: int) -> list[list[Any]]:
        reader = CopyText(width)
        with self.session.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT") as copy:  # type: ignore[call-overload]  # pyright: ignore
            for piece in copy:
                reader.feed(bytes(piece))
        columns = reader.take()
        reader.close()
        return columns  # type: ignore[return-value]


@pytest.fixture(scope="module", params=[binaries, packaged_binaries], ids=["debian", "packaged"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    folder: Path | None = request.param()
    if folder is None:
        pytest.skip("this server is not installed")
    with TemporaryPostgres(folder=folder) as postgres:
        session = psycopg.connect(make_conninfo(postgres.dsn, options=OPTIONS), autocommit=True)
        session.execute(SETUP)
        columns = ", ".join(f"{name} {kind.sql}" for name, kind in KINDS.items())
        session.execute(f"CREATE TABLE anything (id int8 PRIMARY KEY, {columns})")  # type: ignore[arg-type]  # pyright: ignore
        session.execute("CREATE PUBLICATION everything FOR TABLE anything WITH (publish = 'insert')")
        session.execute("SELECT pg_create_logical_replication_slot('reader', 'pgoutput')")
        stream = pq.PGconn.connect(make_conninfo(postgres.dsn, replication="database", options=OPTIONS).encode())
        started = stream.exec_(
            b"START_REPLICATION SLOT reader LOGICAL 0/0 (proto_version '1', publication_names 'everything')"
        )
        assert started.status == pq.ExecStatus.COPY_BOTH, stream.error_message
        yield Server(session, stream)
        stream.finish()
        session.close()


ROWS = st.lists(st.tuples(*(st.none() | kind.written for kind in KINDS.values())), min_size=1, max_size=12)


def expected(row: tuple[Any, ...]) -> list[Any]:
    """The stored cells; JSON ones as what they say, since the server orders the keys of jsonb."""
    values = [None if value is None else kind.held(value) for kind, value in zip(KINDS.values(), row, strict=True)]
    return [
        shown(column.type, encode(column.type, value)) for column, value in zip(SCHEMA.columns[1:], values, strict=True)
    ]


def shown(kind: ColumnType, cell: Any) -> Any:
    return json.loads(cell) if kind is ColumnType.JSON and cell is not None else cell


def stored(conversion: Conversion, rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    judged = JUDGE.judge(Batch([Tuples(conversion.names, rows)]), now=0)
    assert judged.violations == []
    (change,) = judged.changes
    assert isinstance(change, Upserts)
    assert [row[0] for row in change.rows] == list(range(len(rows)))
    return [[shown(c.type, cell) for c, cell in zip(SCHEMA.columns[1:], row[1:], strict=True)] for row in change.rows]


# Without shrinking: on a server it takes minutes, and the test has to be over in seconds when it fails, too.
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(rows=ROWS)
def test_rows_come_out_of_copy_and_stream_as_they_were_written(server: Server, rows: list[tuple[Any, ...]]) -> None:
    places = ", ".join(f"%s::{kind.sql}" for kind in KINDS.values())
    sent = [
        (i, *(None if value is None else kind.sent(value) for kind, value in zip(KINDS.values(), row, strict=True)))
        for i, row in enumerate(rows)
    ]
    with server.session.transaction(), server.session.cursor() as cursor:
        cursor.execute("DELETE FROM anything")
        cursor.executemany(f"INSERT INTO anything VALUES (%s, {places})", sent)  # type: ignore[arg-type]  # pyright: ignore
    wanted = [expected(row) for row in rows]

    messages = server.transaction()
    assert server.relation is not None
    conversion = server.conversion([(column.name, column.type) for column in server.relation.columns])
    assert [one.column for one in conversion.carried] == ["a_pair"]
    streamed = conversion.rows([message.new for message in messages if isinstance(message, Insert)])
    assert stored(conversion, streamed) == wanted

    columns = conversion.columns(server.copied("SELECT * FROM anything ORDER BY id", len(KINDS) + 1))
    assert list(zip(*columns, strict=True)) == streamed


INSTANT = ColumnType.TIMESTAMP
VALUES: list[tuple[str, ColumnType, Any]] = [
    ("'infinity'::timestamptz", INSTANT, "infinity"),
    ("'-infinity'::timestamp", INSTANT, "-infinity"),
    ("'0044-03-15 12:00 BC'::timestamptz", INSTANT, "0044-03-15 12:00:00+00 BC"),
    ("'10000-01-01'::timestamptz", INSTANT, "10000-01-01 00:00:00+00"),
    ("'infinity'::date", ColumnType.DATE, "infinity"),
    ("'0044-03-15 BC'::date", ColumnType.DATE, "0044-03-15 BC"),
    ("'5874897-12-31'::date", ColumnType.DATE, "5874897-12-31"),
    ("'24:00'::time", ColumnType.TIME, "24:00:00"),
    ("'1 year 2 mons -3 days'::interval", ColumnType.DURATION, "1 year 2 mons -3 days"),
    ("'NaN'::numeric", ColumnType.DECIMAL, "NaN"),
    ("'Infinity'::numeric", ColumnType.INTEGER, "Infinity"),
    ("1.5::numeric", ColumnType.INTEGER, "1.5"),
    ("1.5::numeric", ColumnType.UUID, "1.5"),
    ("'[0:1]={a,NULL}'::text[]", ColumnType.JSON, ["a", None]),
    ("'{(1,1),(0,0);(2,2),(1,1)}'::box[]", ColumnType.JSON, ["(1,1),(0,0)", "(2,2),(1,1)"]),
    ("'-Infinity'::float8", ColumnType.REAL, float("-inf")),
    ("E'a\\x01\\tb\\\\'::text", ColumnType.TEXT, "a\x01\tb\\"),
]


def test_values_that_are_special_arrive_as_the_server_writes_them(server: Server) -> None:
    given_types = server.session.execute(
        "SELECT " + ", ".join(f"pg_typeof({sql})::oid::int8" for sql, _, _ in VALUES)
    ).fetchone()  # type: ignore[arg-type]  # pyright: ignore
    assert given_types is not None
    names = [f"c{i}" for i in range(len(VALUES))]
    types = Types()
    assert not types.missing(given_types)
    wanted = {name: kind for name, (_, kind, _) in zip(names, VALUES, strict=True)}
    conversion = Conversion(types, list(zip(names, given_types, strict=True)), wanted)
    columns = server.copied("SELECT " + ", ".join(sql for sql, _, _ in VALUES), len(VALUES))
    assert [column[0] for column in conversion.columns(columns)] == [value for _, _, value in VALUES]


def test_the_types_that_are_known_beforehand_are_those_of_the_server(server: Server) -> None:
    oids = [oid for (oid,) in server.session.execute("SELECT oid::int8 FROM pg_type WHERE oid < 16384").fetchall()]
    known, read = Types(), {row[0]: PgType(*row) for row in server.session.execute(TYPES_QUERY, [oids]).fetchall()}
    built_in = set(oids) - set(known.missing(oids))
    assert len(built_in) > 100
    assert {oid: known[oid] for oid in built_in} == {oid: read[oid] for oid in built_in}


def test_a_type_is_read_with_all_that_it_is_made_of(server: Server) -> None:
    (oid,) = server.session.execute("SELECT '_mood'::regtype::oid::int8").fetchone()  # type: ignore[misc]  # pyright: ignore
    types = Types()
    types.add(server.session.execute(TYPES_QUERY, [[oid]]).fetchall())
    assert types[oid].kind == "array"
    assert types[types[oid].element].name == "mood"
    assert types[types[oid].element].kind == "enum"
