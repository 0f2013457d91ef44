"""What answers in development while the app cannot be served: 503 with what is wrong and where.

Only `/healthz` is as ever: the process lives, and whoever watches it need not start it again.
"""

from __future__ import annotations

import socket
from dataclasses import replace

from headrace.core.errors import HeadraceError
from headrace.http1 import Request, Response, Server, ServerLimits
from headrace.server.problem import MEDIA_TYPE, Problem

_LIMITS = ServerLimits(head_timeout=5.0, body_timeout=5.0, idle_timeout=5.0)
_RETRY = ((b"retry-after", b"1"),)
_BROKEN = ("app-broken", "The app cannot be served")
_LOADING = ("app-loading", "The app is being loaded")
_PATIENCE = 0.5
"""Seconds that a client has to take its answer before whoever serves next begins."""


class StandIn:
    """Answers on a listening socket of which another process has a copy; `show` and `hide` may be called repeatedly."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._server: Server | None = None
        self._loading = False
        self._problem = Problem(503, *_BROKEN, "")

    async def show(self, error: HeadraceError, *, loading: bool = False) -> None:
        """Answer with `error` from now on; `loading`: it passes, and another try helps."""
        self._loading = loading
        name, title = _LOADING if loading else _BROKEN
        self._problem = replace(Problem.of(error), status=503, name=name, title=title, headers=_RETRY)
        if self._server is None:
            self._server = Server(self._handle, _LIMITS)
            await self._server.start(sockets=[self._listening.dup()])

    async def hide(self) -> None:
        """Take no more connections: they wait for whoever serves next."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.drain(_PATIENCE)

    def _handle(self, request: Request) -> Response:
        request.keep_alive = False  # the next request is for whoever serves then
        if request.path == b"/healthz":
            return Response(200, [(b"content-type", b"application/json")], b'{"status":"alive"}')
        if request.target.startswith(b"/v1/"):
            return self._said(request)
        return Response(503, [(b"content-type", MEDIA_TYPE.encode()), *_RETRY], self._problem.body)

    def _said(self, request: Request) -> Response:
        """The problem for a client of models: with its line, and, if broken, as nothing that another try mends."""
        # Loaded here: it brings the whole gateway.
        from headrace.models.request import Dialect
        from headrace.server.gateway.refusal import outside, spoken

        problem, dialect = self._problem, spoken(request)
        where = f"{problem.members['where']}: " if "where" in problem.members else ""
        complaint = outside(replace(problem, detail=where + problem.detail))
        complaint.code, complaint.retry = problem.name.replace("-", "_"), self._loading
        if dialect is Dialect.MESSAGES:
            complaint.status = 500  # their 503 is 529, and says "overloaded"
        return complaint.response(dialect)
