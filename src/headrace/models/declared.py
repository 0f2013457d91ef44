"""A model as the user declares it. A value only."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.models.cost import Prices
from headrace.models.provider import Provider
from headrace.models.settings import Policies


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model with its upstreams and how they are used.

    Attributes
    ----------
    name
        What it is called, in the app and at the gateway.
    upstreams
        Its own; at least one.
    deadline
        Seconds that a call may take at most.
    policies, prices
        As given, or the defaults.
    fallback
        The model whose upstreams are used when none of its own can be; None: there is none.
    where
        `file:line` of the declaration.
    """

    name: str
    upstreams: tuple[Provider, ...]
    deadline: float = 60.0
    policies: Policies = field(default_factory=Policies)
    prices: Prices = field(default_factory=Prices)
    fallback: DeclaredModel | None = None
    where: str = ""

    def tiers(self) -> list[tuple[Provider, int, str]]:
        """Every upstream with its tier and the model that declares it: those of the fallback come after all others."""
        own = [(one, one.spec("").tier, self.name) for one in self.upstreams]
        if self.fallback is None:
            return own
        first = max(tier for _, tier, _ in own) + 1
        return [*own, *((one, first + tier, name) for one, tier, name in self.fallback.tiers())]
