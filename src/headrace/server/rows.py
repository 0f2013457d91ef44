"""`/tables/{table}`: rows by their keys, with the ages of the table."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.context.value import ContextValue
from headrace.core.clock import isoformat
from headrace.core.errors import BadParameter, UnknownName
from headrace.core.schema import TableKind
from headrace.server.answers import document, render
from headrace.server.ask import ASK_MEMBERS, Ask
from headrace.server.body import only, read_object, take
from headrace.server.catalog import Catalog, TableInfo
from headrace.server.ports import Reads
from headrace.server.problem import Problem
from headrace.server.settings import Settings

_MEMBERS = frozenset({"keys"}) | ASK_MEMBERS
_BODY_LIMIT = 1024 * 1024
MOST_KEYS = 1000
"""Most keys in one request."""


class Rows:
    """Answers reads of rows by key."""

    def __init__(self, reads: Reads, catalog: Catalog, settings: Settings) -> None:
        self._reads = reads
        self._catalog = catalog
        self._settings = settings

    def routes(self) -> list[Route]:
        """The routes that this object serves."""
        return [
            Route("/tables/{table}", self.many, methods=["POST"]),
            Route("/tables/{table}/{key:path}", self.one, methods=["GET"]),
        ]

    async def one(self, request: Request) -> Response:
        """One row; 404 when there is none, with the ages of the table all the same."""
        table = self._table(request)
        ask = Ask.of_request(request, {}, max_wait=self._settings.max_wait)
        key = _key(request.scope["raw_path"], table)
        value = await self._reads.get(table.name, key, policy=ask.policy, max_age=ask.max_age)
        return _answer(value, ask) if value.rows else _absent(table, value)

    async def many(self, request: Request) -> Response:
        """The rows of many keys in one snapshot: `{"keys": ["i1", ...]}`, a list each where the key is composite."""
        table = self._table(request)
        body = await read_object(
            request, limit=min(_BODY_LIMIT, self._settings.max_body), timeout=self._settings.body_timeout
        )
        only(body, _MEMBERS)
        ask = Ask.of_request(request, body, max_wait=self._settings.max_wait)
        keys: list[Any] = take(body, "keys", list, "a list of keys")
        if not keys or len(keys) > MOST_KEYS or any(isinstance(key, dict) for key in keys):
            raise BadParameter(
                "'keys' is not a list of keys", hint=f'send {{"keys": [...]}} with 1 to {MOST_KEYS} keys'
            )
        return _answer(await self._reads.get_many(table.name, keys, policy=ask.policy, max_age=ask.max_age), ask)

    def _table(self, request: Request) -> TableInfo:
        table = self._catalog.table(request.path_params["table"])
        if table.kind is not TableKind.TABLE:
            raise UnknownName(f"{table.name!r} holds events, not rows by key", hint="read it through a view")
        return table


def _key(raw_path: bytes, table: TableInfo) -> str | list[str]:
    """The key in a path as it was written: a comma that belongs to a value is %2C, a slash may stand as it is.

    Clients made from OpenAPI encode the commas between the parts too: without a plain one, those are taken.
    """
    text = raw_path.split(b"/", 3)[3].decode("ascii", "replace")
    if len(table.key) == 1:
        return _decode(text)
    parts = [_decode(part) for part in text.split(",")] if "," in text else _decode(text).split(",")
    if len(parts) != len(table.key):
        raise BadParameter(
            f"the key of {table.name!r} has {len(table.key)} parts, {len(parts)} are given",
            hint=f"write /tables/{table.name}/" + ",".join(f"<{name}>" for name in table.key),
        )
    return parts


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise BadParameter("the key holds bytes that are not UTF-8", hint="encode it as UTF-8") from error


def _answer(value: ContextValue, ask: Ask) -> Response:
    body, headers = render(value, readset=ask.readset)
    response = Response(body)
    response.raw_headers = headers
    return response


def _absent(table: TableInfo, value: ContextValue) -> Response:
    answer = document(value)
    members = {name: answer[name] for name in ("rows", "as_of", "age_ms", "status", "inputs")}
    detail = f"{table.name!r} has no row of that key"
    if value.as_of is not None:
        detail += f" as of {isoformat(value.as_of)}"
    return Problem(404, "no-row", "No row of that key", detail, members={"answer": members}).response()
