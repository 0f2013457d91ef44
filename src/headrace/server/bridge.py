"""An ASGI application as an `http1` handler: HTTP scopes of version 3, bodies streamed both ways, and the lifespan.

The application runs in a task of its own. A client that goes away is told to it as `http.disconnect`, and what it sends
after that is dropped; it is not cancelled, so a write that has begun is not torn. `finish` waits for those that still
run when the server stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

from headrace.core.errors import BodyRefused, HeadraceError
from headrace.http1 import Request, Response
from headrace.http1.headers import FRAMING

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class BrokenApplication(Exception):
    """The ASGI application broke its side of the protocol; the message says how."""


class Bridge:
    """Hands requests to an ASGI application.

    Parameters
    ----------
    app
        The application; its lifespan is somebody else's (`lifespan`).
    server
        Host and port, as the scope tells them.
    scheme
        "http" or "https".
    """

    def __init__(self, app: ASGIApp, server: tuple[str, int], *, scheme: str = "http") -> None:
        self._app = app
        self._server = server
        self._scheme = scheme
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Request) -> Response:
        """One request."""
        exchange = _Exchange(request)
        task = asyncio.create_task(self._run(self._scope(request), exchange))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await exchange.response()

    async def finish(self, timeout: float) -> bool:
        """Wait for applications that still run after their answer; after `timeout` seconds they are cancelled.

        Returns whether all of them came to their end.
        """
        if not self._running:
            return True
        _, late = await asyncio.wait(self._running, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        return not late

    async def _run(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        # The boundary to the application: its error is raised where the answer is waited for, which logs it.
        except Exception as error:
            exchange.returned(error)
        except asyncio.CancelledError:
            exchange.returned(BrokenApplication("the application was cancelled before its answer was complete"))
            raise
        else:
            exchange.returned(None)

    def _scope(self, request: Request) -> Scope:
        raw_path, _, query = request.target.partition(b"?")
        client = request.client
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": request.version,
            "method": request.method.decode("ascii"),
            "scheme": self._scheme,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": (client[0], client[1]) if client else None,
            "server": self._server,
            "state": {},
        }


class _Exchange:
    """One request on its way through the application: what it receives, and what it has sent.

    The head waits for the first piece of the body, as ASGI wants it: an answer in one piece then goes out in one write,
    with its length. Further pieces are handed over one at a time, so the application is as fast as its client.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._head: asyncio.Future[Response] = self._loop.create_future()
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._length: int | None = None
        self._piece: bytes | None = None
        self._taken: asyncio.Future[None] | None = None
        self._given: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._read = False
        self._complete = False
        self._gone = False
        self._error: Exception | None = None

    # The server's side

    async def response(self) -> Response:
        """The answer: whole, or as a stream."""
        try:
            return await self._head
        except asyncio.CancelledError:
            self._leave()
            raise

    def __aiter__(self) -> _Exchange:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of a streamed answer."""
        while self._piece is None:
            if self._complete:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            # The piece before this one is written: the application may go on.
            _wake(self._taken)
            self._given = self._loop.create_future()
            await self._given
        piece, self._piece = self._piece, None
        return piece

    async def aclose(self) -> None:
        """Nobody takes more: the answer has ended, or the client is gone."""
        self._leave()

    def returned(self, error: Exception | None) -> None:
        """The application came to its end."""
        if self._complete or self._gone:
            return
        what = "sent no answer" if not self._status else "ended before its answer was complete"
        self._error = error or BrokenApplication(f"the application {what}")
        if not self._head.done():
            self._head.set_exception(self._error)
        _wake(self._given)

    def _leave(self) -> None:
        self._gone = True
        self._piece = None
        _wake(self._over)
        _wake(self._taken)

    # The application's side

    async def receive(self) -> Message:
        """The next piece of the request's body; then, once there is nothing to answer to any more, the end."""
        if not self._read:
            request = self._request
            try:
                piece = await anext(request, None)
            except BodyRefused as refused:
                self._read = True
                # What was wrong with the body is the connection's to say, whatever the application makes of it.
                if not self._head.done():
                    self._head.set_exception(refused)
                self._leave()
            else:
                self._read = piece is None or (request.complete and not request.buffered)
                return {"type": "http.request", "body": piece or b"", "more_body": not self._read}
        if not (self._complete or self._gone):
            self._over = self._over or self._loop.create_future()
            # Shielded, since several may wait and one of them may be cancelled.
            await asyncio.shield(self._over)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The head, or a piece of the body."""
        kind = message["type"]
        if self._gone:
            return
        if kind == "http.response.start":
            if self._status:
                raise BrokenApplication("the application began its answer twice")
            self._begin(message)
        elif kind != "http.response.body":
            raise BrokenApplication(f"the application sent {kind!r}, which an answer has no place for")
        elif not self._status or self._complete:
            raise BrokenApplication("the application sent a piece of a body that had not begun, or had ended")
        else:
            await self._body(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, message: Message) -> None:
        self._status = message["status"]
        for name, value in message.get("headers", ()):
            lower = name.lower()
            if lower == b"content-length":
                self._length = int(value)
            elif lower == b"connection" and value.lower() == b"close":
                self._request.keep_alive = False
            elif lower not in FRAMING:
                self._headers.append((lower, value))

    async def _body(self, piece: bytes, *, more: bool) -> None:
        if not self._head.done() and not more:
            self._complete = True
            self._head.set_result(Response(self._status, self._headers, bytes(piece), length=self._length))
            _wake(self._over)
            return
        if not self._head.done():
            self._head.set_result(Response(self._status, self._headers, self, length=self._length))
        if self._request.method != b"HEAD":
            await self._hand(piece)
        if not more:
            self._complete = True
            _wake(self._given)
            _wake(self._over)

    async def _hand(self, piece: bytes) -> None:
        """Give a piece to the stream, and wait until it is written and the next is asked for."""
        if not piece:
            return
        self._piece = bytes(piece)
        self._taken = self._loop.create_future()
        _wake(self._given)
        await self._taken


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncGenerator[None]:
    """Start an ASGI application, and end it on the way out.

    Raises
    ------
    HeadraceError
        The application cannot start; the message says why.
    """
    life = _Life()
    task = asyncio.ensure_future(app({"type": "lifespan", "asgi": _ASGI, "state": {}}, life.incoming.get, life.send))
    await life.pass_stage("startup", task)
    try:
        yield
    finally:
        await life.pass_stage("shutdown", task)
        await task


class _Life:
    """What is said to and by an application that starts or ends."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()

    async def send(self, message: Message) -> None:
        """The application's answer."""
        self._said.put_nowait(message)

    async def pass_stage(self, stage: str, task: asyncio.Future[None]) -> None:
        """Tell the application to start or to end, and wait until it has."""
        self.incoming.put_nowait({"type": f"lifespan.{stage}"})
        said = asyncio.ensure_future(self._said.get())
        await asyncio.wait({said, task}, return_when=asyncio.FIRST_COMPLETED)
        if said.done() and said.result()["type"] == f"lifespan.{stage}.complete":
            return
        said.cancel()
        # An application that failed says so, and then raises what it failed with.
        await asyncio.wait({task}, timeout=1.0)
        task.cancel()
        error = task.exception() if task.done() else None
        raise HeadraceError(f"the application failed at its {stage}: {error or 'it does not say why'}") from error
