"""`GET /context/{view}` without a framework: most of the traffic, so nothing stands between request and read."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.core.errors import HeadraceError
from headrace.server.answers import RawHeaders, render
from headrace.server.ask import Ask, parse_query
from headrace.server.catalog import Catalog
from headrace.server.failures import Failures
from headrace.server.ports import Reads
from headrace.server.problem import Problem
from headrace.server.settings import Settings

PREFIX = "/context/"
"""Paths that begin so are answered here."""


class Lookup:
    """Reads one view."""

    def __init__(self, reads: Reads, catalog: Catalog, settings: Settings, failures: Failures) -> None:
        self._reads = reads
        self._catalog = catalog
        self._max_wait = settings.max_wait
        self._failures = failures

    async def answer(
        self, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]
    ) -> tuple[bytes, RawHeaders] | Problem:
        """The body and its headers (all of them, with its length), or what is wrong."""
        if method not in ("GET", "HEAD"):
            return _ONLY_GET
        view = path[len(PREFIX) :]
        try:
            self._catalog.view(view)
            params, controls = parse_query(query)
            ask = Ask.of(headers, controls, max_wait=self._max_wait)
            value = await self._reads.read(view, params, policy=ask.policy, max_age=ask.max_age)
            return render(value, readset=ask.readset)
        except HeadraceError as error:
            return Problem.of(error)
        # The boundary to user code: whatever a view's function raises must not reach the client as a traceback.
        except Exception as error:
            return self._failures.report(error, {"method": method, "path": path})


_ONLY_GET = Problem(
    405,
    "method-not-allowed",
    "That method is not allowed here",
    "a view is read with GET",
    hint="POST /context takes many reads at once",
    headers=((b"allow", b"GET, HEAD"),),
)
