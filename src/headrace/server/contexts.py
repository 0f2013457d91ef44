"""`POST /context`: many reads in one snapshot, and `GET /tables/{table}/{key}`: one row by its key."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.context.readset import ReadSet, Validity
from headrace.context.value import ContextValue
from headrace.core.clock import isoformat
from headrace.core.errors import BadParameter, UnknownName
from headrace.core.schema import TableKind
from headrace.server.answers import document, render, to_json
from headrace.server.ask import Ask, parse_max_age, parse_policy, parse_query
from headrace.server.body import JSON_TYPES, decode_object, only, read_body, take
from headrace.server.catalog import Catalog, TableInfo
from headrace.server.ports import Reads
from headrace.server.problem import Problem
from headrace.server.settings import Settings
from headrace.server.tokens import decode_readset

_MEMBERS = frozenset({"reads", "policy", "max_age", "readset"})
_READ_MEMBERS = frozenset({"view", "params"})
_BODY_LIMIT = 1024 * 1024


class Contexts:
    """Answers reads that are not of one view."""

    def __init__(self, reads: Reads, catalog: Catalog, settings: Settings) -> None:
        self._reads = reads
        self._catalog = catalog
        self._settings = settings

    def routes(self) -> list[Route]:
        """The routes that this object serves."""
        return [
            Route("/context", self.many, methods=["POST"]),
            Route("/tables/{table}/{key:path}", self.row, methods=["GET"]),
            Route("/validate", self.validate, methods=["POST"]),
        ]

    async def many(self, request: Request) -> Response:
        """Many reads in one snapshot."""
        limit = min(_BODY_LIMIT, self._settings.max_body)
        body = decode_object(
            await read_body(request, limit=limit, timeout=self._settings.body_timeout, types=JSON_TYPES)
        )
        only(body, _MEMBERS)
        ask = self._ask(request, body)
        values = await self._reads.read_many(self._asked(body), policy=ask.policy, max_age=ask.max_age)
        answers = [{"view": value.name} | document(value, readset=ask.readset) for value in values]
        return _json({"answers": answers})

    def _ask(self, request: Request, body: dict[str, Any]) -> Ask:
        """The controls of the body beat those of query and headers."""
        params, controls = parse_query(request.scope["query_string"])
        if params:
            raise BadParameter(f"there is no parameter {next(iter(params))!r}", hint="put the reads into the body")
        ask = Ask.of(dict(request.scope["headers"]), controls, max_wait=self._settings.max_wait)
        policy = parse_policy(take(body, "policy", str, "a policy as text"), self._settings.max_wait)
        max_age = take(body, "max_age", (str, int, float), 'a duration such as "2s"')
        return Ask(
            policy or ask.policy,
            ask.max_age if max_age is None else parse_max_age(str(max_age)),
            ask.readset or body.get("readset") is True,
        )

    def _asked(self, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        reads = take(body, "reads", list, 'a list of {"view": ..., "params": {...}}')
        if not reads:
            raise BadParameter("the body has no reads", hint='send {"reads": [{"view": "...", "params": {...}}]}')
        if len(reads) > self._settings.max_reads:
            raise BadParameter(f"{len(reads)} reads are too many", hint=f"send at most {self._settings.max_reads}")
        return [self._one(read) for read in reads]

    def _one(self, read: Any) -> tuple[str, dict[str, Any]]:
        if not isinstance(read, dict) or not isinstance(read.get("view"), str):  # pyright: ignore[reportUnknownMemberType]
            raise BadParameter("a read does not name its view", hint='send {"view": "...", "params": {...}}')
        asked: dict[str, Any] = read  # pyright: ignore[reportUnknownVariableType]
        only(asked, _READ_MEMBERS)
        self._catalog.view(asked["view"])
        return asked["view"], take(asked, "params", dict, "an object of parameters") or {}

    async def row(self, request: Request) -> Response:
        """One row by its key; 404 when there is none, with the ages of the table all the same."""
        table = self._catalog.table(request.path_params["table"])
        if table.kind is not TableKind.TABLE:
            raise UnknownName(f"{table.name!r} holds events, not rows by key", hint="read it through a view")
        params, controls = parse_query(request.scope["query_string"])
        if params:
            raise BadParameter(f"there is no parameter {next(iter(params))!r}", hint="the key stands in the path")
        ask = Ask.of(dict(request.scope["headers"]), controls, max_wait=self._settings.max_wait)
        key = _key(request.scope["raw_path"], table)
        value = await self._reads.get(table.name, key, policy=ask.policy, max_age=ask.max_age)
        if not value.rows:
            return _absent(table, value)
        body, headers = render(value, readset=ask.readset)
        return _raw(body, headers)

    async def validate(self, request: Request) -> Response:
        """Whether what an answer was built on still holds: `{"readsets": [token, ...]}`."""
        limit = self._settings.max_body
        body = decode_object(
            await read_body(request, limit=limit, timeout=self._settings.body_timeout, types=JSON_TYPES)
        )
        only(body, frozenset({"readsets"}))
        tokens = take(body, "readsets", list, "a list of read-set tokens")
        if not tokens or len(tokens) > self._settings.max_reads or not all(isinstance(one, str) for one in tokens):
            raise BadParameter(
                "'readsets' is not a list of tokens", hint=f"send 1 to {self._settings.max_reads} tokens of answers"
            )
        readset = sum((decode_readset(token, self._catalog) for token in tokens), ReadSet())
        return _json(_verdict(self._reads.validate(readset)))


def _verdict(validity: Validity) -> dict[str, Any]:
    return {
        "holds": validity.holds,
        "as_of": None if validity.as_of is None else isoformat(validity.as_of),
        "changed": [{"name": changed.read.name, "reason": changed.reason} for changed in validity.changed],
    }


def _key(raw_path: bytes, table: TableInfo) -> str | list[str]:
    """The key in a path as it was written: a comma that belongs to a value is %2C, a slash may stand as it is."""
    text = raw_path.split(b"/", 3)[3].decode("ascii", "replace")
    if len(table.key) == 1:
        return _decode(text)
    parts = [_decode(part) for part in text.split(",")]
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


def _absent(table: TableInfo, value: ContextValue) -> Response:
    answer = document(value)
    members = {name: answer[name] for name in ("as_of", "age_ms", "status", "inputs")}
    detail = f"{table.name!r} has no row of that key"
    if value.as_of is not None:
        detail += f" as of {isoformat(value.as_of)}"
    return Problem(404, "no-row", "No row of that key", detail, members={"answer": members | {"rows": []}}).response()


def _json(data: Any) -> Response:
    return Response(to_json(data), media_type="application/json", headers={"cache-control": "no-store"})


def _raw(body: bytes, headers: list[tuple[bytes, bytes]]) -> Response:
    response = Response(body)
    response.raw_headers = headers
    return response
