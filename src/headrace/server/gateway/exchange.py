"""One request at `/v1`, from its first byte to the end of its answer.

1. whose is it (`entrance`), what does it ask for (`asked`), may this key call that model
2. what the key may take is reserved (`allowance`), and the context that it wants is put in its prompt (`injection`)
3. the model carries it (`Caller.send`): queues, attempts, hedges and money are its business
4. the answer goes out with what is known of it in headers; a stream piece by piece (`relay`), the rest in trailers
5. what it took is settled, on every way out

Nothing here waits for a disk or a database, but the reads of step 2 that a request asks for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from headrace.core.clock import SECOND, Clock
from headrace.core.errors import BodyRefused, DeadlinePassed, ModelRefused, StreamBroken
from headrace.http1 import headers
from headrace.http1.headers import FRAMING, Field
from headrace.http1.request import Request
from headrace.http1.response import Later, Response
from headrace.models.action import Reason
from headrace.models.call import Priority, Usage
from headrace.models.deadline import remaining_header
from headrace.models.delivery import Delivery
from headrace.models.failure import Failure
from headrace.models.reply import Reply
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.routed import RoutedModel
from headrace.pipeline.until import Until
from headrace.server.gateway import asked as bodies
from headrace.server.gateway import refusal, wish
from headrace.server.gateway.allowance import Allowances, Grant
from headrace.server.gateway.asked import Asked, Lazy
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.entrance import Entrance
from headrace.server.gateway.injection import Injected, read_into, verdict
from headrace.server.gateway.keys import VirtualKey
from headrace.server.gateway.offer import Offer
from headrace.server.gateway.prompt import without
from headrace.server.gateway.relay import relay
from headrace.server.gateway.tally import Tally
from headrace.server.gateway.wish import OnStale, Wish
from headrace.server.ports import Reads

_LOG = logging.getLogger("headrace.gateway")
RETRIES = 2
"""How often an answer is made anew because its context had changed."""
_MAYBE_READ = frozenset({Failure.TIMEOUT, Failure.CONNECTION, Failure.CANCELLED})
"""Failures after which an upstream may have counted the tokens."""
_PRIORITIES = {b"critical": Priority.CRITICAL, b"normal": Priority.NORMAL, b"sheddable": Priority.SHEDDABLE}
_SAYING = frozenset(
    {b"x-request-timeout-ms", b"grpc-timeout", wish.CONTEXT, b"x-headrace-session", b"x-headrace-priority"}
)
"""Headers that say how a request is to be carried."""
_OURS = FRAMING | {b"date"}
_LINES = (
    b"x-headrace-request-id: %b\r\n%bx-headrace-attempts: %d\r\nx-headrace-queued-ms: %.2f\r\n"
    b"x-headrace-first-byte-ms: %.2f\r\nx-headrace-gateway-ms: %.2f\r\n"
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
    max_reads: int
    max_wait: int
    next_id: Callable[[], str]


class Exchange:
    """Serves one request."""

    __slots__ = (
        "_call", "_cost", "_discarded", "_grant", "_later", "_model", "_parts", "_ready", "_size", "_task", "_usage",
        "dialect", "id", "key", "offer", "request", "started",
    )  # fmt: skip

    def __init__(self, parts: Parts, dialect: Dialect, request: Request) -> None:
        self._parts = parts
        self.dialect = dialect
        self.request = request
        self.started = parts.clock.monotonic()
        self.id = parts.next_id()
        self.offer: Offer | None = None
        self.key: VirtualKey | None = None
        self._grant: Grant | None = None
        self._usage: Usage | None = None
        self._cost: Decimal | None = None
        self._ready = 0.0
        self._discarded = 0.0
        self._model = ""
        self._size = 0
        self._later: Later | None = None
        self._call = ""
        self._task: asyncio.Task[None] | None = None

    def answer(self) -> Response | Later | Awaitable[Response]:
        """The answer, whatever it is: without a task where nothing but the model has to be waited for."""
        try:
            self.key = self._parts.entrance.admit(self.request)
            if not self.request.whole:
                return self._wait(None)
            asked, body, terms, wanted = self._read(self.request.take())
            caller = None if self.offer is None else self.offer.caller
            if asked.stream or wanted is not None or not isinstance(caller, RoutedModel):
                return self._wait((asked, body, terms, wanted))
            self._size = len(body)
            later = self._later = Later(self._left)
            self._call = caller.ask(self._asking(asked, body), terms, self._came)
            return later
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            return self._failed(error)

    def _came(self, reply: Delivery | ModelRefused) -> None:
        """The model has answered, or will not."""
        later = self._later
        if later is None:  # nobody waits any more
            return
        try:
            if isinstance(reply, ModelRefused):
                raise reply
            body = reply.at_once()
            if body is None:
                self._task = asyncio.get_running_loop().create_task(self._collect(reply, later))
                return
            self._add(reply)
            response = self._complete(reply, body, self._size, [])
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            response = self._failed(error)
        self._later = None  # else it were a cycle
        later.give(response)

    async def _collect(self, reply: Delivery, later: Later) -> None:
        """The same where the answer is not all there yet."""
        try:
            body = await reply.read()
            self._add(reply)
            response = self._complete(reply, body, self._size, [])
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            response = self._failed(error)
        self._later = None
        later.give(response)

    def _left(self) -> None:
        """The client has gone before the model has answered."""
        self._later = None
        self._settle(None)
        if self._task is not None:
            self._task.cancel()
        elif self.offer is not None and isinstance(self.offer.caller, RoutedModel):
            self.offer.caller.cancel(self._call)

    async def _wait(self, ready: tuple[Asked, bytes, Terms, Wish | None] | None) -> Response:
        """The same for what has to be waited for. `ready`: what was read of the request, if its body was there."""
        try:
            asked, body, terms, wanted = ready or self._read(await self.request.read())
            if wanted is not None:
                return await self._with_context(asked, body, terms, wanted)
            reply = await self._send(asked, body, terms)
            if asked.stream:
                return self._stream(reply, len(body), None)
            answer = await reply.read()
            self._add(reply)
            return self._complete(reply, answer, len(body), [])
        except asyncio.CancelledError:
            self._settle(None)
            raise
        except Exception as error:  # what is not to be foreseen becomes an answer, too: `_failed`
            return self._failed(error)

    def _failed(self, error: Exception) -> Response:
        """What to say instead of an answer."""
        if isinstance(error, Complaint):
            self._give_back()
            return self._refused(error.response(self.dialect, self._head()), "")
        if isinstance(error, ModelRefused):
            return self._unanswered(error)
        if isinstance(error, StreamBroken):
            self._settle(None)
            return self._refused(refusal.broken(error).response(self.dialect, self._head()), "")
        if isinstance(error, BodyRefused):
            return self._refused(refusal.body(error).response(self.dialect, self._head()), "")
        # The boundary of the gateway: what nobody foresaw is logged with its number, and told as that number.
        self._settle(None)
        _LOG.error("request %s failed", self.id, exc_info=error)
        message = f"something went wrong in the gateway; look for request {self.id} in its log"
        complaint = Complaint(500, message, kind="server_error", code="unexpected")
        return self._refused(complaint.response(self.dialect, self._head()), "")

    def _read(self, body: bytes) -> tuple[Asked, bytes, Terms, Wish | None]:
        """What is asked for, in which words, on whose account and with which context; what it may take is reserved."""
        parts, key = self._parts, self.key
        asked = bodies.read(self.dialect, body)
        offer = self._find(asked.model)
        terms, wanting = self._terms(key, asked, offer)
        if key is not None:
            tokens = 0 if key.tpm is None else offer.tokens(self.started, len(body), asked.output)
            self._grant = parts.allowances.reserve(self.started, parts.clock.now() / SECOND, key, tokens)
        wanted: Wish | None = None
        if wanting or asked.extra is not None:
            wanted = wish.read(asked.extra, self.request.headers, max_reads=parts.max_reads, max_wait=parts.max_wait)
            if wanted is None:
                body = without(body)
            else:
                self._may_read(key, wanted)
        return asked, body, terms, wanted

    # What comes in

    def _find(self, model: str) -> Offer:
        offer = self._parts.offers.get(model)
        if offer is None:
            there = ", ".join(sorted(self._parts.offers)) or "none"
            message = f"there is no model {model[:100]!r} here; there are: {there}"
            raise Complaint(404, message, code="model_not_found", param="model", retry=False)
        self.offer = offer
        self._model = offer.name
        key = self.key
        if key is not None:
            if not key.allows(model):
                message = f"the key {key.name!r} may not call the model {model!r}; it may call: {', '.join(key.models)}"
                raise Complaint(403, message, code="model_not_allowed", param="model", retry=False)
            if key.budget.limits and not offer.priced:
                message = f"the model {model!r} has no price, so the budget of the key {key.name!r} cannot be held"
                raise Complaint(403, message, code="model_not_priced", param="model", retry=False)
        return offer

    def _may_read(self, key: VirtualKey | None, wanted: Wish) -> None:
        """A key opens models; context only where it says so. Whether there is such a view is not told either."""
        if key is None:
            return
        for one in wanted.views:
            if not key.reads(one.view):
                views = ", ".join(key.views) or "none"
                message = f"the key {key.name!r} may not read the view {one.view[:100]!r}; it may read: {views}"
                raise Complaint(403, message, code="view_not_allowed", param="headrace.context", retry=False)

    def _terms(self, key: VirtualKey | None, asked: Asked, offer: Offer) -> tuple[Terms, bool]:
        """On whose account it runs, and whether a header wants context."""
        session = asked.session
        priority = Priority.NORMAL if key is None else key.rank
        timeout: str | None = None
        grpc: str | None = None
        wanting = False
        saying = self.request.facts.get(_SAYING)
        for name, value in self._saying() if saying is None else saying:
            if name == wish.CONTEXT:
                wanting = True
            elif name == b"x-headrace-session":
                session = value.decode("latin-1")
            elif name == b"x-headrace-priority":
                priority = self._priority(value, priority)
            elif name == b"grpc-timeout":
                grpc = value.decode("latin-1")
            else:
                timeout = value.decode("latin-1")
        seconds = offer.deadline
        if timeout is not None or grpc is not None:
            try:
                left = remaining_header(timeout, grpc)
            except ValueError as error:
                raise Complaint(400, str(error), code="invalid_header", retry=False) from None
            seconds = seconds if left is None else min(left, seconds)
        tenant = "" if key is None else key.tenant or key.name
        account = "" if key is None else key.id
        return Terms(self.id, self.started + seconds, tenant, session, account, priority), wanting

    def _saying(self) -> list[Field]:
        """The headers that say how the request is to be carried; kept with its head."""
        named = self.request.named
        found = [] if _SAYING.isdisjoint(named) else [(name, named[name]) for name in _SAYING & named.keys()]
        self.request.facts[_SAYING] = found
        return found

    def _priority(self, value: bytes, own: Priority) -> Priority:
        """The priority of a request: as it asks, but never above that of its key."""
        wanted = _PRIORITIES.get(value.lower())
        if wanted is None:
            said = value[:40].decode("latin-1")
            message = f"x-headrace-priority: {said!r} is none of critical, normal, sheddable"
            raise Complaint(400, message, code="invalid_header", retry=False)
        return wanted if self.key is None else max(wanted, own)

    # To the model and back

    def _asking(self, asked: Asked, body: bytes) -> ModelRequest:
        """The request as the model is asked; from now on it is the model's time that passes."""
        document = Lazy(body, asked.model)
        if asked.stream:
            # Upstreams look into it: what is wrong with it is said here, and not held against one of them.
            len(document)
        self._ready = self._parts.clock.monotonic()
        # No tokens are named: whoever carries it knows better how many bytes make one.
        return ModelRequest(self.dialect, body, document, asked.stream, 0, asked.output, asked.repeatable)

    def _send(self, asked: Asked, body: bytes, terms: Terms) -> Awaitable[Reply]:
        offer = self.offer
        if offer is None:
            raise Complaint(404, "there is no such model", code="model_not_found")
        return offer.caller.send(self._asking(asked, body), terms)

    async def _whole(self, asked: Asked, body: bytes, terms: Terms) -> tuple[Reply, bytes]:
        reply = await self._send(asked, body, terms)
        answer = await reply.read()
        self._add(reply)
        return reply, answer

    def _add(self, reply: Reply) -> None:
        """What a complete reply took; an answer that was made anew took all of them."""
        usage, cost = reply.usage, reply.cost
        if usage is not None:
            before = self._usage
            self._usage = (
                usage
                if before is None
                else Usage(
                    before.prompt_tokens + usage.prompt_tokens,
                    before.output_tokens + usage.output_tokens,
                    before.cached_tokens + usage.cached_tokens,
                )
            )
        if cost is not None:
            self._cost = cost if self._cost is None else self._cost + cost

    async def _with_context(self, asked: Asked, body: bytes, terms: Terms, wanted: Wish) -> Response:
        reads = self._parts.reads
        if asked.stream and wanted.on_stale is not OnStale.FLAG:
            message = f"headrace.on_stale: a stream cannot be {wanted.on_stale}: its begin is out when that is known"
            raise Complaint(400, message, param="headrace.on_stale", retry=False)
        for left in range(RETRIES, -1, -1):
            injected = await self._read_into(body, terms, wanted)
            added = len(injected.body) - len(body)
            self._hold_more(added if left == RETRIES else len(injected.body), 0 if left == RETRIES else asked.output)
            if asked.stream:
                return self._stream(await self._send(asked, injected.body, terms), len(injected.body), injected)
            reply, answer = await self._whole(asked, injected.body, terms)
            validity = reads.validate(injected.readset)
            if not validity.holds:
                self._parts.tally.changed(asked.model)
            if validity.holds or wanted.on_stale is OnStale.FLAG:
                more = [*injected.headers(), *verdict(validity)]
                if left < RETRIES:
                    more.append((b"x-headrace-retries", b"%d" % (RETRIES - left)))
                return self._complete(reply, answer, len(injected.body), more)
            if wanted.on_stale is OnStale.REFUSE or not left:
                break
            self._discarded += self._parts.clock.monotonic() - self._ready
        # The model was paid, so its tokens count; the answer is kept back.
        self._settle(self._usage)
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
            async with Until(self._parts.clock, terms.deadline):
                return await read_into(self._parts.reads, self.dialect, body, wanted)
        except DeadlinePassed:
            message = "headrace.context: the deadline of the request passed before its context was read"
            raise Complaint(504, message, kind="server_error", code="timeout") from None

    def _hold_more(self, size: int, output: int | None) -> None:
        """Reserve what context and further tries take: a small body may name much of it, many times at once."""
        key = self.key
        if self._grant is not None and self.offer is not None and key is not None and key.tpm is not None:
            now = self._parts.clock.monotonic()
            self._grant.more(now, self.offer.tokens(now, max(size, 0), output))

    # What goes out

    def _head(self) -> list[Field]:
        return [(b"x-headrace-request-id", self.id.encode())]

    def _describe(self, reply: Reply, now: float) -> tuple[list[Field], bytes]:
        """What is known of an answer when its head goes out: its own headers, and lines of ours."""
        fields = [field for field in reply.headers if field[0] not in _OURS]
        ready = self._ready - self.started
        lines = _LINES % (
            self.id.encode(),
            _source(reply.model, reply.upstream),
            reply.attempts,
            reply.queued * 1000,
            (reply.first_byte + ready) * 1000,
            (ready - self._discarded) * 1000,
        )
        return fields, lines if self._grant is None else lines + self._grant.lines(now)

    def _complete(self, reply: Reply, answer: bytes, size: int, more: list[Field]) -> Response:
        now = self._parts.clock.monotonic()
        usage, cost = self._usage, self._cost
        self._settle(usage)
        fields, lines = self._describe(reply, now)
        if cost is not None:
            lines += b"x-headrace-cost: %b\r\n" % f"{cost:f}".encode()
        fields += more
        self._observe(now, size, usage)
        self._parts.tally.answered(self._model, reply.upstream, reply.status)
        return Response(reply.status, fields, answer, lines=lines)

    def _stream(self, reply: Reply, size: int, injected: Injected | None) -> Response:
        fields, lines = self._describe(reply, self._parts.clock.monotonic())
        trailers: list[Field] = []
        if injected is not None:
            fields += injected.headers()

        def ended(error: StreamBroken | None, whole: bool) -> None:
            self._settle(reply.usage)
            if whole or error is not None:
                self._observe(self._parts.clock.monotonic(), size, reply.usage)
            if not whole:
                return
            if reply.cost is not None:
                trailers.append((b"x-headrace-cost", f"{reply.cost:f}".encode()))
            trailers.append((b"x-headrace-attempts", b"%d" % reply.attempts))
            if injected is not None:
                validity = self._parts.reads.validate(injected.readset)
                if not validity.holds:
                    self._parts.tally.changed(self._model)
                trailers.extend(verdict(validity))

        self._parts.tally.answered(self._model, reply.upstream, reply.status)
        body = relay(reply, self.dialect, ended)
        return Response(reply.status, fields, body, trailers=lambda: trailers, lines=lines)

    def _observe(self, now: float, size: int, usage: Usage | None) -> None:
        """Learn how many tokens such a body has."""
        if usage is not None and self.offer is not None and self.key is not None and self.key.tpm is not None:
            self.offer.observe(now, size, usage)

    # Ways out without an answer

    def _unanswered(self, error: ModelRefused) -> Response:
        if error.reason == Reason.OVER_BUDGET and self.key is not None:
            self._give_back()
            complaint = self._parts.allowances.no_money(self._parts.clock.now() / SECOND, self.key)
            return self._refused(complaint.response(self.dialect, self._head()), "")
        if error.failure == Failure.CREDENTIALS:
            _LOG.warning("request %s: %s", self.id, error.message)
        if error.failure in _MAYBE_READ:
            self._settle(None)
        else:
            self._give_back()
        return self._refused(refusal.answer(error, self.dialect, self._head()), "")

    def _refused(self, response: Response, upstream: str) -> Response:
        self._parts.tally.answered(self._model, upstream, response.status)
        if self._grant is not None:
            response.lines += self._grant.lines(self._parts.clock.monotonic())
        return response

    def _settle(self, usage: Usage | None) -> None:
        if self._grant is not None:
            self._grant.settle(self._parts.clock.monotonic(), usage)

    def _give_back(self) -> None:
        if self._grant is not None:
            self._grant.release(self._parts.clock.monotonic())


@lru_cache(maxsize=1024)
def _source(model: str, upstream: str) -> bytes:
    """Which model of which upstream an answer is from, as lines of a head."""
    fields = [(b"x-headrace-model", model.encode()), (b"x-headrace-upstream", upstream.encode())]
    return headers.write(b"", fields, b"").removesuffix(b"\r\n")
