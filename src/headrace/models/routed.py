"""A declared model, running: the router, and the shell that does what it says.

One call is one `_Ask`. Where nothing has to be waited for there are no tasks: an attempt that finds an idle connection
is sent within `ask`, and its answer is delivered within the call that brought its bytes. Other attempts are tasks until
their answer has begun. From then on nothing runs beside the client: the client's own reading pulls the stream, piece by
piece, so that a client that reads slowly slows its upstream and nothing piles up in between. What may be due is one
timer of the router (`wake`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from msgspec import Struct

from headrace.core.clock import Clock
from headrace.core.errors import ModelRefused, StreamBroken
from headrace.core.events import ModelCalled, NullRecorder, Recorder
from headrace.models.action import Action, Attempt, Deliver, Done, Reason, Refused, Start, Stop
from headrace.models.alarm import Alarm
from headrace.models.budget import Extra
from headrace.models.call import Call, Usage
from headrace.models.delivery import Delivery
from headrace.models.estimate import Tokens, prompt_bytes
from headrace.models.failure import Failure
from headrace.models.provider import Carrier, Failed, Incoming
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.router import Router

_LOG = logging.getLogger(__name__)


Told = Callable[["Delivery | ModelRefused"], None]
"""Hears how a call went, once."""


class _Ask(Struct):
    """One call under way."""

    request: ModelRequest
    terms: Terms
    call: Call
    size: int
    began: float
    told: Told
    queued: float | None = None
    attempts: int = 0
    hedged: bool = False
    last: Failed | None = None
    outcome: Delivery | ModelRefused | None = None
    delivered: Delivery | None = None
    running: dict[int, _Running] = {}


class _Running(Struct):
    """An attempt: what ends it until its answer has begun, and then the answer."""

    model: RoutedModel
    ask: _Ask
    attempt: Attempt
    end: Callable[[], object] | None = None
    incoming: Incoming | None = None

    def told(self, outcome: Incoming | Exception) -> None:
        """Its answer is here, or begins; or it has failed."""
        self.model.came(self, outcome)

    def stop(self) -> None:
        """End it at its upstream."""
        if self.incoming is not None:
            self.incoming.stop()
        elif self.end is not None:
            self.end()


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What is known of an upstream at an instant.

    Attributes
    ----------
    in_flight, limit
        Attempts under way, and the most that may be.
    state
        Of its breaker: `closed`, `open`, `half_open`.
    failure_share
        Of its attempts lately.
    """

    upstream: str
    model: str
    tier: int
    in_flight: int
    limit: float
    state: str
    failure_share: float


class RoutedModel:
    """Carries requests to the upstreams of one declared model (a `Caller`).

    Parameters
    ----------
    name
        Of the declared model.
    router
        With one upstream per carrier, of the same name.
    carriers
        By name of upstream.
    clock
        Its `monotonic` is the time of the router.
    deadline
        Seconds that a call may take at most, whatever its terms say.
    recorder
        Hears of every call.
    """

    def __init__(
        self,
        name: str,
        router: Router,
        carriers: Mapping[str, Carrier],
        *,
        clock: Clock,
        deadline: float,
        recorder: Recorder | None = None,
    ) -> None:
        self.name = name
        self.router = router
        self.tokens = Tokens()
        self._carriers = dict(carriers)
        self._starts = {name: getattr(one, "start", None) for name, one in carriers.items()}
        self._takes = frozenset[tuple[Dialect, bool]].intersection(*(one.takes for one in carriers.values()))
        self._models = {one.spec.name: one.spec.model for one in router.selection.upstreams}
        self._clock = clock
        self.now = clock.monotonic
        """The time of the router."""
        self._deadline = deadline
        self._recorder = recorder or NullRecorder()
        self._asks: dict[str, _Ask] = {}
        self._answered: list[_Ask] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing: dict[int, Delivery] = {}
        self._numbers = itertools.count(1)
        self._alarm = Alarm(clock, self._poll)

    def may_shadow(self) -> bool:
        """Take a token of the resilience budget for a call whose answer nobody waits for; False: do not send it."""
        return self.router.may_shadow()

    @property
    def open(self) -> int:
        """Calls under way."""
        return len(self._asks)

    def states(self) -> Iterator[UpstreamState]:
        """What is known of each upstream now."""
        now = self._clock.monotonic()
        for one in self.router.selection.upstreams:
            yield UpstreamState(
                one.spec.name,
                one.spec.model,
                one.spec.tier,
                one.in_flight,
                one.limit.current,
                one.breaker.state(now).value,
                one.breaker.failure_share(now),
            )

    async def send(self, request: ModelRequest, terms: Terms) -> Delivery:
        """Send a request; returns with the first content of a stream, or with the whole of another answer.

        Cancelled, it ends what runs at upstreams at once.

        Raises
        ------
        ModelRefused
            No answer; `reason` and `failure` say why.
        """
        ready: asyncio.Future[Delivery | ModelRefused] = asyncio.get_running_loop().create_future()

        def told(outcome: Delivery | ModelRefused) -> None:
            if not ready.done():
                ready.set_result(outcome)

        call = self.ask(request, terms, told)
        try:
            outcome = await ready
        except asyncio.CancelledError:
            self.cancel(call)
            raise
        if isinstance(outcome, ModelRefused):
            raise outcome
        return outcome

    def ask(self, request: ModelRequest, terms: Terms, told: Told) -> str:
        """Send a request, and call `told` with what `send` would return or raise, perhaps before this returns.

        Returns what `cancel` wants. Raises `ModelRefused` where no upstream takes such a request at all.
        """
        now = self._clock.monotonic()
        size = prompt_bytes(request.body, request.document)
        call = self._call(now, request, terms, size)
        self._asks[call.id] = _Ask(request, terms, call, size, now, told)
        self._act(self.router.submit(now, call))
        return call.id

    def cancel(self, call: str) -> None:
        """End what runs at upstreams for a call that is under way: nobody waits any more."""
        ask = self._asks.get(call)
        if ask is not None:
            self._cancel(ask)

    async def aclose(self) -> None:
        """End all calls."""
        for ask in list(self._asks.values()):
            self._cancel(ask)
        self._alarm.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _call(self, now: float, request: ModelRequest, terms: Terms, size: int) -> Call:
        """The request as the policies see it."""
        refused: list[tuple[str, str]] = []
        if (request.dialect, request.stream) not in self._takes:
            refused = [(name, why) for name, one in self._carriers.items() if (why := one.refuses(request))]
        if len(refused) == len(self._carriers):
            raise ModelRefused(
                f"no upstream of {self.name!r} takes this request: {'; '.join(why for _, why in refused)}",
                reason=Reason.FAILED.value,
                failure=Failure.BAD_REQUEST.value,
                hint="ask in another dialect, or declare an upstream that speaks this one",
            )
        return Call(
            id=str(next(self._numbers)),
            prompt_tokens=request.prompt_tokens or self.tokens.size(size),
            output_tokens=self.tokens.output(now, max_tokens=request.max_output_tokens),
            deadline=min(terms.deadline, now + self._deadline),
            tenant=terms.tenant,
            priority=terms.priority,
            session=terms.session,
            stream=request.stream,
            repeatable=request.repeatable,
            key=terms.key,
            # No token is shorter than a byte. Of what is not in the body (a picture's address), nobody here knows more.
            most_prompt=size,
            most_output=request.max_output_tokens or 0,
            without=frozenset([name for name, _ in refused]) if refused else _NOBODY,
        )

    # Attempts ------------------------------------------------------------------------------------------------------

    def came(self, running: _Running, outcome: Incoming | Exception) -> None:
        """The answer of an attempt is here, or begins; or it has failed."""
        ask, attempt = running.ask, running.attempt
        running.end = None  # with what it calls it would be a cycle, left to the garbage collector
        if attempt.id not in ask.running:  # stopped in the turn in which it came
            if not isinstance(outcome, Exception):
                outcome.stop()
        elif isinstance(outcome, Failed):
            self._failed(ask, attempt.id, outcome)
        # The boundary to kinds of upstreams and to functions of users: a call must not hang because they raise.
        elif isinstance(outcome, Exception):
            _LOG.error("an attempt at %s raised", attempt.upstream, exc_info=outcome)
            message = f"{attempt.upstream} raised {type(outcome).__name__}: {outcome}"
            self._failed(ask, attempt.id, Failed(Failure.SERVER_ERROR, message))
        else:
            running.incoming = outcome
            if outcome.complete:
                self._ended(ask, attempt.id, outcome)
            else:
                self._act(self.router.on_first_token(self._clock.monotonic(), attempt.id))

    async def _wait(self, running: _Running, until: float) -> None:
        """Make an attempt that has to wait, up to where its answer begins."""
        carrier = self._carriers[running.attempt.upstream]
        try:
            outcome: Incoming | Exception = await carrier.begin(running.ask.request, until)
        except Exception as error:  # `came` sorts them out
            outcome = error
        self.came(running, outcome)

    def _ended(self, ask: _Ask, attempt: int, incoming: Incoming) -> None:
        """All of an answer is there."""
        now = self._clock.monotonic()
        usage = incoming.usage
        if usage is not None:
            self.tokens.observe(
                now, prompt_bytes=ask.size, prompt_tokens=usage.prompt_tokens, output_tokens=usage.output_tokens
            )
        self._act(self.router.on_end(now, attempt, usage, incoming.limits))

    def _failed(self, ask: _Ask, attempt: int, failed: Failed) -> None:
        """An attempt has failed. One that was stopped has nothing to tell."""
        if ask.running.pop(attempt, None) is None:
            return
        ask.last = failed
        self._act(self.router.on_failure(self._clock.monotonic(), attempt, failed.failure, failed.limits))

    # What the client does ------------------------------------------------------------------------------------------

    def ended(self, delivery: Delivery) -> None:
        """A stream came to its end."""
        ask = self._asks.get(delivery.call)
        if ask is not None:
            self._ended(ask, delivery.attempt, delivery.incoming)

    def broke(self, delivery: Delivery, failed: Failed) -> None:
        """A stream broke off."""
        ask = self._asks.get(delivery.call)
        if ask is not None:
            self._progress(delivery)
            self._failed(ask, delivery.attempt, failed)

    def let_go(self, delivery: Delivery) -> None:
        """The client does not want the rest."""
        ask = self._asks.get(delivery.call)
        if ask is not None:
            self._cancel(ask)

    def _cancel(self, ask: _Ask) -> None:
        if ask.delivered is not None:
            self._progress(ask.delivered)
        self._act(self.router.cancel(self._clock.monotonic(), ask.call.id))

    # What the router says ------------------------------------------------------------------------------------------

    def _act(self, actions: list[Action]) -> None:
        # Not `match`: this is done several times for each request, and a class pattern costs three comparisons.
        for action in actions:
            if isinstance(action, Start):
                self._start(action.attempt)
            elif isinstance(action, Deliver):
                self._deliver(action.attempt)
            elif isinstance(action, Done):
                ask = self._asks.pop(action.call.id)
                del ask.running[action.attempt.id]
                self._done(ask, action.usage, action.cost)
            elif isinstance(action, Stop):
                running = self._asks[action.attempt.call.id].running.pop(action.attempt.id, None)
                if running is not None:
                    running.stop()
            else:
                self._refused(self._asks.pop(action.call.id), action)
        self._alarm.set(self.router.wake)
        if self._answered:
            answered, self._answered = self._answered, []
            for ask in answered:
                ask.told(cast("Delivery | ModelRefused", ask.outcome))

    def _start(self, attempt: Attempt) -> None:
        ask = self._asks[attempt.call.id]
        ask.attempts += 1
        if ask.queued is None:
            ask.queued = attempt.started - ask.began
        ask.hedged = ask.hedged or attempt.extra is Extra.HEDGE
        running = ask.running[attempt.id] = _Running(self, ask, attempt)
        clock, start = attempt.clock, self._starts[attempt.upstream]
        until = clock.end if ask.request.stream else min(clock.first_token, clock.end)  # its first byte is its last
        if start is not None:
            try:
                running.end = start(ask.request, until, running.told)
            except Exception as error:  # as in `came`, when the router has said all that it has to say now
                asyncio.get_running_loop().call_soon(running.told, error)
                return
        if running.end is None:
            task = asyncio.get_running_loop().create_task(self._wait(running, until))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            running.end = task.cancel

    def _deliver(self, attempt: Attempt) -> None:
        ask = self._asks[attempt.call.id]
        incoming = ask.running[attempt.id].incoming
        if incoming is None:  # pragma: no cover - the router delivers what it was told has begun
            return
        delivery = ask.delivered = Delivery(
            self,
            ask.call.id,
            attempt.id,
            incoming,
            upstream=attempt.upstream,
            model=self._models[attempt.upstream],
            attempts=ask.attempts,
            queued=ask.queued or 0.0,
            first_byte=self._clock.monotonic() - ask.began,
        )
        if not incoming.complete:
            self._flowing[attempt.id] = delivery
            self._end(ask, delivery)

    def _end(self, ask: _Ask, outcome: Delivery | ModelRefused) -> None:
        """The call is answered, as far as whoever asked has to wait for it."""
        if ask.outcome is None:
            ask.outcome = outcome
            self._answered.append(ask)

    def _done(self, ask: _Ask, usage: Usage | None, cost: Decimal | None) -> None:
        delivery = ask.delivered
        if delivery is not None:
            self._flowing.pop(delivery.attempt, None)
            delivery.usage, delivery.cost, delivery.attempts = usage, cost, ask.attempts
            self._end(ask, delivery)
        self._record(ask, "done", usage, cost)

    def _refused(self, ask: _Ask, refused: Refused) -> None:
        delivery, last = ask.delivered, ask.last
        failure = refused.failure
        message = f"the model {self.name!r} gave no answer: {_WHY[refused.reason]}"
        if refused.reason is Reason.DEADLINE:
            attempts = "1 attempt" if ask.attempts == 1 else f"{ask.attempts} attempts"
            message += f" after {attempts}" if ask.attempts else " while it waited for an upstream"
        if refused.reason in _TELLS and last is not None:
            message += f"; {last.message}"
        elif refused.reason is Reason.FAILED and failure is not None:
            message += f" ({failure.value})"
        if delivery is not None and not delivery.incoming.complete:
            self._flowing.pop(delivery.attempt, None)
            why = last.message if last is not None and refused.reason is Reason.BROKEN else _WHY[refused.reason]
            word = _FAILURES.get(refused.reason) or failure or Failure.CONNECTION
            delivery.cost = refused.cost
            delivery.end(StreamBroken(f"the answer of {delivery.upstream!r} broke off: {why}", failure=word.value))
        else:
            error = ModelRefused(
                message,
                reason=refused.reason.value,
                failure=failure.value if failure is not None else "",
                retry_after=refused.retry_after,
                status=last.status if last is not None else 0,
                body=last.body if last is not None else b"",
                hint=_HINTS.get(refused.reason, ""),
            )
            self._end(ask, error)
        self._record(ask, refused.reason.value, None, refused.cost, failure)

    def _record(
        self, ask: _Ask, outcome: str, usage: Usage | None, cost: Decimal | None, failure: Failure | None = None
    ) -> None:
        delivery, now = ask.delivered, self._clock.monotonic()
        self._recorder.record(
            ModelCalled(
                request=ask.terms.id,
                model=self.name,
                upstream=delivery.upstream if delivery is not None else "",
                status=delivery.status if delivery is not None else (ask.last.status if ask.last is not None else 0),
                queued=ask.queued if ask.queued is not None else now - ask.began,
                first_byte=delivery.first_byte if delivery is not None else None,
                seconds=now - ask.began,
                prompt_tokens=usage.prompt_tokens if usage is not None else None,
                output_tokens=usage.output_tokens if usage is not None else None,
                cached_tokens=usage.cached_tokens if usage is not None else None,
                cost=cost,
                attempts=ask.attempts,
                hedged=ask.hedged,
                outcome=outcome,
                failure=failure.value if failure is not None else "",
            )
        )

    # Time ----------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        for delivery in self._flowing.values():
            self._progress(delivery)
        self._act(self.router.poll(self._clock.monotonic()))

    def _progress(self, delivery: Delivery) -> None:
        """Tell the router how far a stream has come: when it is to judge it, not with each piece."""
        # Where its client reads slowly, that is no silence of the upstream.
        at = delivery.since if delivery.waiting else self._clock.monotonic()
        self.router.on_progress(at, delivery.attempt, delivery.incoming.written)


_NOBODY: frozenset[str] = frozenset()
_TELLS = frozenset({Reason.FAILED, Reason.BROKEN, Reason.DEADLINE})
_WHY = {
    Reason.DEADLINE: "its deadline passed",
    Reason.SHED: "it was turned away, so that others are served in time",
    Reason.QUEUE_FULL: "too many wait already",
    Reason.RATE_LIMITED: "rate limits close its upstreams for longer than its deadline leaves",
    Reason.EJECTED: "its upstreams are ejected for longer than its deadline leaves",
    Reason.OVER_BUDGET: "the budget that pays for it has not enough left",
    Reason.FAILED: "its attempts failed",
    Reason.BROKEN: "it broke off after a part was seen",
    Reason.CANCELLED: "nobody waits any more",
}
_FAILURES = {Reason.DEADLINE: Failure.TIMEOUT, Reason.CANCELLED: Failure.CANCELLED}
_HINTS = {
    Reason.DEADLINE: "give it more time, or look at why its upstreams are slow",
    Reason.SHED: "try again after `retry_after` seconds",
    Reason.QUEUE_FULL: "try again after `retry_after` seconds",
    Reason.RATE_LIMITED: "try again after `retry_after` seconds, or declare a fallback that has limits of its own",
    Reason.EJECTED: "try again after `retry_after` seconds, and look at why its upstreams fail",
    Reason.OVER_BUDGET: "wait for the next period, or raise the budget",
}
