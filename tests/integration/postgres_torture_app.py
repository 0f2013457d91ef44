"""The app of the torture run: tables of all shapes out of one database, views that show whether they fit together."""

from __future__ import annotations

import os
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import headrace as hr

app = hr.App("torture")
DSN = os.environ["HEADRACE_TORTURE_DSN"]


def source(table: str | None = None) -> hr.sources.Postgres:
    return hr.sources.Postgres(DSN, table=table)


class Account(hr.Record):
    id: int
    shard: int
    owner: str
    balance: int


class Ledger(hr.Record):
    account: int
    amount: int
    note: str | None


class Mark(hr.Record):
    writer: int
    shard: int
    n: int


class Move(hr.Record):
    id: int
    src: int
    dst: int
    amount: int
    at: datetime


class Typed(hr.Record):
    id: int
    b: bool | None
    i2: int | None
    i4: int | None
    i8: int | None
    f4: float | None
    f8: float | None
    num: Decimal | None
    t: str | None
    vc: str | None
    ch: str | None
    ts: datetime | None
    tz: datetime | None
    d: date | None
    tm: time | None
    iv: timedelta | None
    u: UUID | None
    j: Any
    jb: Any
    ints: list[int | None] | None
    texts: list[str | None] | None
    by: bytes | None
    mood: str | None
    pos: int | None
    r: str | None
    net: str | None
    bits: str | None


class Wide(hr.Record):
    id: int
    body: str | None
    n: int
    note: str | None


class Pair(hr.Record):
    a: int
    b: str
    v: Decimal | None
    at: datetime | None


class Part(hr.Record):
    region: str
    id: int
    v: int


class Full(hr.Record):
    id: int
    code: str | None
    body: str | None


class Scratch(hr.Record):
    id: int
    v: str | None


class Bulk(hr.Record):
    id: int
    batch: int
    v: str


app.table(Account, key="id", index=["shard"], freshness="5s", source=source())
app.table(Ledger, key="account", name="ledger", freshness="5s", source=source())
app.table(Mark, key="writer", index=["shard"], freshness="5s", source=source())
moves = app.events(Move, event_time="at", key="id", keep="30d", freshness="5s", source=source())
app.table(Typed, key="id", name="typed", freshness="5s", source=source())
app.table(Wide, key="id", name="wide", freshness="5s", source=source())
app.table(Pair, key=["a", "b"], name="pairs", freshness="5s", source=source("public.pairs"))
app.table(Part, key=["region", "id"], name="parts", freshness="5s", source=source())
app.table(Full, key="id", name="whole", freshness="5s", source=source("full_rows"))
app.table(Scratch, key="id", name="scratch", freshness="5s", source=source())
app.table(Bulk, key="id", name="bulk", freshness="5s", source=source())

app.rollup("flows", moves, by="src", windows=["15m", "24h"], n=hr.count(), amount=hr.sum("amount"))
app.view(
    "books",
    "SELECT a.id, a.balance, l.amount FROM accounts a LEFT JOIN ledger l ON l.account = a.id WHERE a.shard = :shard",
)
app.view("marked", "SELECT writer, n FROM marks WHERE shard = :shard")
app.view("by_region", "SELECT region, COUNT(*) AS n, SUM(v) AS total FROM parts GROUP BY region")
