"""`POST /push/{table}`: records that someone sends; answered once they are on disk."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.core.changes import Receipt
from headrace.core.errors import BadParameter, PushError
from headrace.server.answers import to_json
from headrace.server.body import PUSH_TYPES, Refused, read_body
from headrace.server.catalog import Catalog, TableInfo
from headrace.server.ports import Writes
from headrace.server.problem import Problem
from headrace.server.settings import Settings

_LONGEST_KEY = 255


class Pushes:
    """Takes pushed bodies."""

    def __init__(self, writes: Writes, catalog: Catalog, settings: Settings) -> None:
        self._writes = writes
        self._catalog = catalog
        self._settings = settings

    def routes(self) -> list[Route]:
        """The routes that this object serves."""
        return [Route("/push/{table}", self.push, methods=["POST"])]

    async def push(self, request: Request) -> Response:
        """Hand a body to the engine and answer with what became of it."""
        table = self._catalog.table(request.path_params["table"])
        if not table.push:
            raise Refused(_not_pushed(table))
        key = idempotency_key(request.headers.getlist("idempotency-key"))
        body = await read_body(
            request, limit=self._settings.max_body, timeout=self._settings.body_timeout, types=PUSH_TYPES
        )
        if not body.strip():
            raise PushError("the body is empty", hint="send one JSON object, an array of them, or one a line")
        receipt = await self._writes.push(table.name, body, idempotency_key=key)
        return Response(to_json(receipt_document(receipt)), media_type="application/json")


def idempotency_key(given: list[str]) -> str | None:
    """The key of a request's headers. Raises `BadParameter`."""
    if not given:
        return None
    key = given[0].strip()
    if len(given) > 1 or not key or len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise BadParameter(
            "the Idempotency-Key cannot be used", hint=f"send one, of 1 to {_LONGEST_KEY} printable ASCII characters"
        )
    return key


def receipt_document(receipt: Receipt) -> dict[str, int | bool]:
    """A receipt as HTTP gives it."""
    return {
        "accepted": receipt.accepted,
        "quarantined": receipt.quarantined,
        "duplicates": receipt.duplicates,
        "txn": receipt.txn,
        "replayed": receipt.replayed,
    }


def _not_pushed(table: TableInfo) -> Problem:
    return Problem(
        405,
        "not-pushed",
        "That table takes no pushes",
        f"{table.name!r} is fed by another source",
        hint="declare it with source=sources.Push() to push to it",
        headers=((b"allow", b""),),
    )
