"""All policies of one model put together, without a clock, a socket or a task of its own.

A shell submits calls and tells what happens to attempts; the router answers each event with what to do (`action.py`).
The asyncio gateway and the simulator are two such shells, so what the simulator shows is what production runs.

    submit -> queue (fair, earliest deadline first) -> an upstream that can take it -> Start
                ^                                                                        |
                |  retry: if the failure, the deadline and the budget allow it           v
                +--------------------------------------------------- failure, timeout
                                                                     first byte late: Start elsewhere as well
                                                                     first byte: Deliver, Stop the others
                                                                     end: Done; nothing left to try: Refused

For each call exactly one `Done` or `Refused` ends it, and by then each `Start` has had an end that the shell told, or a
`Stop`. The shell calls `poll` at the instant `wake`; that is where timeouts, hedges and retries come from.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from random import Random

from headrace.core.errors import DeclarationError
from headrace.models.action import Action, Attempt, Deliver, Done, Reason, Refused, Start, Stop
from headrace.models.admission import Admission, Turned
from headrace.models.billing import Billing, read_anyway
from headrace.models.breaker import State
from headrace.models.budget import Extra
from headrace.models.call import Call, Usage
from headrace.models.failure import Failure, Where
from headrace.models.flight import Flight, Running
from headrace.models.headers import NOTHING, Limits
from headrace.models.pause import Full, Pause
from headrace.models.selection import Selection
from headrace.models.settings import Policies, UpstreamSpec
from headrace.models.timers import Timers
from headrace.models.upstream import Upstream

_REASONS = {Turned.FULL: Reason.QUEUE_FULL, Turned.SHED: Reason.SHED, Turned.DEADLINE: Reason.DEADLINE}
_NEVER = (-math.inf, None)
_TICK = 0.001
"""Shortest sleep until a queue is looked at again (seconds)."""
_FREED = 1.0
"""Seconds after which money that is set aside may be free again: about as long as a short answer takes."""
_SOON = 0.25
"""Seconds after which a late attempt that could not be hedged is looked at again, and what is late is reckoned anew."""


class Router:
    """The way of calls to the upstreams of one model.

    Parameters
    ----------
    specs
        The upstreams, at least one.
    policies
        How they are used.
    random
        Draws for the balancer, jitter and exploration.
    billing
        Prices and budgets of keys.

    Raises
    ------
    DeclarationError
        No upstream, or two of the same name.

    Examples
    --------
    >>> router = Router([UpstreamSpec(name="a")], Policies(), Random(1))
    >>> [start] = router.submit(0.0, Call("1", prompt_tokens=100, output_tokens=50, deadline=30.0))
    >>> start.attempt.upstream, router.wake
    ('a', 10.0)
    >>> [type(action).__name__ for action in router.on_first_token(0.4, start.attempt.id)]
    ['Deliver']
    >>> [type(action).__name__ for action in router.on_end(1.4, start.attempt.id, Usage(100, 40))]
    ['Done']
    """

    def __init__(
        self, specs: Sequence[UpstreamSpec], policies: Policies, random: Random, *, billing: Billing | None = None
    ) -> None:
        if not specs or len({spec.name for spec in specs}) < len(specs):
            names = ", ".join(spec.name for spec in specs) or "none"
            raise DeclarationError(
                f"a model needs upstreams with different names, not: {names}", hint="name each upstream once"
            )
        self.policies = policies
        self.selection = Selection([Upstream(spec, policies, random) for spec in specs], policies, random)
        self.admission = Admission(policies.admission)
        self.budget = policies.budget.make()
        self.billing = Billing() if billing is None else billing
        self._random = random
        self._flights: dict[str, Flight] = {}
        self._running: dict[int, Running] = {}
        self._timers = Timers(self._flights)
        self._numbers = itertools.count(1)
        self._unblocked = math.inf
        self._delays: dict[tuple[str, int], tuple[float, float | None]] = {}

    # What the shell asks -------------------------------------------------------------------------------------------

    @property
    def wake(self) -> float | None:
        """The instant at which `poll` is to be called, if nothing happens before; None: not until something does."""
        at, unblocked = self._timers.next, self._unblocked
        if unblocked < at:
            return unblocked
        return None if at == math.inf else at

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return len(self._running)

    def may_shadow(self) -> bool:
        """Take a token for a copy of a call whose answer nobody waits for; False: do not send it."""
        return self.budget.take(Extra.SHADOW)

    # What the shell tells ------------------------------------------------------------------------------------------

    def submit(self, now: float, call: Call) -> list[Action]:
        """A call wants an answer.

        Raises
        ------
        DeclarationError
            A call with this id is in progress.
        """
        if call.id in self._flights:
            raise DeclarationError(f"a call {call.id!r} is in progress", hint="give each call an id of its own")
        flight = self._flights[call.id] = Flight(call)
        if call.without:
            flight.tried = flight.barred = call.without
        actions: list[Action] = []
        admission, left = self.admission, call.deadline - now
        # It need not queue when nobody waits, its deadline leaves enough, and an upstream can take it.
        if not admission.places and (not admission.rules.enabled or 0 < left >= self.selection.usual(now, call)):
            able = self._able(now, flight)
            if able:
                admission.straight(now, call)
                self._start(now, flight, able, actions)
                return actions
        self._enqueue(now, flight, actions)
        return self._pump(now, actions)

    def on_first_token(self, now: float, attempt: int) -> list[Action]:
        """The first byte of an attempt's answer came. Of attempts that have ended nothing needs to be told."""
        actions: list[Action] = []
        running = self._running.get(attempt)
        if running is not None and running.lease.first_at is None:
            flight = running.flight
            running.upstream.first_token(now, running.lease)
            running.begin(now)
            flight.winner = running
            if len(flight.running) > 1:
                self._stop_others(now, running, actions)
            actions.append(Deliver(running.attempt))
            self._arm(now, running)
        return self._pump(now, actions)

    def on_progress(self, now: float, attempt: int, written: int = 0) -> None:
        """More of the answer came: the stream is not stalled. `written`: tokens that have come so far, about."""
        running = self._running.get(attempt)
        if running is not None:
            running.idle_by = now + running.attempt.clock.idle
            if written > running.came:
                running.came = written

    def on_end(self, now: float, attempt: int, usage: Usage | None, limits: Limits = NOTHING) -> list[Action]:
        """An attempt's answer is complete."""
        actions: list[Action] = []
        running = self._running.pop(attempt, None)
        if running is not None:
            flight, upstream, lease = running.flight, running.upstream, running.lease
            if lease.first_at is None:
                if len(flight.running) > 1:
                    self._stop_others(now, running, actions)
                actions.append(Deliver(running.attempt))
            flight.running.remove(running)
            upstream.end(now, lease, usage, limits)
            self.budget.on_success()
            call = flight.call
            if usage is not None:
                flight.pay(self.billing.settle(running.hold, upstream.model, usage))
            else:  # nobody says what it took: what it has cost is not known, and the budget pays an estimate
                self.billing.settle(running.hold, upstream.model, Usage(call.prompt_tokens, running.written(now)))
                flight.pay(None)
            del self._flights[call.id]
            flight.winner = None  # a cycle would be left to the garbage collector
            actions.append(Done(call, running.attempt, usage, flight.cost))
        return self._pump(now, actions)

    def on_failure(self, now: float, attempt: int, failure: Failure, limits: Limits = NOTHING) -> list[Action]:
        """An attempt failed: refused, reset, truncated."""
        actions: list[Action] = []
        running = self._running.get(attempt)
        if running is not None:
            self._fail(now, running, failure, limits, actions)
        return self._pump(now, actions)

    def cancel(self, now: float, call: str) -> list[Action]:
        """The client went away: everything that is done for the call stops."""
        actions: list[Action] = []
        flight = self._flights.get(call)
        if flight is not None:
            self._refuse(now, flight, Reason.CANCELLED, actions)
        return self._pump(now, actions)

    def poll(self, now: float) -> list[Action]:
        """Time has passed: what is due now."""
        actions: list[Action] = []
        for name in self._timers.due(now):
            self._check(now, self._flights[name], actions)
        return self._pump(now, actions)

    # Starting ------------------------------------------------------------------------------------------------------

    def _enqueue(self, now: float, flight: Flight, actions: list[Action]) -> None:
        flight.retry_at = None
        self._time(flight)
        for call, why in self.admission.offer(now, flight.call, again=flight.failures > 0):
            self._refuse(now, self._flights[call.id], self._reason(now, call, why), actions)

    def _pump(self, now: float, actions: list[Action]) -> list[Action]:
        """Start whatever waits and fits."""
        self._timers.forget()
        self._unblocked = math.inf
        if not self.admission.places:
            return actions
        untried = self.selection.widen(now, self.admission.reserved(now))
        while self.admission.places:
            able: list[Upstream] = []

            def fits(call: Call, able: list[Upstream] = able) -> bool:
                able[:] = self._able(now, self._flights[call.id])
                return bool(able)

            found = self.admission.take(
                now, lambda call: self.selection.usual(now, call), fits, lambda call: self._closed(now, call), untried
            )
            for call, why in found.turned:
                self._refuse(now, self._flights[call.id], self._reason(now, call, why), actions)
            if found.call is None:
                break
            flight = self._flights[found.call.id]
            self._start(now, flight, able, actions)
        if (waiting := self.admission.peek()) is not None:
            wait = self.selection.wait(now, waiting, self.admission.reserved(now, waiting))
            self._unblocked = now + max(wait, _TICK)
        return actions

    def _able(self, now: float, flight: Flight) -> Sequence[Upstream]:
        """Upstreams that can take the call now: those that have not failed it, or else any that may still be asked."""
        call, tried, reserved = flight.call, flight.tried, self.admission.reserved(now, flight.call)
        fresh = self.selection.able(now, call, reserved=reserved, without=tried)
        if fresh or tried == flight.barred:
            return fresh
        return self.selection.able(now, call, reserved=reserved, without=flight.barred)

    def _closed(self, now: float, call: Call) -> float:
        """Seconds for which no upstream that may still be asked will take the call; 0: it may be less."""
        return self.selection.closed(now, call, without=self._flights[call.id].barred)

    def _reason(self, now: float, call: Call, turned: Turned) -> Reason:
        if turned is not Turned.CLOSED:
            return _REASONS[turned]
        limits = self.selection.limits(now, call, without=self._flights[call.id].barred)
        if limits == {Failure.QUOTA}:
            return Reason.NO_CREDIT
        return Reason.RATE_LIMITED if limits else Reason.EJECTED

    def _start(
        self,
        now: float,
        flight: Flight,
        able: Sequence[Upstream],
        actions: list[Action],
        *,
        beside: Extra | None = None,
    ) -> bool:
        """Start an attempt, or refuse the call for want of money (`beside` another attempt: do nothing); whether it was
        started."""
        call = flight.call
        upstream = self.selection.choose(now, call, able)
        hold = self.billing.reserve(now, call, upstream.model)
        if hold is None:
            if beside is None:
                self._too_poor(now, flight, upstream, actions)
            return False
        extra = flight.next if beside is None else beside
        if extra is None:
            self.budget.on_start()
        usual = upstream.latencies.usual(now, call)
        clock = self.policies.timeouts.clock(now, call.deadline, stream=call.stream, expected=usual, last=call.last)
        attempt = Attempt(next(self._numbers), call, upstream.name, extra, now, clock)
        hedge_at = self._hedge_at(now, call, upstream) if call.repeatable and beside is None else None
        running = Running(flight, attempt, upstream, upstream.start(now, call), hold, clock.elsewhere, hedge_at)
        self._running[attempt.id] = running
        flight.running.append(running)
        self._arm(now, running)
        actions.append(Start(attempt))
        return True

    def _too_poor(self, now: float, flight: Flight, upstream: Upstream, actions: list[Action]) -> None:
        """Refuse a call for want of money, which may be free again as soon as another ends."""
        if self.billing.held_up(now, flight.call, upstream.model):
            self._refuse(now, flight, Reason.SET_ASIDE, actions, retry_after=_FREED)
        else:
            self._refuse(now, flight, Reason.OVER_BUDGET, actions, retry_after=self.billing.wait(now))

    def _hedge_at(self, now: float, call: Call, upstream: Upstream) -> float | None:
        """When an attempt that begins there now is late enough to be hedged (instant); None: never."""
        kind = (upstream.name, call.kind)
        at, late = self._delays.get(kind, _NEVER)
        if now - at > _SOON:
            peers = (one.latencies for one in self.selection.upstreams if one.tier == upstream.tier)
            fill = self.budget.fill(Extra.HEDGE)
            late = self.policies.hedge.delay(now, call, upstream.latencies, fill=fill, others=peers)
            self._delays[kind] = (now, late)
        return None if late is None else now + late

    def _stop_others(self, now: float, running: Running, actions: list[Action]) -> None:
        """The first byte of an attempt came: the first of all wins."""
        for other in [one for one in running.flight.running if one is not running]:
            overtaken = other.attempt.started < running.attempt.started
            self._give_up(now, other, actions, overtaken=overtaken)

    # Time ----------------------------------------------------------------------------------------------------------

    def _check(self, now: float, flight: Flight, actions: list[Action]) -> None:
        """Something of this call may be due."""
        for running in list(flight.running):
            over = running.over(now)
            if over and not (running.flowing(now) and now >= flight.call.deadline):
                actions.append(Stop(running.attempt))
                self._fail(now, running, Failure.TIMEOUT, NOTHING, actions, over)
                if flight.call.id not in self._flights:
                    return
            elif not running.begun:
                if now >= running.late_at:
                    self._late(now, running, actions)
                if running.hedge_at is not None and now >= running.hedge_at:
                    self._hedge(now, running, actions)
        if now >= flight.call.deadline:
            self._refuse(now, flight, Reason.DEADLINE, actions)
            return
        if flight.retry_at is not None and now >= flight.retry_at:
            self._enqueue(now, flight, actions)
        for running in flight.running:
            self._arm(now, running)

    def _hedge(self, now: float, running: Running, actions: list[Action]) -> None:
        running.hedge_at = None
        flight = running.flight
        if len(flight.running) > 1:
            return
        call = flight.call
        allowed = self.policies.hedge.allows(
            now,
            call,
            self.budget,
            usual=self.selection.usual(now, call),
            utilisation=self.selection.utilisation(now),
            failure_share=self.selection.failure_share(now),
        )
        able: Sequence[Upstream] = []
        if allowed:
            here = running.upstream
            elsewhere = flight.tried | {here.name}
            able = self.selection.able(now, call, reserved=self.admission.reserved(now), without=elsewhere)
            # A probe that hangs must not be paired with a second probe, nor a hedge sent where it helps nobody.
            able = [one for one in able if one.tier == here.tier and one.breaker.state(now) is State.CLOSED]
        if not self._beside(now, flight, able, Extra.HEDGE, actions):
            running.hedge_at = now + _SOON

    def _late(self, now: float, running: Running, actions: list[Action]) -> None:
        """An attempt shows nothing: its call is tried elsewhere as well, and it goes on."""
        flight, here = running.flight, running.upstream
        call = flight.call
        running.late_at = now + _SOON
        if now >= running.attempt.clock.first_token:
            here.late(now, running.lease)
        tries = flight.failures + len(flight.running)
        if not call.repeatable or len(flight.running) > 1 or tries >= self.policies.retry.attempts:
            return
        if call.deadline - now < self.selection.usual(now, call):
            return
        able = self.selection.able(now, call, reserved=0.0, without=flight.tried | {here.name})
        able = [one for one in able if one.breaker.state(now) is State.CLOSED]
        if not able and here.misses(now, running.lease) and here.wait(now, call) <= 0:
            able = [here]  # nobody else: once more where it is known to take less
        if able:
            kind = Extra.FALLBACK if able[0].tier > here.tier else Extra.RETRY
            self._beside(now, flight, able, kind, actions)

    def _beside(self, now: float, flight: Flight, able: Sequence[Upstream], kind: Extra, actions: list[Action]) -> bool:
        """Start another attempt beside one that is under way, if the budget and the money allow it."""
        if not able or not self.budget.allows(kind) or not self._start(now, flight, able, actions, beside=kind):
            return False
        return self.budget.take(kind)

    # Ending --------------------------------------------------------------------------------------------------------

    def _fail(
        self, now: float, running: Running, failure: Failure, limits: Limits, actions: list[Action], over: str = ""
    ) -> None:
        """An attempt failed: try again, wait for another attempt that is under way, or give the call up."""
        flight, name = running.flight, running.upstream.name
        self._close(running)
        running.upstream.fail(now, running.lease, failure, limits)
        written = 0 if failure is Failure.CONNECTION and not flight.call.stream else running.written(now)
        self._pay(running, read_anyway(flight.call, failure, written))
        flight.failures += 1
        flight.last, flight.over = failure, over
        flight.tried |= {name}
        if failure.retry is Where.ELSEWHERE:
            flight.barred |= {name}
        if flight.winner is running and flight.call.stream:
            self._refuse(now, flight, Reason.BROKEN, actions)
        elif not flight.running:
            self._again(now, running, failure, limits, actions)

    def _again(self, now: float, running: Running, failure: Failure, limits: Limits, actions: list[Action]) -> None:
        flight, call = running.flight, running.flight.call
        others = self.selection.able(now, call, reserved=0.0, without=flight.tried)
        at = self.policies.retry.decide(
            now,
            call,
            failure,
            failures=flight.failures,
            others=bool(others),
            random=self._random,
            retry_after=limits.retry_after,
            seen=flight.winner is not None,
            usual=self.selection.usual(now, call),
        )
        lower = bool(others) and others[0].tier > running.upstream.tier
        kind = Extra.FALLBACK if lower else Extra.RETRY
        if at is None or not self.budget.take(kind):
            late = now >= call.deadline
            self._refuse(now, flight, Reason.DEADLINE if late else Reason.FAILED, actions, limits.retry_after)
            return
        flight.next, flight.winner = kind, None
        if at <= now:
            self._enqueue(now, flight, actions)
        else:
            flight.retry_at = at
            self._timers.set(at, call.id)
            self._time(flight)

    def _refuse(
        self, now: float, flight: Flight, reason: Reason, actions: list[Action], retry_after: float | None = None
    ) -> None:
        """The call ends without an answer."""
        for running in list(flight.running):
            self._give_up(now, running, actions)
        self.admission.withdraw(flight.call)
        closed: tuple[Pause | Full, ...] = ()
        if reason.of_closed:
            retry_after = self._closed(now, flight.call)
            closed = self.selection.paused(now, without=flight.barred)
        elif reason.of_load:
            closed = self.selection.full(self.admission.reserved(now, flight.call), without=flight.barred)
        del self._flights[flight.call.id]
        flight.winner = None
        if retry_after is None and reason in (Reason.SHED, Reason.QUEUE_FULL):
            wait = self.selection.wait(now, flight.call)
            retry_after = max(1.0, self.admission.oldest(now), 0.0 if math.isinf(wait) else wait)
        actions.append(Refused(flight.call, reason, flight.last, retry_after, flight.cost, flight.over, closed))

    def _give_up(self, now: float, running: Running, actions: list[Action], *, overtaken: bool | None = None) -> None:
        """Stop an attempt that is not needed any more."""
        self._close(running)
        running.upstream.give_up(now, running.lease, overtaken=overtaken)
        self._pay(running, read_anyway(running.attempt.call, Failure.CANCELLED, running.written(now)))
        actions.append(Stop(running.attempt))

    def _close(self, running: Running) -> None:
        running.flight.running.remove(running)
        del self._running[running.attempt.id]

    def _pay(self, running: Running, usage: Usage | None) -> None:
        running.flight.pay(self.billing.settle(running.hold, running.upstream.model, usage))

    def _arm(self, now: float, running: Running) -> None:
        """See to it that the attempt is looked at when something of it may be wrong."""
        due, armed = running.due(), running.armed
        if armed <= now or due < armed:
            running.armed = due
            self._timers.set(due, running.attempt.call.id)

    def _time(self, flight: Flight) -> None:
        """See to it that a call that waits is looked at when its deadline passes."""
        if not flight.timed:
            flight.timed = True
            self._timers.set(flight.call.deadline, flight.call.id)
