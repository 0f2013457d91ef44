"""Which upstream takes a call: tiers, ejection and panic, probes, sessions, then the balancer.

1. The lowest tier with an upstream that can take the call now. A higher tier is a fallback.
2. An upstream that waits for its probe gets this call as the probe, if the call may run twice: its score is so bad
   that the balancer would never choose it.
3. A session's upstream, while it is well and not overloaded.
4. Otherwise the balancer.

If none can take it, an ejected one may be probed before its time (`Breaker.presses`). If every upstream is ejected and
none may be probed, the ejected ones are used as if they were not (panic).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from random import Random

from headrace.models.affinity import preferred
from headrace.models.call import Call
from headrace.models.failure import Failure
from headrace.models.pause import Full, Pause
from headrace.models.settings import Policies
from headrace.models.upstream import Upstream

_FRESH = 0.5
"""Seconds for which what is usual is not looked up again: each call asks, and it moves slowly."""
_NOBODY: frozenset[str] = frozenset()
_NEVER = (-math.inf, 0.0)


class Selection:
    """Chooses among the upstreams of one model.

    Parameters
    ----------
    upstreams
        All of them; the order does not matter.
    policies
        Of the balancer and of affinity.
    random
        Draws for the balancer.
    """

    def __init__(self, upstreams: Sequence[Upstream], policies: Policies, random: Random) -> None:
        self.upstreams = tuple(sorted(upstreams, key=lambda one: (one.spec.tier, one.name)))
        self._by_name = {one.name: one for one in self.upstreams}
        tiers = sorted({one.tier for one in self.upstreams})
        self._tiers = [tuple(one for one in self.upstreams if one.tier == tier) for tier in tiers]
        self._affinity = policies.affinity
        self._balancer = policies.balancer
        self._usual: dict[int, tuple[float, float]] = {}
        self._random = random

    def named(self, name: str) -> Upstream:
        """The upstream of this name."""
        return self._by_name[name]

    def panics(self, now: float) -> bool:
        """Whether every upstream is ejected."""
        return not any(one.breaker.allows(now) for one in self.upstreams)

    def able(
        self, now: float, call: Call, *, reserved: float, without: Collection[str] = _NOBODY
    ) -> Sequence[Upstream]:
        """The upstreams of the lowest tier that can take the call now, without those named."""
        if not reserved and not without:
            first, tokens = self._tiers[0], call.prompt_tokens + call.output_tokens
            for one in first:
                if tokens >= one.sure:
                    break
            else:
                return first  # as nearly always
        panic = self.upstreams[0].breaker.ejected and self.panics(now)
        for tier in self._tiers:
            asked = [one for one in tier if one.name not in without] if without else tier
            found = [one for one in asked if one.wait(now, call, reserved, panic) <= 0]
            if found:
                return found
        if not call.repeatable:
            return []
        pressed = (one for one in self.upstreams if one.name not in without and one.breaker.presses(now))
        return [one for one in pressed if one.wait(now, call, reserved, True) <= 0]

    def choose(self, now: float, call: Call, able: Sequence[Upstream]) -> Upstream:
        """The upstream for this call among those that can take it (at least one)."""
        if able is not self._tiers[0]:  # which `able` hands out itself only where none of it is ejected
            for one in able:
                if one.breaker.ejected and call.repeatable and one.awaits_probe(now):
                    return one
        affinity = self._affinity
        if call.session and affinity.enabled:
            weight = call.first_work + call.rest_work
            kept = preferred(
                now,
                call.session,
                able,
                work=weight,
                bound=affinity.bound,
                patience=affinity.patience,
                floor=affinity.floor,
            )
            if kept is not None:
                return self._by_name[kept.name]
        return self._balancer.pick(now, able, self._random)

    def wait(self, now: float, call: Call, reserved: float = 0.0) -> float:
        """Seconds until time alone may let the call start (a quota, the end of an ejection); infinite: it will not."""
        panic = self.panics(now)
        waits = [one.wait(now, call, reserved, panic) for one in self.upstreams]
        return min((wait for wait in waits if wait > 0), default=math.inf)

    def closed(self, now: float, call: Call, *, without: Collection[str] = _NOBODY) -> float:
        """Seconds for which rate limits and ejections keep the call out of every upstream, without those named.

        0 where an attempt that ends could make room: when that is, nobody knows.
        """
        panic = self.panics(now)
        first = math.inf
        for one in self.upstreams:
            if one.name not in without:
                first = min(first, one.closed(now, call, panic=panic))
                if first <= 0:
                    return 0.0
        return first if first < math.inf else 0.0

    def widen(self, now: float, reserved: float) -> bool:
        """Whether any is closed by a limit that it has not shown itself; where nothing was refused, that grows."""
        return sum(one.widen(now, reserved) for one in self.upstreams) > 0

    def limits(self, now: float, call: Call, *, without: Collection[str] = _NOBODY) -> set[Failure]:
        """What keeps the call out of any of them now: rate limits, or that no credit is left."""
        asked = [one.quota for one in self.upstreams if one.name not in without]
        closed = [quota for quota in asked if quota.closed(now, call.prompt_tokens, call.output_tokens) > 0]
        return {quota.why if quota.paused(now) else Failure.RATE_LIMITED for quota in closed}

    def paused(self, now: float, *, without: Collection[str] = _NOBODY) -> tuple[Pause, ...]:
        """Which of them are left alone, as they want it."""
        pauses = (one.paused(now) for one in self.upstreams if one.name not in without)
        return tuple(pause for pause in pauses if pause is not None)

    def full(self, reserved: float, *, without: Collection[str] = _NOBODY) -> tuple[Full, ...]:
        """Which of them have as much in flight as they may, that share left free; or had until one ended just now."""
        asked = (one for one in self.upstreams if one.name not in without)
        loads = ((one, one.room(reserved)) for one in asked)
        return tuple(Full(one.name, one.in_flight, room) for one, room in loads if one.in_flight + 1 >= room)

    def utilisation(self, now: float) -> float:
        """Attempts in flight over the concurrency of the upstreams that are not ejected."""
        used = [one for one in self.upstreams if one.breaker.allows(now)]
        room = sum(one.limit.current for one in used)
        return sum(one.in_flight for one in used) / room if room else 1.0

    def failure_share(self, now: float) -> float:
        """The share of attempts that failed lately, averaged over the upstreams that are not ejected."""
        shares = [one.breaker.failure_share(now) for one in self.upstreams if one.breaker.allows(now)]
        return sum(shares) / len(shares) if shares else 1.0

    def usual(self, now: float, call: Call) -> float:
        """Seconds that such a call usually takes at the fastest upstream that knows; 0 while none does."""
        at, value = self._usual.get(call.kind, _NEVER)
        if now - at > _FRESH:
            known = [usual for one in self.upstreams if (usual := one.latencies.usual(now, call)) > 0]
            value = min(known, default=0.0)
            self._usual[call.kind] = (now, value)
        return value
