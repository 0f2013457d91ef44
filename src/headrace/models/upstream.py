"""One upstream as the router sees it: what it has in flight, how it has been lately, and whether it can take a call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from msgspec import Struct

from headrace.models.balancer import Load
from headrace.models.breaker import Breaker, State
from headrace.models.call import Call, Usage
from headrace.models.failure import Failure
from headrace.models.headers import NOTHING, Limits
from headrace.models.latency import Latencies
from headrace.models.pause import Pause
from headrace.models.quota import Reservation
from headrace.models.settings import Policies, UpstreamSpec

_UNSCORED = frozenset({Failure.BAD_REQUEST, Failure.CANCELLED})
"""Failures that say nothing about how soon an answer would come."""
_TAKEN = 0.5
"""Seconds after which what a hosted API has not refused is taken: refusals come in a round trip."""
_WRITING = 0.1
"""How much an answer being written delays the next first token, against a prompt being read: many answers are written
at once, while long prompts are read one after the other."""


class Lease(Struct, gc=False):
    """What one attempt holds of an upstream until it ends.

    Attributes
    ----------
    probe
        Whether it shows if an ejected upstream is well again.
    in_flight
        Attempts there when it began, this one included.
    first_weight, rest_weight
        What it adds to the work in flight until its first token, and until its end.
    seen_work
        As of its call.
    first_at
        When its first byte came.
    late
        Whether it was held against the upstream that it has not come.
    """

    call: Call
    started: float
    probe: bool
    held: Reservation
    in_flight: int
    first_weight: float
    rest_weight: float
    seen_work: float
    first_at: float | None = None
    late: bool = False


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
    pause
        That it is paused, as it wants it; None: it is not.
    """

    upstream: str
    model: str
    tier: int
    in_flight: int
    limit: float
    state: str
    failure_share: float
    pause: Pause | None = None


class Upstream(Load):
    """State of one upstream: attempts take a lease, and give it back in exactly one way.

    To the balancer it is a `Load`. Its limit, its quota and its breaker are for others to read: they change here, where
    `sure` is kept in step with them.

    Examples
    --------
    >>> upstream = Upstream(UpstreamSpec(name="a"), Policies(), Random(1))
    >>> call = Call("1", prompt_tokens=100, output_tokens=50, deadline=30.0)
    >>> upstream.wait(0.0, call)
    0.0
    >>> lease = upstream.start(0.0, call)
    >>> upstream.first_token(0.4, lease)
    >>> upstream.end(1.4, lease, Usage(100, 40))
    >>> upstream.in_flight, round(upstream.score.last, 2)
    (0, 0.38)
    """

    def __init__(self, spec: UpstreamSpec, policies: Policies, random: Random) -> None:
        balancer = policies.balancer
        super().__init__(spec.name, balancer.decay, penalty=balancer.aversion * policies.timeouts.first_token)
        self.spec = spec
        self.tier = spec.tier
        self.model = spec.model
        self.policies = policies
        self.limit = policies.concurrency.make(local=spec.local)
        self.quota = spec.quota(policies.quota)
        self.breaker = Breaker(policies.breaker, random)
        self.latencies = Latencies()
        self.in_flight = 0
        self._keeps_quota = policies.quota.enabled
        self._by_work = policies.balancer.weigh == "work"
        self._filled = math.inf
        """When a call first had to wait for the limit alone since it doubled or was half free; infinite: none had."""
        self._overloaded = math.inf
        """When it said that it is overloaded, where no attempt that began later has been answered."""
        self._heard = -math.inf
        """When a first byte came last, or a failure that was no timeout."""
        self._mute = -math.inf
        """When the first of the attempts began that were given up since, after `patience`."""
        self._took = 0.0
        """How long the last first byte took (seconds)."""
        self.sure = 0.0
        """A call of fewer tokens than this can start now, where nothing is reserved. `wait` knows about all others."""
        self._reckon()

    def seen(self, now: float) -> UpstreamState:
        """What is known of it now."""
        return UpstreamState(
            self.name,
            self.model,
            self.tier,
            self.in_flight,
            self.limit.current,
            self.breaker.state(now).value,
            self.breaker.failure_share(now),
            self.paused(now),
        )

    def paused(self, now: float) -> Pause | None:
        """Whether it is left alone, as it wants it."""
        seconds = self.quota.paused(now)
        return Pause(self.name, seconds, self.quota.why) if seconds else None

    def wait(self, now: float, call: Call, reserved: float = 0.0, panic: bool = False) -> float:
        """Seconds until it can take the call: 0 now; infinite when it waits for an attempt to end.

        Parameters
        ----------
        reserved
            Share of the concurrency that this call must leave free.
        panic
            Whether to use it although it is ejected.
        """
        if self.breaker.ejected and not panic and not self.breaker.allows(now):
            return max(self.breaker.until - now, 0.0) or math.inf
        if self.in_flight >= self.room(reserved):
            return self._taken(now)
        return self.quota.wait(now, call.prompt_tokens, call.output_tokens)

    def _taken(self, now: float) -> float:
        """Seconds until what is in flight counts as taken, so that the limit may grow; infinite: only an end helps."""
        if self.limit.found:
            return math.inf
        if self._filled == math.inf:
            self._filled = now
        return self._filled + _TAKEN - now if now < self._filled + _TAKEN else math.inf

    def room(self, reserved: float) -> int:
        """How much may be in flight, that share left free."""
        return max(int(self.limit.current * (1 - reserved)), 1) if reserved else self.limit.current

    def widen(self, now: float, reserved: float) -> bool:
        """Whether it is closed by a limit that it has not shown itself: it might take more. If it has refused nothing
        for a while, it is tried."""
        if self.limit.found or self.in_flight < self.room(reserved):
            return False
        if not self.breaker.allows(now) or self.quota.paused(now):
            return False
        if now - self._filled >= _TAKEN:
            self._filled = math.inf
            self.limit.on_taken()
            self._reckon()
        return True

    def closed(self, now: float, call: Call, *, panic: bool) -> float:
        """Seconds for which a rate limit or its ejection keeps the call out, whatever ends there; 0: it may be less."""
        ejected = 0.0 if panic else self.breaker.closed(now, pressed=call.repeatable)
        return max(ejected, self.quota.closed(now, call.prompt_tokens, call.output_tokens))

    def awaits_probe(self, now: float) -> bool:
        """Whether it is ejected and its time is up."""
        return self.breaker.state(now) is State.HALF_OPEN

    def start(self, now: float, call: Call) -> Lease:
        """An attempt begins; only when `wait` is 0."""
        held = self.quota.take(now, call.prompt_tokens, call.output_tokens)
        first, rest = call.first_work, call.rest_work
        seen = first if call.stream else first + rest
        if self._by_work:
            rest *= _WRITING
        else:
            first, rest = 1.0, 0.0
        self.started += 1
        self.in_flight += 1
        self.work += first + rest
        probe = self.breaker.ejected and self.breaker.begin(now)
        self._reckon()
        return Lease(call, now, probe, held, self.in_flight, first, rest, seen)

    def first_token(self, now: float, lease: Lease, *, whole: bool = False) -> None:
        """Its first byte came; `whole`: and its last with it."""
        seconds = now - lease.started
        lease.first_at = self._heard = now
        self._took = seconds
        if lease.probe:
            self.forget()
        self.trouble.count(now, bad=False)
        if lease.started >= self._overloaded:
            self._overloaded = math.inf
        self.score.observe(now, seconds / lease.seen_work)
        self.work -= lease.first_weight
        self.quota.on_success()
        self.limit.on_first_token(lease.in_flight, seconds, lease.seen_work)
        if whole:
            self.latencies.whole(now, lease.call, seconds)
        else:
            self.latencies.first(now, lease.call, seconds)
            self._reckon()

    def end(self, now: float, lease: Lease, usage: Usage | None, limits: Limits = NOTHING) -> None:
        """It ended well."""
        took = now - lease.started
        if lease.first_at is None:
            self.first_token(now, lease, whole=True)
        else:
            self.latencies.total(now, lease.call, took)
        self._leave(now, lease, usage, limits)
        self.breaker.on_success(now, lease.started)
        self._reckon()

    def fail(self, now: float, lease: Lease, failure: Failure, limits: Limits = NOTHING) -> None:
        """It failed."""
        self._leave(now, lease, None, limits)
        if failure is not Failure.TIMEOUT:
            self._heard = now
        elif lease.late and lease.first_at is None:
            self._reckon()  # it was told when it was late
            return
        if failure not in _UNSCORED:
            self._score(now, lease, failure)
        if failure in (Failure.RATE_LIMITED, Failure.QUOTA) and self._keeps_quota:
            self.quota.on_refusal(now, failure, limits.retry_after, lease.started)
        if failure.means_too_much and not self._stray(now, failure):
            tried = math.inf if failure is Failure.TIMEOUT else float(self.in_flight)
            self.limit.on_too_much(now, lease.started, tried)
        self.breaker.on_failure(now, failure, probe=lease.probe)
        self._reckon()

    def _stray(self, now: float, failure: Failure) -> bool:
        """Whether it says that it is overloaded, and had not since an attempt that began later was answered: providers
        do so now and then, however little runs there. The second time it is too much."""
        if failure is not Failure.OVERLOADED or self._overloaded < math.inf:
            return False
        self._overloaded = now
        return True

    def late(self, now: float, lease: Lease) -> None:
        """Its first byte is later than `timeouts.first_token`. Unless that is usual here, it is a failure already."""
        if lease.late or not self._unusual(now, lease):
            return
        lease.late = True
        self._score(now, lease, Failure.TIMEOUT)
        if 2 * lease.in_flight >= self.limit.current:  # of few at once it says nothing about too many
            self.limit.on_too_much(now, lease.started)
        self._blame(now, lease)
        self._reckon()

    def give_up(self, now: float, lease: Lease, *, overtaken: bool | None = None) -> None:
        """It is cancelled: all that is known is that it took at least so long.

        It is held against the upstream when it had waited for long, and nothing came from there to anybody meanwhile.
        Where clients leave before a timeout, nothing else would ever show that it hangs.

        Parameters
        ----------
        overtaken
            Another attempt of the call was faster. If that began later, it is held against this one; if it began sooner
            (False), it says nothing. None: the client left.
        """
        waited = now - lease.started
        silent = False
        if lease.first_at is None:
            if not lease.late:
                patient = overtaken is not False and waited >= self.policies.breaker.patience
                silent = patient and self._silent(now, lease)
                self.trouble.count(now, bad=overtaken or silent)
            self.latencies.first(now, lease.call, waited)
            sample = waited / lease.seen_work
            if not self.score.measured or sample > self.score.last:
                self.score.observe(now, sample)
        self._leave(now, lease, None, NOTHING)
        if silent:
            self._blame(now, lease)
        else:
            self.breaker.on_given_up(probe=lease.probe)
        self._reckon()

    def misses(self, now: float, lease: Lease) -> bool:
        """Whether an attempt that shows nothing takes longer than is known to be usual here."""
        return self._usual(now, lease) > 0 and self._unusual(now, lease)

    def _unusual(self, now: float, lease: Lease) -> bool:
        """Whether it has waited for more than twice the usual time to a first byte, as far as that is known."""
        return now - lease.started > 2 * self._usual(now, lease)

    def _silent(self, now: float, lease: Lease) -> bool:
        """Whether nothing has come from here since it began, nor in twice the usual time to a first byte."""
        if self._heard > lease.started:
            return False
        if self._heard > self._mute or self._mute == -math.inf:
            self._mute = lease.started
        return now - self._mute > 2 * self._usual(now, lease)

    def _usual(self, now: float, lease: Lease) -> float:
        """Seconds to a first byte: the median, or what it last took where few came lately; 0 if none ever came."""
        usual = self.latencies.first_quantile(now, lease.call, 0.5)
        return self._took if usual is None else usual

    def _blame(self, now: float, lease: Lease) -> None:
        self.breaker.on_failure(now, Failure.TIMEOUT, probe=lease.probe)
        lease.probe = False

    def _score(self, now: float, lease: Lease, failure: Failure) -> None:
        """What a failure does to the standing of the upstream.

        It counts as a timeout in the share of trouble. The peak is left to attempts that did take long: one refusal at
        the limit of what runs at once says nothing about the next call, and would send everything elsewhere.
        """
        elapsed = (now - lease.started) / lease.seen_work
        if self.policies.balancer.failures == "elapsed":
            self.score.observe(now, elapsed)
            return
        self.trouble.count(now, bad=True)
        if not self.score.measured:
            self.score.observe(now, self.policies.timeouts.first_token)
        elif failure is Failure.TIMEOUT and lease.first_at is None:
            self.score.observe(now, max(elapsed, self.score.last))

    def _reckon(self) -> None:
        """Something has happened here: see what is sure until something else does. Time alone takes nothing away."""
        full = self.in_flight >= self.limit.current or self.breaker.ejected
        self.sure = 0.0 if full else self.quota.sure

    def _leave(self, now: float, lease: Lease, usage: Usage | None, limits: Limits) -> None:
        self.in_flight -= 1
        if self._filled < math.inf and 2 * self.in_flight < self.limit.current:
            self._filled = math.inf
        self.work -= lease.rest_weight
        if lease.first_at is None:
            self.work -= lease.first_weight
        if self.in_flight == 0:
            self.work = 0.0  # what additions and subtractions of floats have left over
        self.quota.settle(now, lease.held, usage)
        if self._keeps_quota:
            self.quota.observe(now, limits)
