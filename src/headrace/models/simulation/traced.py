"""What a trace of real calls says about servers and load, as the simulator's settings have it.

The simulator draws times and lengths from lognormal distributions. Of each, the median and the distance between the
16th and the 84th percentile are kept: two standard deviations of the logarithm, which a few strange values do not bend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from headrace.models.simulation.fitting import Record, fit

_LEAST = 1e-4
"""Shortest time to a first token (seconds): the logarithm of 0 is nothing."""
_AT_ONCE = 1e9
"""Prompt tokens per second where longer prompts did not take longer."""


@dataclass(frozen=True, slots=True)
class Traced:
    """Values for `Simulation.adjusted`."""

    server: dict[str, Any]
    load: dict[str, Any]


def traced(records: Sequence[Record], generator: Random) -> Traced:
    """The settings that a trace gives.

    Examples
    --------
    >>> records = [Record(n, 100, 0.3 + n / 10_000, 2.3 + n / 10_000) for n in range(100, 1100)]
    >>> found = traced(records, Random(1))
    >>> found.server["first_token"], found.server["prefill"], found.server["speed"]
    (0.3, 10000.0, 49.5)
    >>> found.load["prompt"], found.load["output"], found.load["max_tokens"]
    (599.5, 100.0, 100)
    """
    fitted = fit(records, generator)
    first, spread = middle([max(value, _LEAST) for value in fitted.first_token.values])
    server: dict[str, Any] = {
        "first_token": round(first, 6),
        "spread": round(spread, 6),
        "prefill": _AT_ONCE if fitted.prefill is None else round(fitted.prefill, 3),
    }
    if fitted.tokens_per_second is not None:
        server["speed"] = round(middle(fitted.tokens_per_second.values)[0], 6)
    prompt, prompt_spread = middle([max(float(one.prompt_tokens), 1.0) for one in records])
    output, output_spread = middle([float(one.output_tokens) for one in records])
    load = {
        "prompt": prompt,
        "prompt_spread": round(prompt_spread, 6),
        "output": output,
        "output_spread": round(output_spread, 6),
        "max_tokens": max(one.output_tokens for one in records),
    }
    return Traced(server, load)


def middle(values: Sequence[float]) -> tuple[float, float]:
    """The median of positive values and the standard deviation of their logarithm, as if they were lognormal.

    >>> middle([1.0, 1.0, 1.0])
    (1.0, 0.0)
    """
    ordered = sorted(values)

    def quantile(q: float) -> float:
        place = q * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    return quantile(0.5), (math.log(quantile(0.8413)) - math.log(quantile(0.1587))) / 2
