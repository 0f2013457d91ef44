"""A declared model, running: the router, and the shell that does what it says.

One call is one `_Ask`. Where nothing has to be waited for there are no tasks: an attempt that finds an idle connection
is sent at the end of the turn of the loop in which it was asked for, and an answer that comes whole is told at the end
of the turn that brought its bytes (`http1/batch.py`). Other attempts are tasks until their answer has begun.

From then on nothing runs beside the client: the client's own reading pulls the stream, piece by piece, so that a client
that reads slowly slows its upstream and nothing piles up in between. What may be due is a timer of the router: `wake`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context, copy_context
from decimal import Decimal
from functools import partial
from typing import cast

from msgspec import Struct

from headrace.core.clock import Clock
from headrace.core.errors import ModelRefused
from headrace.core.events import ModelCalled, NullRecorder, Recorder
from headrace.http1.batch import Batch
from headrace.models.action import Action, Attempt, Deliver, Done, Reason, Refused, Start, Stop
from headrace.models.alarm import Alarm
from headrace.models.barred import unable, unpayable
from headrace.models.budget import Extra
from headrace.models.call import Call
from headrace.models.delivery import Delivery
from headrace.models.ejections import Ejections
from headrace.models.estimate import Tokens
from headrace.models.failure import Failure
from headrace.models.pause import Pause, PauseLog
from headrace.models.provider import Carrier, Failed, Incoming
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.router import Router
from headrace.models.turned import TurnedLog
from headrace.models.unanswered import broken, refusal
from headrace.models.upstream import UpstreamState

_LOG = logging.getLogger(__name__)


Told = Callable[["Delivery | ModelRefused"], None]
"""Hears how a call went, once."""


class _Ask(Struct):
    """One call under way. It is answered when an answer was delivered; its tasks run in the `context` of who asked."""

    id: str
    request: ModelRequest
    call: Call
    began: float
    told: Told
    context: Context
    queued: float = 0.0
    attempts: int = 0
    hedged: bool = False
    submitted: bool = False
    last: Failed | None = None
    delivered: Delivery | None = None


class _Running(Struct):
    """An attempt: what ends it until its answer has begun, and then the answer.

    What ends it leads back to it. So it is forgotten as soon as it is of no use: a cycle is left to the collector.
    """

    ask: _Ask
    attempt: Attempt
    end: Callable[[], object] | None = None
    stopped: bool = False
    delivery: Delivery | None = None

    def stop(self) -> None:
        """End it at its upstream."""
        self.stopped = True
        end, self.end = self.end, None
        if self.delivery is not None:
            self.delivery.incoming.stop()
        elif end is not None:
            end()


def _tell(answered: tuple[Told, Delivery | ModelRefused]) -> None:
    told, outcome = answered
    told(outcome)


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
        prices = router.billing.prices
        self._unpriced = frozenset(
            one.name for one in router.selection.upstreams if prices.find(one.spec.model) is None
        )
        self._models = {one.spec.name: one.spec.model for one in router.selection.upstreams}
        self.now = clock.monotonic
        """The time of the router."""
        self._deadline = deadline
        self._recorder = recorder or NullRecorder()
        self._asks: dict[str, _Ask] = {}
        self._running: dict[int, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing: dict[int, Delivery] = {}
        self._pauses = PauseLog(name)
        self._ejections = Ejections(name, router.selection.upstreams)
        self._turned = TurnedLog(name)
        self._numbers = itertools.count(1)
        # A call takes its way in steps, each taken together with those of the others.
        self._asked = Batch(self._submit)
        self._answered = Batch(_tell)
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
        now = self.now()
        return (one.seen(now) for one in self.router.selection.upstreams)

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
        """Send a request, and call `told` with what `send` would return or raise, after this has returned.

        Returns what `cancel` wants. Raises `ModelRefused` where no upstream takes such a request at all.
        """
        now = self.now()
        size = request.size()
        most = request.max_output_tokens
        without = (
            _NOBODY if (request.dialect, request.stream) in self._takes else unable(self.name, self._carriers, request)
        )
        if terms.priced and self._unpriced:
            without = unpayable(self.name, self._carriers, self._unpriced, without)
        latest = now + self._deadline
        call = Call(
            id=str(next(self._numbers)),
            prompt_tokens=request.prompt_tokens or self.tokens.size(size),
            output_tokens=self.tokens.output(now, max_tokens=most),
            deadline=terms.deadline if terms.deadline < latest else latest,
            last=terms.last if terms.last < latest else latest,
            tenant=terms.tenant,
            priority=terms.priority,
            session=terms.session,
            stream=request.stream,
            repeatable=request.repeatable,
            key=terms.key,
            # No token is shorter than a byte. Of what is not in the body (a picture's address), nobody here knows more.
            most_prompt=size,
            most_output=most or 0,
            answers=request.answers,
            without=without,
        )
        ask = self._asks[call.id] = _Ask(terms.id, request, call, now, told, copy_context())
        self._asked.put(ask)
        return call.id

    def cancel(self, call: str) -> bool:
        """End what runs at upstreams for a call that is under way: nobody waits any more.

        Returns whether an upstream may have been asked.
        """
        ask = self._asks.get(call)
        if ask is None:
            return True
        self._cancel(ask)
        return ask.submitted

    async def aclose(self) -> None:
        """End all calls."""
        for ask in list(self._asks.values()):
            self._cancel(ask)
        self._alarm.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _submit(self, ask: _Ask) -> None:
        if ask.call.id not in self._asks:  # nobody waits any more
            return
        now, ask.submitted = self.now(), True
        try:
            self._act(now, self.router.submit(now, ask.call))
        except Exception as error:  # nobody else would tell whoever asked
            _LOG.exception("a call to %r could not be made", self.name)
            if self._asks.pop(ask.call.id, None) is not None:
                message = f"the call to the model {self.name!r} could not be made: {error}"
                self._answered.put((ask.told, ModelRefused(message, reason=Reason.FAILED.value)))

    # Attempts ------------------------------------------------------------------------------------------------------

    def _came(self, running: _Running, outcome: Incoming | Exception) -> None:
        """The answer of an attempt is here, or begins; or it has failed."""
        running.end = None
        if running.stopped:  # in the turn in which it came
            if not isinstance(outcome, Exception):
                outcome.stop()
        elif isinstance(outcome, Exception):
            self._failed(running, outcome)
        else:
            ask, attempt, now = running.ask, running.attempt, self.now()
            running.delivery = Delivery(
                self,
                ask.call.id,
                attempt.id,
                outcome,
                status=outcome.status,
                headers=outcome.headers,
                upstream=attempt.upstream,
                model=self._models[attempt.upstream],
                attempts=ask.attempts,
                queued=ask.queued,
                first_byte=now - ask.began,
                since=now,
                complete=outcome.complete,
            )
            if outcome.complete:
                self._ended(now, running, outcome)
            else:
                self._act(now, self.router.on_first_token(now, attempt.id))

    async def _wait(self, running: _Running, until: float) -> None:
        """Make an attempt that has to wait, up to where its answer begins."""
        carrier = self._carriers[running.attempt.upstream]
        try:
            outcome: Incoming | Exception = await carrier.begin(running.ask.request, until)
        except Exception as error:  # `_came` sorts them out
            outcome = error
        self._came(running, outcome)

    def _ended(self, now: float, running: _Running, incoming: Incoming) -> None:
        """All of an answer is there."""
        usage = incoming.usage
        if usage is not None:
            self.tokens.observe(
                now,
                prompt_bytes=running.ask.call.most_prompt,
                prompt_tokens=usage.prompt_tokens,
                output_tokens=usage.output_tokens,
            )
        self._act(now, self.router.on_end(now, running.attempt.id, usage, incoming.limits))
        if self._pauses.open and self._pause(now, running.attempt) is None:
            self._pauses.ends(now, running.attempt.upstream)
        if self._ejections.open:
            self._ejections.look(now)

    def _failed(self, running: _Running, error: Exception) -> None:
        """An attempt has failed."""
        attempt, now = running.attempt, self.now()
        if isinstance(error, Failed):
            failed = error
        else:  # the boundary to kinds of upstreams and to functions of users: a call must not hang because they raise
            _LOG.error("an attempt at %s raised", attempt.upstream, exc_info=error)
            failed = Failed(Failure.SERVER_ERROR, f"{attempt.upstream} raised {type(error).__name__}: {error}")
        del self._running[attempt.id]
        self._flowing.pop(attempt.id, None)
        failed.upstream = attempt.upstream
        running.ask.last = failed
        self._act(now, self.router.on_failure(now, attempt.id, failed.failure, failed.limits))
        self._ejections.look(now)
        pause = self._pause(now, attempt)
        if pause is not None:
            self._pauses.begins(now, pause, failed.message)

    def _pause(self, now: float, attempt: Attempt) -> Pause | None:
        return self.router.selection.named(attempt.upstream).paused(now)

    # What the client does ------------------------------------------------------------------------------------------

    def ended(self, delivery: Delivery) -> None:
        """A stream came to its end."""
        running = self._running.get(delivery.attempt)
        if running is not None:
            self._ended(self.now(), running, delivery.incoming)

    def broke(self, delivery: Delivery, failed: Failed) -> None:
        """A stream broke off. One that was stopped has nothing to tell."""
        running = self._running.get(delivery.attempt)
        if running is not None:
            self._progress(self.now(), delivery)
            self._failed(running, failed)

    def let_go(self, delivery: Delivery) -> None:
        """The client does not want the rest."""
        self.cancel(delivery.call)

    def _cancel(self, ask: _Ask) -> None:
        now = self.now()
        if ask.delivered is not None:
            self._progress(now, ask.delivered)
        if ask.submitted:
            self._act(now, self.router.cancel(now, ask.call.id))
            self._ejections.look(now)
        else:
            self._refused(now, Refused(ask.call, Reason.CANCELLED))

    # What the router says ------------------------------------------------------------------------------------------

    def _act(self, now: float, actions: list[Action]) -> None:
        # Not `match`: this is done several times for each request, and a class pattern costs three comparisons.
        for action in actions:
            if isinstance(action, Start):
                self._start(action.attempt)
            elif isinstance(action, Deliver):
                running = self._running[action.attempt.id]
                delivery = running.delivery
                if delivery is not None and not delivery.complete:  # else it is passed on with what it took
                    if running.ask.delivered is None:
                        self._answered.put((running.ask.told, delivery))
                    running.ask.delivered = self._flowing[action.attempt.id] = delivery
            elif isinstance(action, Done):
                self._done(now, action)
            elif isinstance(action, Stop):
                number = action.attempt.id
                self._flowing.pop(number, None)
                running = self._running.pop(number, None)
                if running is not None:
                    running.stop()
            else:
                self._refused(now, action)
        wake = self.router.wake
        if wake is not None and wake < self._alarm.at:
            self._alarm.set(wake)

    def _start(self, attempt: Attempt) -> None:
        ask = self._asks[attempt.call.id]
        ask.attempts += 1
        if attempt.extra is None:
            ask.queued = attempt.started - ask.began
        elif attempt.extra is Extra.HEDGE:
            ask.hedged = True
        running = self._running[attempt.id] = _Running(ask, attempt)
        request, until, start = ask.request, attempt.clock.end, self._starts[attempt.upstream]
        if start is not None:
            told = partial(self._came, running)
            try:
                running.end = start(request, until, told)
            except Exception as error:  # as in `_came`, when the router has said all that it has to say now
                asyncio.get_running_loop().call_soon(told, error)
                return
        if running.end is None:
            task = asyncio.get_running_loop().create_task(self._wait(running, until), context=ask.context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            running.end = task.cancel

    def _done(self, now: float, done: Done) -> None:
        number = done.attempt.id
        running = self._running.pop(number)
        # There is one: only what has come is told to the router as ended.
        ask, delivery = running.ask, cast("Delivery", running.delivery)
        del self._asks[done.call.id]
        if ask.delivered is None:
            self._answered.put((ask.told, delivery))
        else:
            self._flowing.pop(number, None)
        delivery.usage, delivery.cost = done.usage, done.cost
        self._record(now, ask, delivery, "done", done.cost)

    def _refused(self, now: float, refused: Refused) -> None:
        ask = self._asks.pop(refused.call.id)
        delivery = ask.delivered
        if delivery is None:
            if not ask.attempts:
                self._turned.add(now, refused)
            self._answered.put((ask.told, refusal(self.name, refused, ask.attempts, ask.last)))
        elif not delivery.complete:
            delivery.cost = refused.cost
            delivery.end(broken(delivery.upstream, refused, ask.last))
        self._record(now, ask, delivery, refused.reason.value, refused.cost, refused.failure)

    def _record(
        self,
        now: float,
        ask: _Ask,
        delivery: Delivery | None,
        outcome: str,
        cost: Decimal | None,
        failure: Failure | None = None,
    ) -> None:
        if delivery is not None:
            upstream, status, first_byte = delivery.upstream, delivery.status, delivery.first_byte
            usage = delivery.usage
        else:
            last = ask.last
            # One that said nothing is not told as who answered.
            upstream, status = ("", 0) if last is None or not last.status else (last.upstream, last.status)
            first_byte = usage = None
        self._recorder.record(
            ModelCalled(
                request=ask.id,
                model=self.name,
                upstream=upstream,
                status=status,
                queued=ask.queued if ask.attempts else now - ask.began,
                first_byte=first_byte,
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
        now = self.now()
        for delivery in self._flowing.values():
            self._progress(now, delivery)
        self._act(now, self.router.poll(now))
        self._ejections.look(now)

    def _progress(self, now: float, delivery: Delivery) -> None:
        """Tell the router how far a stream has come: when it is to judge it, not with each piece."""
        # Where its client reads slowly, that is no silence of the upstream.
        at = delivery.since if delivery.waiting else now
        self.router.on_progress(at, delivery.attempt, delivery.incoming.written)


_NOBODY: frozenset[str] = frozenset()
