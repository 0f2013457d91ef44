"""`/quarantine`: look at records that broke their contract, replay them or drop them."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.core.errors import BadParameter
from headrace.server.answers import json_response
from headrace.server.body import only, read_object, take
from headrace.server.catalog import Catalog
from headrace.server.ports import Reads, Writes
from headrace.server.settings import Settings

_MOST_LISTED = 1000
_MOST_NUMBERS = 10_000
_LARGEST = 2**63 - 1
_FILTERS = frozenset({"table", "rule", "limit", "after"})
_CHOICES = frozenset({"ids", "table", "all"})


class Quarantines:
    """Shows and settles quarantined records."""

    def __init__(self, reads: Reads, writes: Writes, catalog: Catalog, settings: Settings) -> None:
        self._reads = reads
        self._writes = writes
        self._catalog = catalog
        self._settings = settings

    def routes(self) -> list[Route]:
        """The routes that this object serves."""
        return [
            Route("/quarantine", self.listing, methods=["GET"]),
            Route("/quarantine/replay", self.replay, methods=["POST"]),
            Route("/quarantine/drop", self.drop, methods=["POST"]),
            Route("/quarantine/{number}", self.one, methods=["GET"]),
        ]

    async def listing(self, request: Request) -> Response:
        """Waiting records, oldest first; `next` is the `after` of the next page, or null."""
        query = request.query_params
        unknown = sorted(set(query) - _FILTERS)
        if unknown:
            raise BadParameter(f"there is no parameter {unknown[0]!r}", hint=f"use {sorted(_FILTERS)}")
        table = query.get("table")
        if table is not None:
            self._catalog.table(table)
        limit = _number(query.get("limit", "100"), "limit", most=_MOST_LISTED, least=1)
        after = _number(query.get("after", "0"), "after")
        records = self._reads.quarantine(table=table, rule=query.get("rule"), limit=limit, after=after)
        last = records[-1]["id"] if len(records) == limit else None
        return json_response({"records": records, "next": last})

    async def one(self, request: Request) -> Response:
        """One record with its bytes."""
        number = _number(request.path_params["number"], "the number of the record")
        return json_response(self._reads.quarantined(number))

    async def replay(self, request: Request) -> Response:
        """Judge records again."""
        numbers, table = await self._chosen(request)
        return json_response(await self._writes.replay(numbers=numbers, table=table))

    async def drop(self, request: Request) -> Response:
        """Drop records for good."""
        numbers, table = await self._chosen(request)
        if numbers is None and table is None:
            each = [await self._writes.drop(table=name) for name in self._catalog.tables]
            return json_response({"dropped": sum(one["dropped"] for one in each)})
        return json_response(await self._writes.drop(numbers=numbers, table=table))

    async def _chosen(self, request: Request) -> tuple[list[int] | None, str | None]:
        """Which records: `ids`, those of a `table`, or `all`; an empty body must not mean all of them."""
        body = await read_object(
            request, limit=min(self._settings.max_body, 1024 * 1024), timeout=self._settings.body_timeout
        )
        only(body, _CHOICES)
        numbers = _numbers(take(body, "ids", list, "a list of numbers"))
        table = take(body, "table", str, "the name of a table")
        if table is not None:
            self._catalog.table(table)
        if numbers is None and table is None and body.get("all") is not True:
            raise BadParameter(
                "the body chooses no records", hint='send {"ids": [...]}, {"table": "..."} or {"all": true}'
            )
        return numbers, table


def _numbers(given: Any) -> list[int] | None:
    if given is None:
        return None
    listed = cast("list[Any]", given)
    if len(listed) > _MOST_NUMBERS:
        raise BadParameter(f"{len(listed)} ids are too many", hint=f"send at most {_MOST_NUMBERS}, or a table")
    if not all(_whole(one) for one in listed):
        raise BadParameter("'ids' is not a list of numbers", hint='send {"ids": [1, 2]}')
    return [int(one) for one in listed]


def _whole(value: Any) -> bool:
    """Whether a JSON value is a whole number from 0; 3.0 is one in JSON."""
    if isinstance(value, float):
        return value.is_integer() and 0 <= value <= _LARGEST
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _number(text: str, what: str, *, most: int = _LARGEST, least: int = 0) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise BadParameter(f"{what} is not a number from {least} to {most}: {text[:40]!r}", hint="write a whole number")
