"""Everything about a model's upstreams that a user can set, with its defaults; validated when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.models.admission import AdmissionRules
from headrace.models.balancer import Balancer
from headrace.models.bounds import STRICT, Count, Factor, NotNegative, Positive, Seconds, Share
from headrace.models.breaker import BreakerRules
from headrace.models.budget import Extra, ResilienceBudget
from headrace.models.concurrency import Aimd, Fixed, Gradient, Limit
from headrace.models.deadline import Timeouts
from headrace.models.hedge import Hedge
from headrace.models.quota import Quota
from headrace.models.retry import RetryRules

Name = Annotated[str, Field(min_length=1, max_length=100)]


@dataclass(frozen=True, slots=True)
class ConcurrencyRules:
    """How much may be in flight per upstream (see `concurrency.py`).

    Parameters
    ----------
    kind
        `auto`: `aimd` for hosted APIs, `gradient` for servers of one's own. `fixed`: `initial`, always.
    initial, least, most
        Where it starts and between what it stays (attempts).
    factor
        What is left after a signal of overload.
    tolerance
        How much slower than in the long run is still well (`gradient`).
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["auto", "aimd", "gradient", "fixed"] = "auto"
    initial: Count = 32
    least: Count = 1
    most: Count = 512
    factor: Share = 0.9
    tolerance: Factor = 1.5

    def make(self, *, local: bool) -> Limit:
        """The limit of one upstream."""
        kind = self.kind if self.kind != "auto" else ("gradient" if local else "aimd")
        if kind == "fixed":
            return Fixed(self.initial)
        if kind == "aimd":
            return Aimd(self.initial, self.least, self.most, self.factor)
        return Gradient(self.initial, self.least, self.most, self.tolerance)


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """How many attempts beyond the first there may be (see `budget.py`).

    Parameters
    ----------
    deposit, cap
        What a success adds, and the most that is saved up (extra attempts).
    hedges, shadows
        Shares of all calls that may be hedged, and shadowed.
    burst
        Most hedges, and most shadows, at once.
    unlimited
        Grants everything (to compare with).
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    deposit: NotNegative = 0.1
    cap: Positive = 20.0
    hedges: Share = 0.025
    shadows: Share = 0.05
    burst: Positive = 5.0
    unlimited: bool = False

    def make(self) -> ResilienceBudget:
        """The budget of one model."""
        shares = {Extra.HEDGE: self.hedges, Extra.SHADOW: self.shadows}
        return ResilienceBudget(self.deposit, self.cap, shares, self.burst, self.unlimited)


@dataclass(frozen=True, slots=True)
class QuotaRules:
    """How rate limits are kept (see `quota.py`).

    Parameters
    ----------
    enabled
        Off: headers are not read and nothing is reserved.
    headroom
        Share of the refill that is left unused.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    enabled: bool = True
    headroom: Share = 0.05


@dataclass(frozen=True, slots=True)
class AffinityRules:
    """Whether calls of a session prefer one upstream (see `affinity.py`).

    Parameters
    ----------
    enabled
        Off: sessions mean nothing.
    bound
        Most load of an upstream, in averages.
    patience
        How many times slower than the best a preferred upstream may be.
    floor
        How much slower (seconds) it may be at least, whatever the factor is.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    enabled: bool = True
    bound: Factor = 1.25
    patience: Factor = 3.0
    floor: Seconds = 0.05


class Policies(BaseModel):
    """The policies of one model: a section for each, all of them optional.

    Examples
    --------
    >>> Policies.model_validate({"hedge": {"floor": "200ms"}}).hedge.floor
    0.2
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    balancer: Balancer = Balancer()
    affinity: AffinityRules = AffinityRules()
    concurrency: ConcurrencyRules = ConcurrencyRules()
    quota: QuotaRules = QuotaRules()
    breaker: BreakerRules = BreakerRules()
    budget: BudgetRules = BudgetRules()
    hedge: Hedge = Hedge()
    retry: RetryRules = RetryRules()
    timeouts: Timeouts = Timeouts()
    admission: AdmissionRules = AdmissionRules()


class UpstreamSpec(BaseModel):
    """One place where a model can be called.

    Attributes
    ----------
    name
        Unique among the upstreams of a model.
    model
        Its model, as the table of prices names it.
    local
        A server of one's own, which queues, rather than a hosted API, which refuses.
    tier
        0: used as long as one of this tier can be; 1, 2, ...: fallbacks, in this order.
    requests_per_minute, tokens_per_minute
        Known limits; others are learnt from headers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    model: str = ""
    local: bool = False
    tier: Annotated[int, Field(ge=0)] = 0
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None

    def quota(self, rules: QuotaRules) -> Quota:
        """Its rate limits."""
        if not rules.enabled:
            return Quota()
        return Quota(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            headroom=rules.headroom,
        )
