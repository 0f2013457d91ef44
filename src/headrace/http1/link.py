"""One connection of a client: one exchange at a time, under its clocks.

idle       in the pool                     anything that comes closes it: nobody asked
asked      the request is on its way       first-byte clock; interim answers (1xx) are passed over
answering  the head was delivered          idle clock, which stands still while the caller does not read
done       back to the pool if both sides agree, the request was sent whole, and nothing came after the answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from headrace.core.errors import BadAnswer, ExchangeError, Interrupted, TimedOut, Truncated
from headrace.http1.answer import Answer, Delimited
from headrace.http1.batch import Batch
from headrace.http1.forms import Forms
from headrace.http1.headers import FRAMING, Field, Fields
from headrace.http1.limits import ClientLimits
from headrace.http1.outbox import Outbox

NEVER = float("inf")
_PATIENCE = 16
"""Answers that were not recognised after which a link may give up to try."""
Told = Callable[[Answer | ExchangeError], None]
"""Hears the head of an answer, or why there is none: once, when all bytes that came with it are read."""


class _Unusable(Exception):
    """Raised inside the parser's callbacks to stop it."""


class Link(asyncio.Protocol):
    """Belongs to a pool; `released` is called when it may carry another request, `lost` when it is gone.

    Attributes
    ----------
    served
        Exchanges that were complete.
    last
        Since when it is idle, or waits for more (the loop's time).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ClientLimits,
        *,
        released: Callable[[Link], None],
        lost: Callable[[Link], None],
        forms: Forms | None = None,
        outbox: Outbox | None = None,
        answered: Batch[Link] | None = None,
    ) -> None:
        self.served = 0
        self.last = 0.0
        self._loop = loop
        self._limits = limits
        self._released = released
        self._lost = lost
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._forms = forms
        self._outbox = outbox
        self._answered = answered
        self._strange = 0
        self._parser = httptools.HttpResponseParser(self)
        self._asked = False
        self._told: Told | None = None
        self._answer: Answer | None = None
        self._is_head = False
        self._fields: list[Field] = []
        self._received = 0
        self._seen = 0
        self._interims = 0
        self._interim = False
        self._done = False
        self._keep = False
        self._sending = False
        self._reading = True
        self._blocked = False
        self._drain_waiter: asyncio.Future[None] | None = None
        self._gone = False
        self._deadline = NEVER
        self._gap = NEVER
        self._idle = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER

    # For the client

    @property
    def usable(self) -> bool:
        """Whether a request may be sent on it."""
        return not self._gone and not self._transport.is_closing()

    @property
    def blocked(self) -> bool:
        """Whether the other side takes less than is written."""
        return self._blocked

    def ask(self, data: bytes, now: float, deadline: float, told: Told) -> None:
        """Send a whole request, no HEAD; `told` hears the head of the answer. Times are the loop's."""
        self._asked = True
        self._told = told
        self.last = now
        self._deadline = deadline
        if deadline < self._timer_at:
            self._arm(deadline)
        if self._outbox is not None and not self._sending:
            self._outbox.put(self._transport, data)
        else:
            self._transport.write(data)

    def head(
        self, data: bytes, is_head: bool, whole: bool, deadline: float, first_byte: float, idle: float
    ) -> asyncio.Future[Answer]:
        """Send a request's head (and body, when `whole`); the future is the head of the answer.

        `deadline` is the loop's time. `first_byte` and `idle` are seconds: until the answer's head, and between pieces
        of its body.
        """
        head: asyncio.Future[Answer] = self._loop.create_future()
        if self._gone:  # since it was handed out
            error = Interrupted("the connection ended before the request was sent", sent=False, reused=self.served > 0)
            head.set_exception(error)
            return head

        def told(outcome: Answer | ExchangeError) -> None:
            if head.done():
                return
            if isinstance(outcome, Answer):
                head.set_result(outcome)
            else:
                head.set_exception(outcome)

        now = self._loop.time()
        self._is_head = is_head
        self._sending = not whole
        self._gap = first_byte
        self._idle = idle
        self._arm(now + first_byte)
        self.ask(data, now, deadline, told)
        return head

    def write(self, data: bytes) -> None:
        """More of the request's body."""
        if self.usable:
            self._transport.write(data)
            self.last = self._loop.time() if self._answer is None else self.last

    def sent(self) -> None:
        """The request's body is complete."""
        self._sending = False
        if self._done:
            self._release()

    async def drained(self) -> None:
        """Wait until the other side has taken what was written, or is gone."""
        if self._blocked and not self._gone:
            self._drain_waiter = self._loop.create_future()
            try:
                await self._drain_waiter
            finally:
                self._drain_waiter = None

    def abort(self) -> None:
        """Close at once; an exchange that runs fails."""
        self._gone = True
        self._transport.abort()

    def drop(self) -> None:
        """Close at once; whoever asked wants to hear nothing more."""
        self._told = None
        self.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self._transport.close()

    def fail(self, error: ExchangeError) -> None:
        """End the exchange with an error, and the connection."""
        error.received = max(self._received, error.received)
        error.reused = self.served > 0
        if self._answer is not None:
            self._answer.fail(error)
        self.abort()
        self._tell(error if self._answer is None else self._answer)

    def deliver(self) -> None:
        """Tell of the answer that was recognised."""
        answer, self._answer = self._answer, None
        self._done = False
        self._release()
        if answer is not None:
            self._tell(answer)

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._gone:
            return
        if not self._asked:
            self.abort()  # nobody asked
            return
        if self._done and not self._received:
            self._keep = False  # bytes after an answer that is still to be delivered
            return
        begins = False
        if not self._received and self._forms is not None and not (self._is_head or self._sending):
            found = self._forms.find(data)
            if found is not None:
                self._answer = Answer.of(*found, reused=self.served > 0, max_body=self._limits.max_body)
                self._keep = self._done = True
                if self._answered is not None:
                    self._answered.put(self)
                else:
                    self.deliver()
                return
            begins = True
        self._received += len(data)
        if self._gap != NEVER and self._answer is not None:
            self.last = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self._done:
                self._broken(str(error.__context__ or error) or "unreadable")
                return
            self._keep = False  # bytes after the answer
        except httptools.HttpParserUpgrade:
            self._broken("it switches protocols, which nobody asked for")
            return
        answer = self._answer
        # Headers, trailers and chunk extensions are seen only when they are complete, so their size is bounded here.
        if self._received - self._seen > self._limits.max_head:
            self._broken(f"it has more than {self._limits.max_head} bytes of headers")
        elif self._done:
            if begins and self._keep and answer is not None:
                self._learn(data, answer)
            self._complete()
        elif answer is not None and answer.buffered > self._limits.max_buffer:
            self._pause()
        if answer is None:
            return
        if self._told is not None:
            self._tell(answer)
        elif answer.told is not None:
            answer.told()

    def eof_received(self) -> bool:
        """The other side sends no more."""
        answer = self._answer
        if answer is not None and not self._done and answer.delimited == "close":
            self._done = True
            self._keep = False
            self._complete()
            answer.tell()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)
        if self._asked and not self._done:
            why = f": {exc}" if exc else ""
            if self._answer is not None:
                self.fail(Truncated(f"the connection ended after {self._answer.received} bytes of the answer{why}"))
            else:
                self.fail(Interrupted(f"the connection ended before the answer began{why}"))
        self._lost(self)

    def pause_writing(self) -> None:
        """The other side takes less than is written."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The other side took what was written."""
        self._blocked = False
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)

    # Called by the parser

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._done:
            self._keep = False
            raise _Unusable("there is more than one answer")
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer."""
        if self._answer is None:
            self._fields.append((name.lower(), value.strip(b" \t")))
            return
        field = (name.lower(), value.strip(b" \t"))
        if field[0] in FRAMING:
            raise _Unusable(f"{field[0].decode('latin-1')} is no trailer")
        trailers = self._answer.trailers = [*self._answer.trailers, field]
        if len(trailers) > self._limits.max_header_count or _size(trailers) > self._limits.max_head:
            raise _Unusable("it has too many trailers")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._seen = self._received
        status = self._parser.get_status_code()
        if self._received > self._limits.max_head and _size(self._fields) > self._limits.max_head:
            raise _Unusable(f"it has more than {self._limits.max_head} bytes of headers")
        if len(self._fields) > self._limits.max_header_count:
            raise _Unusable(f"it has more than {self._limits.max_header_count} headers")
        self._interim = status < 200
        if not 200 <= status <= 599:
            self._pass_over(status)
            return
        delimited = self._delimited(status)
        self._keep = delimited != "close" and self._parser.should_keep_alive()
        self._answer = Answer(
            status,
            self._fields,
            delimited=delimited,
            reused=self.served > 0,
            max_body=self._limits.max_body,
            close=self.abort,
        )
        self._gap = self._idle
        if self._gap != NEVER:
            self.last = self._loop.time()
            self._arm(self.last + self._gap)
        if self._is_head:
            # The parser would wait for the body that the headers tell of.
            self._done = True
            self._parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._answer is None or self._done:
            raise _Unusable("it has a body, and may have none")
        self._seen = self._received
        self._answer.push(body)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        self._seen = self._received
        if not self._interim:
            self._done = True

    # Inside

    def _tell(self, outcome: Answer | ExchangeError) -> None:
        """Say how it went to whoever asked, unless they know."""
        told, self._told = self._told, None
        if told is not None:
            told(outcome)

    def _learn(self, data: bytes, answer: Answer) -> None:
        """The parser has read all of an answer in one step: next time its head may be known."""
        head, _, body = data.partition(b"\r\n\r\n")
        if self._forms is None or self._interims or answer.delimited != "length" or answer.received != len(body):
            return
        self._forms.learn(head, answer.status, answer.headers)
        self._strange += 1
        if self._strange > _PATIENCE and 2 * self._strange > self.served:  # no two answers of this server are alike
            self._forms = None

    def _pass_over(self, status: int) -> None:
        """The head is not that of the answer itself: interim ones are passed over."""
        if not 100 <= status < 200:
            raise _Unusable(f"its status is {status}")
        self._interims += 1
        if status == 101 or self._interims > self._limits.max_interim:
            raise _Unusable(f"it has the interim status {status}, for the {self._interims}. time")

    def _delimited(self, status: int) -> Delimited:
        if self._is_head or status in (204, 304):
            return "none"
        named = dict(self._fields)
        if b"transfer-encoding" not in named:
            return "length" if b"content-length" in named else "close"
        codings = [value for name, value in self._fields if name == b"transfer-encoding"]
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise _Unusable(f"its transfer-encoding is {b', '.join(codings).decode('latin-1')!r:.40}")
        return "chunked"

    def _complete(self) -> None:
        if self._answer is not None:
            self._answer.finish()
        if not self._sending:
            self._release()

    def _release(self) -> None:
        self._asked = False
        self._gap = self._idle = NEVER
        self.served += 1
        if self._received:  # by the parser
            self._received = self._seen = self._interims = 0
            self._answer = None
            self._done = self._is_head = False
        if self._gone:
            return
        if not self._keep or self._transport.is_closing():
            self._transport.close()
            return
        if not self._reading:
            self._resume()
        self.last = self._loop.time()
        self._released(self)

    def _broken(self, why: str) -> None:
        self.fail(BadAnswer(f"the answer is not valid HTTP: {why}"))

    def _pause(self) -> None:
        if self._reading and self._answer is not None:
            self._reading = False
            self._answer.listen(self._resume)
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self._gone and not self._transport.is_closing():
            self._reading = True
            self.last = self._loop.time()
            self._transport.resume_reading()

    def _arm(self, at: float) -> None:
        """Have a timer at `at` or before: one that rings early costs less than a new one for each request."""
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        if self._gone or not self._asked or self._done:
            return
        now = self._loop.time()
        gap_at = self.last + self._gap if self._reading else now + self._gap
        if now >= self._deadline:
            self.fail(TimedOut("the deadline passed before the answer was complete", clock="deadline"))
        elif now >= gap_at:
            clock = "first byte" if self._answer is None else "idle"
            told = "the answer did not begin" if self._answer is None else "the answer paused for longer than"
            within = f"within {self._gap:g} s" if self._answer is None else f"{self._gap:g} s"
            self.fail(TimedOut(f"{told} {within}", clock=clock))
        else:
            self._arm(min(self._deadline, gap_at))


def _size(fields: Fields) -> int:
    return sum(len(name) + len(value) + 4 for name, value in fields)
