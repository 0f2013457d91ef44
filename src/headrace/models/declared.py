"""A model as the user declares it. A value only."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.models.cost import Prices
from headrace.models.provider import Provider
from headrace.models.settings import Policies, UpstreamSpec


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

    @property
    def priced(self) -> bool:
        """Whether every upstream, those of its fallbacks included, has a price."""
        return not self.unpriced

    @property
    def unpriced(self) -> dict[str, str]:
        """The upstreams without a price, those of its fallbacks included, and their models. No budget can pay them."""
        prices = self.all_prices()
        return {name: spec.model for name, (spec, _) in self.named().items() if prices.find(spec.model) is None}

    def tiers(self) -> list[tuple[Provider, int, str]]:
        """Every upstream with its tier and the model that declares it: those of the fallback come after all others."""
        own = [(one, one.spec("").tier, self.name) for one in self.upstreams]
        if self.fallback is None:
            return own
        first = max(tier for _, tier, _ in own) + 1
        return [*own, *((one, first + tier, name) for one, tier, name in self.fallback.tiers())]

    def named(self) -> dict[str, tuple[UpstreamSpec, Provider]]:
        """The upstreams of the model and its fallbacks, each once and by a name of its own, as the router is told."""
        found: dict[str, tuple[UpstreamSpec, Provider]] = {}
        seen: set[Provider] = set()
        for provider, tier, model in self.tiers():
            if provider in seen:
                continue
            seen.add(provider)
            name = provider.name if provider.name not in found else f"{model}/{provider.name}"
            found[name] = (provider.spec(model).model_copy(update={"tier": tier, "name": name}), provider)
        return found

    def all_prices(self) -> Prices:
        """Its prices, and those of its fallbacks for what it has none for."""
        if self.fallback is None:
            return self.prices
        return Prices({**self.fallback.all_prices().models, **self.prices.models}, self.prices.currency)
