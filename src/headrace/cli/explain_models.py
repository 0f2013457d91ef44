"""What `headrace explain` says of models and endpoints: where they lead, and what differs from the defaults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from headrace.core.clock import SECOND
from headrace.core.durations import format_duration
from headrace.core.names import suggest

if TYPE_CHECKING:
    from headrace.app import App
    from headrace.models.declared import DeclaredModel
    from headrace.models.settings import Policies
    from headrace.pipeline.endpoint import Endpoint
    from headrace.pipeline.stale import OnStale
    from headrace.pipeline.version import Version

Facts = Iterator[tuple[str, list[str]]]
MODEL_LABELS = ("upstreams", "deadline", "fallback", "policies", "prices", "no price")
ENDPOINT_LABELS = (
    "takes", "answers", "versions", "deadline", "on_stale", "fallback", "budget", "cache", "strict", "tolerances",
    "policy", "at a time",
)  # fmt: skip


def model_facts(model: DeclaredModel) -> Facts:
    """What is worth saying of a model, by label; lists stand on one line each."""
    yield (
        "upstreams",
        [
            f"{provider.name}  {provider.kind}, tier {tier}: {provider.describe()}"
            for provider, tier, _ in model.tiers()
        ],
    )
    yield "deadline", [seconds(model.deadline)]
    if model.fallback is not None:
        yield "fallback", [model.fallback.name]
    if different := list(differences(model.policies)):
        yield "policies", different
    priced, missing = _prices(model)
    if priced:
        yield "prices", priced
    if missing:
        yield "no price", missing


def endpoint_facts(app: App, endpoint: Endpoint) -> Facts:
    """What is worth saying of an endpoint, by label."""
    from headrace.pipeline.shape import named
    from headrace.runtime.desk import versions

    shape = endpoint.shape
    stream = ", a stream" if shape.streams else ""
    yield "takes", [named(shape.input_type)]
    yield "answers", [named(shape.answer_type) + stream]
    yield "versions", [_version(endpoint, name, one) for name, one in versions(app, endpoint).items()]
    kept = f", {seconds(endpoint.reserve)} of it for the fallback" if endpoint.reserve else ""
    yield "deadline", [seconds(endpoint.deadline) + kept]
    yield "on_stale", [stale(endpoint.on_stale)]
    if endpoint.fallbacks:
        yield "fallback", [", then ".join(one.name for one in endpoint.fallbacks)]
    yield from _endpoint_rest(endpoint)


def _endpoint_rest(endpoint: Endpoint) -> Facts:
    if endpoint.budget:
        yield "budget", [", ".join(f"{amount}/{period}" for period, amount in endpoint.budget.items())]
    if endpoint.cache:
        yield "cache", [f"up to {endpoint.cache / 2**20:g} MiB"]
    if endpoint.strict:
        yield "strict", ["waits until its sources are complete up to the answer"]
    if endpoint.tolerances:
        yield (
            "tolerances",
            [f"{one.source}: " + ", ".join(f"{c} {b}" for c, b in one.columns.items()) for one in endpoint.tolerances],
        )
    if endpoint.policy is not None:
        yield "policy", [str(endpoint.policy)]
    yield "at a time", [f"{endpoint.bounds.concurrency} requests"]


def _version(endpoint: Endpoint, name: str, version: Version) -> str:
    handler = endpoint.versions[name]
    share = f"shadow of {handler.weight:.0%}" if handler.shadow else f"weight {handler.weight:g}"
    return f"{version}  {handler.function.__name__}, {share}"


def differences(policies: Policies) -> Iterator[str]:
    """The settings that are not the defaults.

    >>> from headrace.models.settings import Policies
    >>> list(differences(Policies.model_validate({"hedge": {"floor": "500ms"}})))
    ['hedge.floor 0.5 (default 0.3)']
    """
    usual = type(policies)()
    for section in type(policies).model_fields:
        mine, other = getattr(policies, section), getattr(usual, section)
        for field in fields(mine):
            value, default = getattr(mine, field.name), getattr(other, field.name)
            if value != default:
                yield f"{section}.{field.name} {value} (default {default})"


def stale(rule: OnStale) -> str:
    """`on_stale` in the words in which it is declared.

    >>> from headrace.pipeline.stale import OnStale
    >>> [stale(OnStale.parse(text)) for text in ("ignore", "flag", "retry 3 else refuse", "refuse")]
    ['ignore', 'flag', 'retry 3 else refuse', 'refuse']
    """
    if not rule.check:
        return "ignore"
    if rule.fix is not None:
        return f"repair with {getattr(rule.fix, '__name__', 'a function')}, at most {rule.tries} times"
    return f"retry {rule.tries} else {rule.then}" if rule.tries else str(rule.then)


def seconds(number: float) -> str:
    """Seconds for people.

    >>> seconds(0.25), seconds(30.0)
    ('250ms', '30s')
    """
    return format_duration(round(number * SECOND))


def _prices(model: DeclaredModel) -> tuple[list[str], list[str]]:
    """The prices of the models of all upstreams, and those that have none although there is a table."""
    priced: dict[str, str] = {}
    missing: list[str] = []
    tables = model.all_prices().models
    one: DeclaredModel | None = model
    while one is not None:
        for provider in one.upstreams:
            name = provider.spec(one.name).model
            price = model.prices.find(name) or one.prices.find(name)
            if price is None:
                missing.append(
                    f"{name}: it costs nobody's budget, and keys with a budget do not get it; {suggest(name, tables)}"
                )
            else:
                priced[name] = f"{name}: {price.input:f} in, {price.output:f} out, a million tokens"
                priced[name] += f" ({one.prices.currency})"
        one = one.fallback
    return list(priced.values()), list(dict.fromkeys(missing)) if tables else []
