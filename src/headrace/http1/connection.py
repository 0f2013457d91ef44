"""One client connection of a server: requests in, answers out in the same order, each under its clock.

    waiting    for a request's first byte                          idle clock: close
    head       its headers come                                    head clock: 408, close
    coming     a short body is on its way, and waited for          a moment: the handler runs
    serving    the handler runs; its body may still come           body clock: 408 to the handler
    writing    the client does not take the answer                 write clock: break off
    lingering  answered before the body's end, or refused          linger clock: close

Whatever happens, a request gets exactly one answer, or a broken connection that cannot be mistaken for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

from headrace.core.errors import BodyRefused
from headrace.http1.inbound import Inbound, Refusal
from headrace.http1.incoming import Incoming
from headrace.http1.limits import SMALL
from headrace.http1.outbox import AT_ONCE
from headrace.http1.outgoing import Stream, bodiless, whole
from headrace.http1.request import Request
from headrace.http1.response import Later, Reset, Response, let_go

if TYPE_CHECKING:
    from headrace.http1.server import Server

NEVER = float("inf")
_SOON = 0.1
"""Seconds in which a short body is expected after its head: then the handler runs without it."""
_RESET = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """Belongs to a `Server`, which calls `serve` at the end of the turn in which a request is ready for its handler,
    `expire` when the clock passes `deadline`, and `drain` before it ends.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = NEVER
        self._server = server
        self._loop = loop
        self._limits = server.limits
        self._outbox = server.outbox(loop)
        self._ready = server.ready
        self._inbound = Inbound(server.limits, server.bodies, server.heads)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._current: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._unbegun: Awaitable[Response] | None = None
        self._coming = False
        self._later: Later | None = None
        self._held = bytearray()
        self._reading = True
        self.blocked = False
        self._drain_waiter: asyncio.Future[None] | None = None
        self._body_since = 0.0
        self._paused_at = 0.0
        self._head_since = 0.0
        self._lingering = False
        self._overheard = 0
        self._draining = False
        self._gone = False
        self._peer: Any = None

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        self._peer = transport.get_extra_info("peername")
        self.deadline = self._loop.time() + self._limits.head_timeout
        if not self._server.admit(self):
            self._refuse(Refusal(503, "the server has as many connections as it takes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: so is whoever waits for the answer."""
        self._gone = True
        self.deadline = NEVER
        self._leave()
        if self._current is not None:
            self._current.done()
        for waiting in self._inbound.requests:
            waiting.done()
        self._server.forget(self)

    def eof_received(self) -> bool:
        """The client sends no more."""
        while self._coming and self._current is not None and self._current.complete:
            self.serve()  # it came in the same turn: what can be answered at once is
        self._outbox.flush()
        self._inbound.end()
        secured = self._transport.get_extra_info("sslcontext") is not None  # TLS has no half-closed connections
        if self._current is None or secured or not self._limits.half_close:
            self._leave()
            return False
        self._current.keep_alive = False
        if self._coming:
            self._ready.put(self)
        return True

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        inbound = self._inbound
        current = self._current
        if self._lingering:
            self._overheard += len(data)
            if self._overheard > self._limits.max_body:
                self._transport.close()
        elif inbound.ended:
            return
        elif current is None:
            inbound.feed(data)
            self._advance()
        elif current.complete:
            self._held += data
            if len(self._held) > self._limits.max_buffer:
                self._pause()
        else:
            inbound.feed(data)
            self._body_came(current)

    def pause_writing(self) -> None:
        """The client takes less than is written."""
        self.blocked = True
        self._tick()

    def resume_writing(self) -> None:
        """The client took what was written."""
        self.blocked = False
        self._tick()
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)

    # The server's side

    def expire(self) -> None:
        """The deadline passed."""
        if self.blocked:
            self._break_off()
        elif self._lingering or (self._current is None and not self._inbound.partial):
            self._transport.close()
        elif self._current is None:
            self._refuse(self._inbound.refusal_of(408, "the request's headers did not arrive in time"))
        elif self._coming:
            self.serve()
        else:
            self._current.fail(BodyRefused("the request's body did not arrive in time", status=408))
            self._current.keep_alive = False
            self.deadline = NEVER

    def drain(self) -> None:
        """Finish the request that runs, take no other."""
        self._draining = True
        if self._current is None:
            self._outbox.flush()
            self._transport.close()
        else:
            self._current.keep_alive = False

    def abort(self) -> None:
        """End at once, and whatever runs."""
        self._leave()
        self._transport.abort()

    # From request to answer

    def _advance(self) -> None:
        """Serve what is there, then wait for more. A loop, since plain functions answer within the call."""
        inbound = self._inbound
        while not (self._gone or self._lingering or self._transport.is_closing()):
            if inbound.requests:
                request = inbound.requests.popleft()
                self._start(request)
                if self._held and not request.complete and self._current is request:
                    # More of its body came while the one before was served.
                    held, self._held = bytes(self._held), bytearray()
                    inbound.feed(held)
                    self._body_came(request)
                if self._current is not None:
                    return
            elif self._held and not inbound.ended:
                held, self._held = bytes(self._held), bytearray()
                inbound.feed(held)
            elif inbound.refusal is not None:
                self._refuse(inbound.refusal)
                return
            elif inbound.partial or self.blocked or not self._reading:
                self._resume()
                self._tick()
                return
            else:
                self.deadline = self._loop.time() + self._limits.idle_timeout
                return

    def _start(self, request: Request) -> None:
        self._current = request
        self._head_since = 0.0
        request.client = self._peer
        if self._draining:
            request.keep_alive = False
        if request.complete:
            self.deadline = NEVER
            self._coming = True
            self._ready.put(self)
            return
        self._body_since = self._loop.time()
        request.listen(self._body_read)
        # Many clients send it in a second step: a handler that finds it there need not wait for it in a task.
        length = request.length
        short = length is not None and length <= SMALL and length <= self._limits.max_buffer
        self._coming = short and self._reading and not request.expects
        self._tick()
        if not self._coming:
            self._serve(request)

    def serve(self) -> None:
        """Call the handler for the request that is there, unless its client has left or it was called."""
        request = self._current
        if request is None or not self._coming:
            return
        self._coming = False
        if not request.complete:
            self._tick()
        try:
            self._serve(request)
            if self._current is None:
                self._advance()
        except BaseException:  # of whoever is told of failures: nobody else would end the connection
            self._transport.abort()
            raise

    def _serve(self, request: Request) -> None:
        try:
            answer = self._server.handler(request)
            if type(answer) is Later:
                if answer.response is None:
                    self._later = answer
                    answer.when_given(self._given)
                    return
                answer = answer.response
            if type(answer) is Response and type(answer.body) is bytes:
                self._write_whole(request, answer, answer.body)
                self._finished(request)
                return
        # The boundary to the handler: whatever it raises becomes an answer, and the connection's state stays sound.
        except Exception as error:
            self._failed(request, error)
            self._finished(request)
            return
        waiting = cast("Response | Awaitable[Response]", answer)
        self._unbegun = None if isinstance(waiting, Response) else waiting
        self._task = self._loop.create_task(self._answer(request, waiting))

    def _given(self, response: Response) -> None:
        """The answer that was to be given later."""
        request, later = self._current, self._later
        if request is None or later is None:  # nobody waits any more
            return
        self._later = None
        body = response.body
        if self.blocked or not isinstance(body, bytes) or len(body) > AT_ONCE:
            self._task = self._loop.create_task(self._answer(request, response))
            return
        try:
            self._write_whole(request, response, body)
        except Exception as error:  # the boundary to the handler, as in _start
            self._failed(request, error)
        self._finished(request)
        self._advance()

    async def _answer(self, request: Request, answer: Response | Awaitable[Response]) -> None:
        stream: Stream | None = None
        self._unbegun = None
        try:
            response = answer if isinstance(answer, Response) else await answer
            body = response.body
            if isinstance(body, bytes):
                self._write_whole(request, response, body)
            elif isinstance(body, Incoming) and body.whole and not (response.trailers or bodiless(request, response)):
                # The answer of another server that is all here: its length is known, and it goes out in one write.
                self._write_whole(request, response, body.take())
            else:
                stream = Stream(request, response)
                if not stream.marked:
                    request.keep_alive = False
                if not request.complete:
                    request.keep_alive = False
                request.answered = response.status
                self._outbox.flush()
                await stream.run(self, self._server.date, close=not request.keep_alive)
            if self.blocked:
                await self.drained()
        except asyncio.CancelledError:
            # The client is gone, or the server ends: nobody is left to answer.
            self._break_off(marked=stream is None or stream.marked)
            raise
        # The boundary to the handler, as in _start; a stream that broke must not look complete.
        except Exception as error:
            if stream is not None and not stream.begun:
                request.answered = 0
            self._failed(request, error, marked=stream is None or stream.marked)
        self._task = None
        self._finished(request)
        self._advance()

    def _write_whole(self, request: Request, response: Response, body: bytes) -> None:
        if not request.complete:
            request.keep_alive = False
        data = whole(request, response, body, self._server.date, close=not request.keep_alive)
        request.answered = response.status
        if request.keep_alive:
            self._outbox.put(self._transport, data)
        else:
            self._outbox.flush()
            self._transport.write(data)

    def _failed(self, request: Request, error: Exception, *, marked: bool = True) -> None:
        """Answer for a handler that raised; when its answer has begun, break off instead."""
        reset = isinstance(error, Reset)
        if request.answered or reset:
            self._server.failed(error, request)
            self._break_off(marked=marked and not reset)
            return
        if isinstance(error, BodyRefused):
            refused = self._server.refuse(error.status, error.message, request)
        else:
            self._server.failed(error, request)
            refused = self._server.refuse(500, "the request could not be answered; the server's log says why", request)
        if not self._gone:
            self._write_whole(request, refused, cast("bytes", refused.body))

    def _finished(self, request: Request) -> None:
        self._current = None
        if request.buffered:
            request.drop()
        request.done()
        self._server.served += 1
        if request.complete and request.keep_alive:
            return
        if self._gone or self._transport.is_closing():
            return
        if not request.complete and not self._inbound.ended:
            self._linger()
        elif not request.keep_alive:
            self._end()

    # Ends

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and end."""
        nobody = Request(b"GET", refusal.target, refusal.headers, version="1.1", keep_alive=False, length=0)
        response = self._server.refuse(refusal.status, refusal.detail, nobody)
        self._outbox.flush()
        self._transport.write(whole(nobody, response, cast("bytes", response.body), self._server.date, close=True))
        self._linger()

    def _end(self) -> None:
        """The last answer is written. Bytes that nobody reads would make the kernel reset it away: then linger."""
        if self._inbound.refusal is not None or self._held:
            self._linger()
        else:
            self._transport.close()

    def _linger(self) -> None:
        """Let the client read the answer although it still sends."""
        self._lingering = True
        self._held.clear()
        self._resume()
        self.deadline = self._loop.time() + self._limits.linger_timeout
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()

    def _leave(self) -> None:
        """Nobody waits any more."""
        self._coming = False
        if self._current is not None and not self._current.complete:
            self._current.fail(BodyRefused("the client is gone", status=400))
        if self._task is not None:
            self._task.cancel()
        if self._unbegun is not None:  # nor will the task, which ends before its first step
            unbegun, self._unbegun = self._unbegun, None
            let_go(unbegun)
        if self._later is not None:
            later, self._later = self._later, None
            later.left()
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.cancel()

    def _break_off(self, *, marked: bool = True) -> None:
        """End inside an answer. Where only the connection's end marks the body's, it must be a reset, not an end."""
        if self._transport.is_closing():
            return
        self._outbox.flush()
        if not self.blocked and marked:
            self._transport.close()
            return
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    # Flow and clocks

    def _body_came(self, request: Request) -> None:
        if request.buffered > self._limits.max_buffer:
            self._pause()
        else:
            self._tick()
        if not self._coming:
            request.tell()
        elif request.complete:
            self._ready.put(self)

    def _body_read(self) -> None:
        """The handler reads the body, or waits for it."""
        request = self._current
        if request is None:
            return
        if request.expects and request.awaited and not request.answered:
            request.expects = False
            if request.received == 0:
                self._outbox.flush()
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.buffered <= self._limits.max_buffer:
            self._resume()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._paused_at = self._loop.time()
            self._transport.pause_reading()
            self._tick()

    def _resume(self) -> None:
        if not self._reading and not self._gone and not self._transport.is_closing():
            self._reading = True
            self._body_since += self._loop.time() - self._paused_at
            self._transport.resume_reading()
            self._tick()

    async def drained(self) -> None:
        """Wait until the client has taken what was written."""
        if self._gone:
            return
        self._drain_waiter = self._loop.create_future()
        try:
            await self._drain_waiter
        finally:
            self._drain_waiter = None

    def _tick(self) -> None:
        """Set the deadline of the state that the connection is in now."""
        limits = self._limits
        if self._gone or self._lingering:
            return
        if self.blocked:
            self.deadline = self._loop.time() + limits.write_timeout
        elif self._current is not None:
            self.deadline = self._body_deadline(self._current)
        elif self._inbound.partial:
            # From the first byte of the head, not the latest.
            self._head_since = self._head_since or self._loop.time()
            self.deadline = self._head_since + limits.head_timeout
        else:
            self.deadline = self._loop.time() + limits.idle_timeout

    def _body_deadline(self, request: Request) -> float:
        """Grows with what came, so that a byte a minute is not enough."""
        if request.complete or not self._reading:
            return NEVER
        if self._coming:
            return self._body_since + min(_SOON, self._limits.body_timeout)
        return self._body_since + self._limits.body_timeout + request.received / self._limits.min_body_rate
