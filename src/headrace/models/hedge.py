"""When to send a call a second time because its first byte is late; whoever gives the first token wins.

The clock is the time to the first byte of such calls at this upstream (same model, stream or not, same size of prompt).
Past its 95th percentile one call in twenty is late for no fault, and a hung one always is. As the budget empties, the
percentile rises to the 99th: the last hedges go to calls that are surely stuck, not to the slow end of the healthy.

An upstream that hangs on one call in ten has its own 95th percentile among the hung ones, and would never be late by
it. So the percentile of the best upstream counts where it is lower, but never less than twice this one's median: an
upstream that is slow as a rule is the balancer's business.

A hedge is load, and load is what most slowness comes from. So there is none

- while the upstreams are nearly full, or many attempts fail: everything would be hedged, and made slower;
- when the deadline does not leave enough for a whole call;
- before enough is known of what is usual;
- for calls that must not run twice.

The attempt that is late and given up counts as an observation (`Latencies`), else the percentile would sink with
every hedge.

References
----------
J. Dean, L. A. Barroso: The tail at scale. CACM 56(2), 2013.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from headrace.models.bounds import STRICT, Seconds, Share
from headrace.models.budget import Extra, ResilienceBudget
from headrace.models.call import Call
from headrace.models.latency import Latencies


@dataclass(frozen=True, slots=True)
class Hedge:
    """Decides whether and when to hedge.

    Parameters
    ----------
    enabled
        Off: never.
    quantile, last_quantile
        Late is later than this quantile of the time to the first byte, with a full budget and with an empty one.
    floor
        Never earlier than this (seconds).
    busy
        Never when more than this share of the upstreams' concurrency is in use.
    failing
        Never when more than this share of recent attempts failed.

    Examples
    --------
    >>> hedge, known, call = Hedge(), Latencies(), Call("1", 100, 100, deadline=60.0)
    >>> for n in range(100):
    ...     known.first(0.0, call, 0.5 + n / 200)
    >>> hedge.delay(0.0, call, known, fill=1.0)
    0.97...
    >>> hedge.delay(0.0, call, known, fill=0.0)
    0.99...
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    enabled: bool = True
    quantile: Share = 0.95
    last_quantile: Share = 0.99
    floor: Seconds = 0.3
    busy: Share = 0.85
    failing: Share = 0.2

    def delay(
        self, now: float, call: Call, known: Latencies, *, fill: float, others: Iterable[Latencies] = ()
    ) -> float | None:
        """Seconds after its start at which an attempt is late; None: it is not hedged.

        Parameters
        ----------
        known
            Of the upstream that the attempt runs at.
        fill
            How full the budget of hedges is, 0 to 1.
        others
            Of the upstreams that a hedge could go to.
        """
        if not self.enabled or not call.repeatable:
            return None
        q = self.last_quantile - (self.last_quantile - self.quantile) * min(max(fill, 0.0), 1.0)
        own = known.first_quantile(now, call, q)
        median = known.first_quantile(now, call, 0.5)
        if own is None or median is None:
            return None
        best = min((late for one in others if (late := one.first_quantile(now, call, q)) is not None), default=own)
        return max(min(own, max(best, 2 * median)), self.floor)

    def allows(
        self,
        now: float,
        call: Call,
        budget: ResilienceBudget,
        *,
        usual: float,
        utilisation: float,
        failure_share: float,
    ) -> bool:
        """Whether a late attempt may be hedged as things stand.

        Parameters
        ----------
        usual
            Seconds that such a call usually takes.
        utilisation
            Attempts in flight over the concurrency of all upstreams that are in use.
        failure_share
            Of the attempts lately, over all upstreams.
        """
        calm = utilisation <= self.busy and failure_share <= self.failing
        return calm and call.deadline - now >= usual and budget.allows(Extra.HEDGE)
