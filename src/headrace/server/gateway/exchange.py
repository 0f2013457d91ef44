"""One request at `/v1`, from its first byte to the end of its answer.

1. who sends it (`entrance`), what does it ask for (`asked`), may its sender call that model (`access`)
2. what the key may take is reserved (`allowance`), and the context that it wants is put in its prompt (`injection`)
3. the model carries it (`Caller.send`): queues, attempts, hedges and money are its business
4. the answer goes out with what is known of it in headers; a stream piece by piece (`relay`), the rest in trailers
5. what it took is settled, on every way out

Nothing here waits for a disk or a database, but the reads of step 2 that a request asks for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Generator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from operator import add
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple, replace

from headrace.core.clock import SECOND, Clock
from headrace.core.errors import BodyRefused, DeadlinePassed, ModelRefused, StreamBroken
from headrace.core.failurelog import FailureLog
from headrace.core.names import suggest
from headrace.http1 import headers
from headrace.http1.headers import FRAMING, Field
from headrace.http1.request import Request
from headrace.http1.response import Later, Response
from headrace.models.action import Reason
from headrace.models.call import Usage
from headrace.models.delivery import Delivery
from headrace.models.estimate import prompt_bytes
from headrace.models.failure import MAYBE_READ, Failure
from headrace.models.reply import Reply
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.pipeline.until import Until
from headrace.server.gateway import asked as bodies
from headrace.server.gateway import numbers, refusal, wish
from headrace.server.gateway.access import Access, access_to
from headrace.server.gateway.allowance import Allowances, Grant
from headrace.server.gateway.asked import ABSENT, Lazy
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.entrance import Entrance, Sender
from headrace.server.gateway.injection import Injected, read_into, verdict
from headrace.server.gateway.keys import VirtualKey
from headrace.server.gateway.offer import Offer
from headrace.server.gateway.prompt import without
from headrace.server.gateway.relay import Relay, relay
from headrace.server.gateway.tally import Tally
from headrace.server.gateway.wish import OnStale, Wish
from headrace.server.ports import Reads

_LOG = logging.getLogger("headrace.gateway")
RETRIES = 2
"""How often an answer is made anew because its context had changed."""
_CLIENTS = frozenset({Failure.BAD_REQUEST, Failure.CANCELLED})
"""Failures that are the client's own affair: nobody who reads the log can mend them."""
_POOR = frozenset({Reason.OVER_BUDGET, Reason.SET_ASIDE})
_NOTHING = Usage(0, 0)
_OURS = FRAMING | {b"date"}
_LINES = (
    b"%bx-headrace-request-id: %b\r\n%bx-headrace-attempts: %d\r\nx-headrace-queued-ms: %.2f\r\n"
    b"x-headrace-first-byte-ms: %.2f\r\nx-headrace-gateway-ms: %.2f\r\n%b%b"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What all exchanges of one gateway share."""

    offers: Mapping[str, Offer]
    reads: Reads
    entrance: Entrance
    allowances: Allowances
    tally: Tally
    clock: Clock
    failures: FailureLog
    max_reads: int
    max_wait: int


_Ready = tuple[Access, ModelRequest, Terms, Wish | None]
"""What was read of a request: which model it calls, what that is asked, on which terms, and with which context."""


class Exchange(Struct, eq=False):
    """Serves one request, which came at the instant `started`."""

    parts: Parts
    dialect: Dialect
    request: Request
    started: float
    id: str
    _offer: Offer | None = None
    _access: Access | None = None
    _grant: Grant | None = None
    _ready: float = 0.0
    _discarded: float = 0.0
    _later: Later | None = None
    _call: str = ""
    _task: asyncio.Task[None] | None = None
    _unsent: _Ready | None = None
    _spent: Usage | None = _NOTHING
    _by: str = ""

    def __repr__(self) -> str:
        return f"<Exchange {self.id}>"

    def answer(self) -> Response | Later | Awaitable[Response]:
        """The answer, whatever it is: without a task where nothing but the model has to be waited for."""
        try:
            request = self.request
            sender = self.parts.entrance.admit(request)
            if not request.whole:
                return self
            ready = self._read(sender, request.take())
            access, asking, terms, wanted = ready
            model = access.routed
            if model is None or asking.stream or wanted is not None:
                self._unsent = ready
                return self
            later = self._later = Later(self._left)
            self._ready = self.parts.clock.monotonic()
            self._call = model.ask(asking, terms, partial(self._came, access, asking.size()))
            return later
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            return self._failed(error)

    def _came(self, access: Access, size: int, reply: Delivery | ModelRefused) -> None:
        """The model has answered a body of `size` bytes, or will not."""
        later = self._later
        if later is None:  # nobody waits any more
            return
        try:
            if isinstance(reply, ModelRefused):
                raise reply
            body = reply.at_once()
            if body is None:
                self._task = asyncio.get_running_loop().create_task(self._collect(access, size, reply, later))
                return
            response = self._complete(access, reply, body, size, reply.usage, reply.cost)
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            response = self._failed(error)
        self._later = None  # else it were a cycle
        later.give(response)

    async def _collect(self, access: Access, size: int, reply: Delivery, later: Later) -> None:
        """The same where the answer is not all there yet."""
        try:
            body = await reply.read()
            response = self._complete(access, reply, body, size, reply.usage, reply.cost)
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            response = self._failed(error)
        self._later = None
        later.give(response)

    def _left(self) -> None:
        """The client has gone before the model has answered."""
        self._later = None
        if self._task is not None:
            self._task.cancel()
        if self._access is not None and self._access.routed is not None and not self._access.routed.cancel(self._call):
            self._give_back()
        else:
            self._keep()

    def __await__(self) -> Generator[Any, None, Response]:
        return self._wait().__await__()

    def close(self) -> None:
        """The client left in the turn in which its request came: nobody waits, and no upstream was called."""
        self._give_back()

    async def _wait(self) -> Response:
        """The same for what has to be waited for."""
        ready, self._unsent = self._unsent, None  # what was read of the request, if its body was there
        try:
            if ready is None:
                body = await self.request.read()
                # Once more: the keys may have changed while the body came.
                ready = self._read(self.parts.entrance.admit(self.request), body)
            access, asking, terms, wanted = ready
            if wanted is not None:
                return await self._with_context(access, asking, terms, wanted)
            reply = await self._send(access.offer, asking, terms)
            if asking.stream:
                return self._stream(access, reply, asking.size(), None)
            answer = await reply.read()
            return self._complete(access, reply, answer, asking.size(), reply.usage, reply.cost)
        except asyncio.CancelledError:
            self._keep()
            raise
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            return self._failed(error)

    def _failed(self, error: Exception) -> Response:
        """What to say instead of an answer."""
        if isinstance(error, Complaint):
            self._give_back()
            if error.status >= 500:
                self._warn(error.code or "failed", error.message)
            return self._refused(error.response(self.dialect, self._head()))
        if isinstance(error, ModelRefused):
            return self._unanswered(error)
        if isinstance(error, StreamBroken):
            self._keep()
            self._broke(error)
            return self._refused(refusal.broken(error).response(self.dialect, self._head(error.attempts)))
        if isinstance(error, BodyRefused):
            return self._refused(refusal.body(error).response(self.dialect, self._head()))
        # The boundary of the gateway: what nobody foresaw is logged with its number, and told as that number.
        self._keep()
        _LOG.error("request %s failed", numbers.logged(self.id, self.request), exc_info=error)
        message = f"something went wrong in the gateway; look for request {self.id} in its log"
        complaint = Complaint(500, message, kind="server_error", code="unexpected")
        return self._refused(complaint.response(self.dialect, self._head()))

    # What comes in

    def _read(self, sender: Sender, body: bytes) -> _Ready:
        """What is asked for, in which words, on whose account and with which context; what it may take is reserved."""
        parts, started = self.parts, self.started
        asked = bodies.read(self.dialect, body)
        output = asked.output()
        access = self._access = sender.accesses.get(asked.model) or self._allow(sender, asked.model)
        key, session = access.key, access.session
        if session is None:
            session = asked.session()
        terms = Terms(
            self.id, started + access.seconds, access.tenant, session, access.account, access.priority, access.priced
        )
        document = Lazy(body, asked.model)
        size = prompt_bytes(body, document)
        if key is not None:
            tokens = access.offer.tokens(started, size, output) if access.metered else 0
            self._grant = parts.allowances.reserve(started, parts.clock.now() / SECOND, key, tokens)
        wanted: Wish | None = None
        if access.wants_context or asked.headrace is not ABSENT:
            extra = None if asked.headrace is ABSENT else bytes(asked.headrace)
            wanted = wish.read(extra, self.request.headers, max_reads=parts.max_reads, max_wait=parts.max_wait)
            if wanted is None:
                body = without(body)
                document = Lazy(body, asked.model)
                size = prompt_bytes(body, document)
            else:
                _may_read(key, wanted)
        # No tokens are named: whoever carries it knows better how many bytes make one.
        stream = asked.stream is True
        repeatable, answers, beta = asked.repeatable(), asked.answers(), access.beta
        asking = ModelRequest(self.dialect, body, document, stream, 0, output, repeatable, answers, beta, size)
        return access, asking, terms, wanted

    def _allow(self, sender: Sender, model: str) -> Access:
        """Whether the model, which is asked for the first time with such a head, may be, and how."""
        offers, tally = self.parts.offers, self.parts.tally
        self._by = "" if sender.key is None else sender.key.name
        offer = self._offer = offers.get(model)
        if offer is None:
            key = sender.key
            names = sorted(name for name in offers if key is None or key.allows(name))
            message = f"there is no model {model[:100]!r} here; {suggest(model, names)}"
            raise Complaint(404, message, code="model_not_found", param="model", retry=False)
        answers = tally.answers(model, self._by)
        access = sender.accesses[model] = access_to(offer, sender.key, self.dialect, self.request, answers)
        return access

    # To the model and back

    def _send(self, offer: Offer, asking: ModelRequest, terms: Terms) -> Awaitable[Reply]:
        """Ask the model; from now on it is its time that passes."""
        if asking.stream:
            # Upstreams look into it: what is wrong with it is said here, and not held against one of them.
            len(asking.document)
        self._ready = self.parts.clock.monotonic()
        return offer.caller.send(asking, terms)

    async def _with_context(self, access: Access, asking: ModelRequest, terms: Terms, wanted: Wish) -> Response:
        parts, offer, body, asked = self.parts, access.offer, asking.body, asking.size()
        if asking.stream and wanted.on_stale is not OnStale.FLAG:
            message = f"headrace.on_stale: a stream cannot be {wanted.on_stale}: its begin is out when that is known"
            raise Complaint(400, message, code="invalid_value", param="headrace.on_stale", retry=False)
        cost: Decimal | None = Decimal(0)
        for left in range(RETRIES, -1, -1):
            injected = await self._read_into(body, terms, wanted)
            document = Lazy(injected.body, offer.name)
            size = prompt_bytes(injected.body, document)
            asking = replace(asking, body=injected.body, document=document, prompt_bytes=size)
            if left == RETRIES:
                self._hold_more(access, size - asked, 0)
            else:
                self._hold_more(access, size, asking.max_output_tokens)
            reply = await self._send(offer, asking, terms)
            if asking.stream:
                return self._stream(access, reply, size, injected)
            answer = await reply.read()
            # An answer that was made anew took all of them, and of a sum with an unknown part nothing is known.
            self._spent = _sum(self._spent, reply.usage)
            cost = None if cost is None or reply.cost is None else cost + reply.cost
            validity = parts.reads.validate(injected.readset)
            if not validity.holds:
                parts.tally.changed(offer.name)
            if validity.holds or wanted.on_stale is OnStale.FLAG:
                more = [*injected.headers(), *verdict(validity)]
                if left < RETRIES:
                    more.append((b"x-headrace-retries", b"%d" % (RETRIES - left)))
                return self._complete(access, reply, answer, size, self._spent, cost, more)
            if wanted.on_stale is OnStale.REFUSE or not left:
                break
            self._discarded += parts.clock.monotonic() - self._ready
        # The model was paid, so its tokens count; the answer is kept back.
        self._settle(parts.clock.monotonic(), self._spent)
        tries = "" if wanted.on_stale is OnStale.REFUSE else f" {RETRIES + 1} times"
        raise Complaint(
            503,
            f"the context changed{tries} before the answer was there, and the request does not want such an answer",
            kind="server_error",
            code="context_changed",
        )

    async def _read_into(self, body: bytes, terms: Terms, wanted: Wish) -> Injected:
        """The body with its context, within the time that the request has."""
        try:
            async with Until(self.parts.clock, terms.deadline):
                return await read_into(self.parts.reads, self.dialect, body, wanted)
        except DeadlinePassed:
            message = "headrace.context: the deadline of the request passed before its context was read"
            raise Complaint(504, message, kind="server_error", code="timeout") from None

    def _hold_more(self, access: Access, size: int, output: int | None) -> None:
        """Reserve what context and further tries take: a small body may name much of it, many times at once."""
        if self._grant is not None and access.metered:
            now = self.parts.clock.monotonic()
            self._grant.more(now, access.offer.tokens(now, max(size, 0), output))

    # What goes out

    def _head(self, attempts: int | None = None) -> list[Field]:
        head = numbers.head(self.dialect, self.id)
        return head if attempts is None else [*head, (b"x-headrace-attempts", b"%d" % attempts)]

    def _complete(
        self,
        access: Access,
        reply: Reply,
        answer: bytes,
        size: int,
        usage: Usage | None,
        cost: Decimal | None,
        more: Sequence[Field] = (),
    ) -> Response:
        """All of an answer is there, to a body of `size` bytes. `usage` and `cost` count what was thrown away, too."""
        now, grant = self.parts.clock.monotonic(), self._grant
        if grant is not None:
            grant.settle(now, usage)
        if reply.usage is not None and access.metered:
            access.offer.observe(now, size, reply.usage)
        costs = b"" if cost is None else b"x-headrace-cost: %b\r\n" % f"{cost:f}".encode()
        return self._respond(access, reply, now, answer, costs, more)

    def _stream(self, access: Access, reply: Reply, size: int, injected: Injected | None) -> Response:
        """The begin of an answer is there."""
        parts = self.parts
        trailers: list[Field] = []

        def ended(error: StreamBroken | None, whole: bool) -> None:
            now, usage = parts.clock.monotonic(), reply.usage
            self._settle(now, usage)
            if error is not None:
                self._broke(error)
            if usage is not None and access.metered and (whole or error is not None):
                access.offer.observe(now, size, usage)
            if not whole:
                return
            if reply.cost is not None:
                trailers.append((b"x-headrace-cost", f"{reply.cost:f}".encode()))
            trailers.append((b"x-headrace-attempts", b"%d" % reply.attempts))
            if injected is not None:
                validity = parts.reads.validate(injected.readset)
                if not validity.holds:
                    parts.tally.changed(access.offer.name)
                trailers.extend(verdict(validity))

        body = relay(reply, self.dialect, ended)
        more = () if injected is None else injected.headers()
        response = self._respond(access, reply, parts.clock.monotonic(), body, b"", more)
        response.trailers = lambda: trailers
        return response

    def _respond(
        self, access: Access, reply: Reply, now: float, body: bytes | Relay, costs: bytes, more: Sequence[Field]
    ) -> Response:
        """Count an answer, and say what is known of it when its head goes out: its own headers, and lines of ours."""
        ready, grant, number = self._ready - self.started, self._grant, self.id.encode()
        fields = [field for field in reply.headers if field[0] not in _OURS]
        lines = _LINES % (
            numbers.line(fields, self.dialect, number),
            number,
            _source(reply.model, reply.upstream),
            reply.attempts,
            reply.queued * 1000,
            (reply.first_byte + ready) * 1000,
            (ready - self._discarded) * 1000,
            b"" if grant is None else grant.lines(now),
            costs,
        )
        if more:
            fields += more
        access.answers[reply.upstream, reply.status] += 1
        return Response(reply.status, fields, body, lines=lines)

    # Ways out without an answer

    def _unanswered(self, error: ModelRefused) -> Response:
        key = None if self._access is None else self._access.key
        if error.reason in _POOR and key is not None:
            self._give_back()
            allowances, wall = self.parts.allowances, self.parts.clock.now() / SECOND
            held_up = error.reason == Reason.SET_ASIDE
            complaint = allowances.held_up(wall, key, error.retry_after) if held_up else allowances.no_money(wall, key)
            return self._refused(complaint.response(self.dialect, self._head()))
        passed_on = refusal.passed_on(error)
        if error.failure not in _CLIENTS or (error.status and not passed_on):
            self._warn(error.failure or error.reason, error.message)
        if error.failure in MAYBE_READ:
            self._keep()
        else:
            self._give_back()
        head = self._head(error.attempts)
        # Else it is not said whose fault it is: the last of those that failed is one of several.
        upstream = error.upstream if passed_on else ""
        if upstream:
            head.append((b"x-headrace-upstream", upstream.encode()))
        return self._refused(refusal.answer(error, self.dialect, head), upstream)

    def _broke(self, error: StreamBroken) -> None:
        self._warn(error.failure or "stream_broken", error.message)
        error.logged = True

    def _warn(self, kind: str, why: str) -> None:
        """Log that it failed, and not by a fault of its client."""
        number = numbers.logged(self.id, self.request)
        self.parts.failures.tell(self.parts.clock.monotonic(), number, self._model, kind, why)

    @property
    def _model(self) -> str:
        """The declared model that it is for; empty as long as it named none."""
        offer = self._offer if self._access is None else self._access.offer
        return "" if offer is None else offer.name

    def _refused(self, response: Response, upstream: str = "") -> Response:
        access = self._access
        answers = self.parts.tally.answers(self._model, self._by) if access is None else access.answers
        answers[upstream, response.status] += 1
        if self._grant is not None:
            response.lines += self._grant.lines(self.parts.clock.monotonic())
        return response

    def _settle(self, now: float, usage: Usage | None) -> None:
        if self._grant is not None:
            self._grant.settle(now, usage)

    def _keep(self) -> None:
        """Nobody knows what it took: all that it held counts as used."""
        self._settle(self.parts.clock.monotonic(), None)

    def _give_back(self) -> None:
        """No upstream was called, or none but for answers that were thrown away: what those took counts."""
        self._settle(self.parts.clock.monotonic(), self._spent)


def _may_read(key: VirtualKey | None, wanted: Wish) -> None:
    """A key opens models; context only where it says so. Whether there is such a view is not told either."""
    if key is None:
        return
    for one in wanted.views:
        if not key.reads(one.view):
            views = ", ".join(key.views) or "none"
            message = f"the key {key.name!r} may not read the view {one.view[:100]!r}; it may read: {views}"
            raise Complaint(403, message, code="view_not_allowed", param="headrace.context", retry=False)


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return None
    return Usage(*map(add, astuple(one), astuple(other)))


@lru_cache(maxsize=1024)
def _source(model: str, upstream: str) -> bytes:
    """Which model of which upstream an answer is from, as lines of a head."""
    fields = [(b"x-headrace-model", model.encode()), (b"x-headrace-upstream", upstream.encode())]
    return headers.lines(fields)
