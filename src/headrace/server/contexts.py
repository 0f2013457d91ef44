"""`POST /context`: many reads in one snapshot, and `POST /validate`: do the reads behind an answer still hold."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.context.readset import Validity
from headrace.core.clock import isoformat
from headrace.core.errors import BadParameter
from headrace.server.answers import document, json_response
from headrace.server.ask import ASK_MEMBERS, Ask
from headrace.server.body import only, read_object, take
from headrace.server.catalog import Catalog
from headrace.server.ports import Reads
from headrace.server.settings import Settings
from headrace.server.tokens import decode_readsets

_MEMBERS = frozenset({"reads"}) | ASK_MEMBERS
_READ_MEMBERS = frozenset({"view", "params"})
_BODY_LIMIT = 1024 * 1024


class Contexts:
    """Answers reads of several views at once, and compares what was read before."""

    def __init__(self, reads: Reads, catalog: Catalog, settings: Settings) -> None:
        self._reads = reads
        self._catalog = catalog
        self._settings = settings

    def routes(self) -> list[Route]:
        """The routes that this object serves."""
        return [
            Route("/context", self.many, methods=["POST"]),
            Route("/validate", self.validate, methods=["POST"]),
        ]

    async def many(self, request: Request) -> Response:
        """Many reads in one snapshot."""
        body = await read_object(
            request, limit=min(_BODY_LIMIT, self._settings.max_body), timeout=self._settings.body_timeout
        )
        only(body, _MEMBERS)
        ask = Ask.of_request(request, body, max_wait=self._settings.max_wait)
        values = await self._reads.read_many(self._asked(body), policy=ask.policy, max_age=ask.max_age)
        answers = [{"view": value.name} | document(value, readset=ask.readset) for value in values]
        return json_response({"answers": answers})

    def _asked(self, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        reads: list[Any] = take(body, "reads", list, 'a list of {"view": ..., "params": {...}}')
        if not reads:
            raise BadParameter("the body has no reads", hint='send {"reads": [{"view": "...", "params": {...}}]}')
        if len(reads) > self._settings.max_reads:
            raise BadParameter(f"{len(reads)} reads are too many", hint=f"send at most {self._settings.max_reads}")
        return [self._one(read) for read in reads]

    def _one(self, read: Any) -> tuple[str, dict[str, Any]]:
        asked = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
        view = asked.get("view")
        if not isinstance(view, str):
            raise BadParameter("a read does not name its view", hint='send {"view": "...", "params": {...}}')
        only(asked, _READ_MEMBERS)
        self._catalog.view(view)
        return view, take(asked, "params", dict, "an object of parameters") or {}

    async def validate(self, request: Request) -> Response:
        """Whether what answers were built on still holds: `{"readsets": [token, ...]}`."""
        body = await read_object(request, limit=self._settings.max_body, timeout=self._settings.body_timeout)
        only(body, frozenset({"readsets"}))
        tokens: list[Any] = take(body, "readsets", list, "a list of read-set tokens")
        if not tokens or len(tokens) > self._settings.max_reads or not all(isinstance(one, str) for one in tokens):
            raise BadParameter(
                "'readsets' is not a list of tokens", hint=f"send 1 to {self._settings.max_reads} tokens of answers"
            )
        return json_response(_verdict(self._reads.validate(decode_readsets(tokens, self._catalog))))


def _verdict(validity: Validity) -> dict[str, Any]:
    return {
        "holds": validity.holds,
        "as_of": None if validity.as_of is None else isoformat(validity.as_of),
        "changed": [{"name": changed.read.name, "reason": changed.reason} for changed in validity.changed],
    }
