"""A declared model as something to simulate: all that its declaration says, and defaults for what it cannot know."""

from __future__ import annotations

from typing import Any

from headrace.models.declared import DeclaredModel
from headrace.models.provider import Provider
from headrace.models.settings import UpstreamSpec
from headrace.models.simulation.settings import Load, Server, SimulatedUpstream, Simulation

_WITHOUT_STREAMS = frozenset({"http", "local"})
"""Kinds of upstreams that answer whole only."""


def of_model(model: DeclaredModel) -> Simulation:
    """A simulation of a model with its policies, upstreams, tiers, prices and deadline.

    How fast its servers are, how much they do at once and how many calls come is not declared: that is as in
    `Server` and `Load`. Limits that are declared are taken for the real ones.
    """
    named = model.named().values()
    streams = any(provider.kind not in _WITHOUT_STREAMS for _, provider in named)
    return Simulation(
        policies=model.policies,
        upstreams=tuple(_upstream(spec, provider) for spec, provider in named),
        load=Load(deadline=model.deadline, streams=1.0 if streams else 0.0),
        prices=dict(model.all_prices().models),
    )


def _upstream(spec: UpstreamSpec, provider: Provider) -> SimulatedUpstream:
    how: dict[str, Any] = {"overflow": "queue"} if spec.local else {}
    if provider.kind == "anthropic":
        how |= {"headers": "anthropic", "refusal": 529}
    server = Server(requests_per_minute=spec.requests_per_minute, tokens_per_minute=spec.tokens_per_minute, **how)
    return SimulatedUpstream(**spec.model_dump(), server=server)
