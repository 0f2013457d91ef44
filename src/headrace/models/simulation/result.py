"""What a run shows: figures per phase, and findings with their uncertainty."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from headrace.models.simulation.driver import Log, Record
from headrace.stats.fairness import jain
from headrace.stats.interval import Interval, quantile, wilson

_T11 = 2.201
"""The two-sided 95 % point of Student's t with 11 degrees of freedom: for the means of 12 batches."""
_BATCHES = 12
_WIDTH = 5.0
"""Seconds in which calls are counted together to see when they are answered again."""


class Verdict(enum.StrEnum):
    """Whether a finding holds, as far as the samples can say."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure against its limit.

    Attributes
    ----------
    name
        What was measured, as a sentence without a verb.
    value
        The estimate with its 95 % interval and the number of samples. A value that was counted and not sampled
        has an interval of no width.
    limit
        What it must not pass.
    at_most
        Whether the limit is an upper one.
    """

    name: str
    value: Interval
    limit: float
    at_most: bool = True

    @property
    def verdict(self) -> Verdict:
        """Undecided when the limit lies within the interval."""
        if math.isnan(self.value.value):
            return Verdict.UNDECIDED
        low, high = (self.value.low, self.value.high) if self.at_most else (-self.value.high, -self.value.low)
        limit = self.limit if self.at_most else -self.limit
        if high <= limit:
            return Verdict.PASS
        return Verdict.FAIL if low > limit else Verdict.UNDECIDED


@dataclass(frozen=True, slots=True)
class Phase:
    """Figures of the calls that came in a span of time.

    Attributes
    ----------
    goodput
        Answers in time per second, by when they ended.
    first_p50, first_p99, total_p50, total_p99
        Seconds to the first byte and to the end, of the answers in time.
    extra
        Attempts beyond the first per call, all kinds together.
    cost
        Money for all attempts of these calls; None where a price is not known.
    fairness
        Jain's index of what each tenant got of its fair share; 1 with one tenant.
    """

    name: str
    start: float
    end: float
    calls: int
    good: int
    goodput: float
    first_p50: Interval
    first_p99: Interval
    total_p50: Interval
    total_p99: Interval
    extra: float
    cost: Decimal | None
    fairness: float
    outcomes: dict[str, int]
    attempts: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """As JSON-ready data; money is text."""
        return {
            "name": self.name,
            "start": self.start,
            "end": self.end,
            "calls": self.calls,
            "good": self.good,
            "goodput": round(self.goodput, 3),
            "first_token_p50": interval_json(self.first_p50),
            "first_token_p99": interval_json(self.first_p99),
            "total_p50": interval_json(self.total_p50),
            "total_p99": interval_json(self.total_p99),
            "extra_load": round(self.extra, 4),
            "cost": None if self.cost is None else str(self.cost),
            "fairness": round(self.fairness, 4),
            "outcomes": self.outcomes,
            "attempts": self.attempts,
        }


def phase(name: str, log: Log, start: float, end: float) -> Phase:
    """The figures of a span of time."""
    came = [record for record in log.records if start <= record.began < end]
    good = [record for record in came if record.good]
    first = sorted(record.first - record.began for record in good if record.first is not None)
    total = sorted(record.ended - record.began for record in good if record.ended is not None)
    costs = [record.cost for record in came]
    attempts = [(where, extra) for at, where, extra in log.attempts if start <= at < end]
    extra = sum(kind != "first" for _, kind in attempts)
    return Phase(
        name=name,
        start=start,
        end=end,
        calls=len(came),
        good=len(good),
        goodput=len(ended_between(log.records, start, end)) / (end - start),
        first_p50=quantile(first, 0.5),
        first_p99=quantile(first, 0.99),
        total_p50=quantile(total, 0.5),
        total_p99=quantile(total, 0.99),
        extra=extra / max(sum(kind == "first" for _, kind in attempts), 1),
        cost=None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0)),
        fairness=fairness(came),
        outcomes=dict(sorted(Counter(record.outcome for record in came).items())),
        attempts=dict(sorted(Counter(where for where, _ in attempts).items())),
    )


def ended_between(records: Iterable[Record], start: float, end: float) -> list[Record]:
    """The answers that came in time and ended in a span."""
    return [record for record in records if record.good and record.ended is not None and start <= record.ended < end]


def goodput(runs: Sequence[Log], start: float, end: float) -> Interval:
    """Answers in time per second, with an interval from the means of twelve batches of each run (they depend on each
    other less than single answers do; A. M. Law: Simulation Modeling and Analysis, 5th edition, 2015, section 9.5.3).
    """
    found = [_batches(log, start, end) for log in runs]
    mean = sum(one.value for one in found) / len(found)
    half = math.sqrt(sum((one.high - one.value) ** 2 for one in found)) / len(found)
    return Interval(mean, mean - half, mean + half, sum(one.n for one in found))


def _batches(log: Log, start: float, end: float) -> Interval:
    """Goodput of one run."""
    width = (end - start) / _BATCHES
    ended = [record.ended for record in ended_between(log.records, start, end)]
    counts = [0] * _BATCHES
    for at in ended:
        if at is not None:
            counts[min(int((at - start) / width), _BATCHES - 1)] += 1
    rates = [count / width for count in counts]
    mean = sum(rates) / _BATCHES
    spread = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / (_BATCHES - 1))
    half = _T11 * spread / math.sqrt(_BATCHES)
    return Interval(mean, mean - half, mean + half, len(ended))


def extra_load(runs: Sequence[Log], start: float, end: float) -> Interval:
    """Attempts beyond the first per first attempt."""
    kinds = [kind for log in runs for at, _, kind in log.attempts if start <= at < end]
    firsts = sum(kind == "first" for kind in kinds)
    extra = len(kinds) - firsts
    if extra <= firsts:
        return wilson(extra, firsts)
    ratio = extra / max(firsts, 1)
    return Interval(ratio, ratio, ratio, firsts)


def ratio(one: Interval, other: Interval) -> Interval:
    """One estimate over another; the interval is the widest that their two allow, so it is wider than it need be."""
    return Interval(
        one.value / other.value if other.value else math.nan,
        one.low / other.high if other.high else -math.inf,
        one.high / other.low if other.low > 0 else math.inf,
        min(one.n, other.n),
    )


def scaled(interval: Interval, by: float) -> Interval:
    """An estimate over a number that is known.

    >>> scaled(Interval(4.0, 2.0, 8.0, 10), 4.0)
    Interval(value=1.0, low=0.5, high=2.0, n=10)
    >>> scaled(Interval(0.0, 0.0, 0.0, 0), 0.0)
    Interval(value=nan, low=-inf, high=inf, n=0)
    """
    if not by:
        return Interval(math.nan, -math.inf, math.inf, interval.n)
    return Interval(interval.value / by, interval.low / by, interval.high / by, interval.n)


def recovery(runs: Sequence[Log], end: float, until: float) -> Interval:
    """Seconds from the end of a fault until the calls that come are answered in time again: the median of the runs.

    A run is one sample, however many calls it has: they share a queue, and the state of the policies.
    """
    found = [_recovered(log, end, until) for log in runs]
    middle = median([one for one in found if one is not None])
    return Interval(middle.value, max(middle.low - _WIDTH, 0.0), middle.high, middle.n)


def median(values: Sequence[float]) -> Interval:
    """The lower median of a few values, with the narrowest interval between two of them that holds the median with 95 %
    confidence, as the binomial distribution gives it: fewer than six values have none.

    >>> median([5.0, 10.0, 5.0, 15.0, 80.0, 10.0])
    Interval(value=10.0, low=5.0, high=80.0, n=6)
    >>> median([5.0] * 8 + [80.0])
    Interval(value=5.0, low=5.0, high=5.0, n=9)
    >>> median([5.0]), median([]).n
    (Interval(value=5.0, low=-inf, high=inf, n=1), 0)
    """
    ordered, n = sorted(values), len(values)
    below, tail = 0, 1 / 2**n
    while tail <= 0.025:
        below += 1
        tail += math.comb(n, below) / 2**n
    return Interval(
        ordered[(n - 1) // 2] if n else math.nan,
        ordered[below - 1] if below else -math.inf,
        ordered[n - below] if below else math.inf,
        n,
    )


def _recovered(log: Log, end: float, until: float, *, share: float = 0.95) -> float | None:
    """Seconds from the end of a fault until, for good, at least `share` of the calls that come are answered in time;
    taken in steps, which is also how exact it is. None: no call came that counts.

    It is so from a step on when of all calls since then at least `share` were, and no single step was surely below: of
    the 30 calls of a step, two that happen to be lost say nothing, but one in ten all the time does.
    """
    came, good = Counter[int](), Counter[int]()
    for record in log.records:
        if end <= record.began < until and record.counts:
            step = int((record.began - end) / _WIDTH)
            came[step] += 1
            good[step] += record.good
    if not came:
        return None
    calls, answered, since = 0, 0, max(came) + 1
    for step in sorted(came, reverse=True):
        if wilson(good[step], came[step]).high < share:
            break
        calls, answered = calls + came[step], answered + good[step]
        if answered >= share * calls:
            since = step
    return _WIDTH * since


def fairness(records: Sequence[Record]) -> float:
    """Jain's index of what tenants got of their fair share (max-min fair, by tokens of answers in time)."""
    wanted: Counter[str] = Counter()
    got: Counter[str] = Counter()
    for record in records:
        tokens = record.arrival.prompt + record.arrival.output
        if record.again == 0:
            wanted[record.arrival.tenant] += tokens
        if record.good:
            got[record.arrival.tenant] += tokens
    shares = max_min(dict(wanted), float(sum(got.values())))
    return jain(got[tenant] / share for tenant, share in shares.items() if share > 0)


def max_min(wanted: dict[str, int], total: float) -> dict[str, float]:
    """The max-min fair division: nobody gets more than he wants, and what is left is shared equally.

    >>> max_min({"small": 10, "big": 100, "huge": 1000}, 210.0)
    {'small': 10.0, 'big': 100.0, 'huge': 100.0}
    """
    shares: dict[str, float] = {}
    left = total
    for place, (tenant, amount) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        shares[tenant] = min(float(amount), left / (len(wanted) - place))
        left -= shares[tenant]
    return shares


def interval_json(interval: Interval) -> dict[str, Any]:
    """An interval as JSON-ready data; a bound that the samples cannot give is null."""
    show: Callable[[float], float | None] = lambda value: round(value, 4) if math.isfinite(value) else None  # noqa: E731
    return {"value": show(interval.value), "low": show(interval.low), "high": show(interval.high), "n": interval.n}
