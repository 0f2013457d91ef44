"""What goes wrong, where, from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes
    ----------
    kind
        `hang`: the call never gets a byte. `refuse`: it is refused at once with status 429, without headers. `down`:
        connections are refused. `dark`: connections hang. `slow`: everything takes `factor` times as long. `limit`:
        all that is left of the rate limits is taken away, as by somebody else with the same key.
    upstreams
        Names; empty: all.
    start, end
        Instants, seconds.
    share
        Of the calls (`hang`, `refuse`).
    factor
        Of `slow`.
    """

    kind: Literal["hang", "refuse", "down", "dark", "slow", "limit"]
    upstreams: tuple[str, ...] = ()
    start: float = 0.0
    end: float = float("inf")
    share: float = 1.0
    factor: float = 1.0

    def concerns(self, upstream: str, now: float) -> bool:
        """Whether it is there now.

        >>> Fault("down", ("a",), 10, 20).concerns("a", 15), Fault("down", ("a",), 10, 20).concerns("b", 15)
        (True, False)
        """
        return self.start <= now < self.end and (not self.upstreams or upstream in self.upstreams)
