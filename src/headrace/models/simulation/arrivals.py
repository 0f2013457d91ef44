"""The calls that come in: when, how long, and for whom; drawn from one seed, whatever the policies do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from headrace.models.call import Priority
from headrace.models.simulation.settings import Load, Tenant


@dataclass(frozen=True, slots=True)
class Step:
    """From `start` to `end` (instants, seconds) calls come `factor` times as often."""

    start: float
    end: float
    factor: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call as its client makes it. `output` is how long the answer will be, which only the server knows."""

    at: float
    prompt: int
    output: int
    tenant: str
    priority: Priority
    session: str
    stream: bool


def arrivals(load: Load, rate: float, steps: Sequence[Step], until: float, random: Random) -> Iterator[Arrival]:
    """All calls up to an instant: a Poisson process of `rate` calls per second, times the factors of the steps.

    >>> calls = list(arrivals(Load(), 10.0, [Step(10, 20, 3.0)], 20.0, Random(1)))
    >>> sum(call.at < 10 for call in calls), sum(call.at >= 10 for call in calls)
    (92, 298)
    """
    most = max([1.0, *(step.factor for step in steps)])
    weights = [tenant.weight for tenant in load.tenants]
    now = 0.0
    while True:
        # Thinning: draw at the highest rate and keep as many as the present rate says.
        now += random.expovariate(rate * most)
        if now >= until:
            return
        factor = next((step.factor for step in steps if step.start <= now < step.end), 1.0)
        if random.random() * most < factor:
            yield _draw(load, now, random.choices(load.tenants, weights)[0], random)


def _draw(load: Load, now: float, tenant: Tenant, random: Random) -> Arrival:
    is_long = random.random() < load.long_prompts
    usual = load.prompt * math.exp(random.gauss(0.0, load.prompt_spread))
    output = load.output * math.exp(random.gauss(0.0, load.output_spread)) * tenant.output
    return Arrival(
        at=now,
        prompt=max(int((load.long_prompt if is_long else usual) * tenant.prompt), 1),
        output=min(max(int(output), 1), load.max_tokens),
        tenant=tenant.name,
        priority=Priority(tenant.priority),
        session=f"s{random.randrange(load.sessions)}" if load.sessions else "",
        stream=random.random() < load.streams,
    )
