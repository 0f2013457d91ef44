"""What is simulated: upstreams, calls, faults, and the policies under test; the defaults and a user's own file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from headrace.core.documents import read_yaml
from headrace.core.errors import DeclarationError
from headrace.core.files import read_text
from headrace.core.mistakes import mistakes
from headrace.models.bounds import Count, Number, Positive, Seconds, Share, Spread
from headrace.models.cost import Money, Price
from headrace.models.settings import Policies, UpstreamSpec

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Server(BaseModel):
    """How a simulated upstream behaves.

    Attributes
    ----------
    slots
        Calls that it works on at once.
    overflow
        What happens beyond: it refuses (as hosted APIs do) or queues (as servers of one's own do).
    refusal
        Status with which it refuses.
    first_token, spread
        Median of the time to the first token of an empty prompt, lognormal with this sigma.
    prefill
        Prompt tokens per second; prompts are read one after the other.
    speed
        Output tokens per second and call.
    requests_per_minute, tokens_per_minute
        Rate limits that it enforces.
    headers
        Which headers tell them: `openai`, `anthropic` or `none`.
    hears_cancel
        Whether a cancelled call frees its slot. Where it does not, the slot is busy until the answer would have ended.
    errors
        Share of calls that fail with status 500 at any time.
    """

    model_config = _STRICT

    slots: Count = 24
    overflow: Literal["refuse", "queue"] = "refuse"
    refusal: Literal[429, 503, 529] = 429
    first_token: Seconds = 0.35
    spread: Spread = 0.35
    prefill: Positive = 20_000.0
    speed: Positive = 60.0
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    headers: Literal["openai", "anthropic", "none"] = "openai"
    hears_cancel: bool = True
    errors: Share = 0.001

    def seconds(self, prompt: float, output: float) -> float:
        """How long a call takes on average on a server with nothing else to do."""
        return self.first_token * math.exp(self.spread**2 / 2) + prompt / self.prefill + output / self.speed


class SimulatedUpstream(UpstreamSpec):
    """An upstream as the router is told of it, and how it really is (`server`)."""

    model_config = _STRICT

    server: Server = Server()

    @property
    def spec(self) -> UpstreamSpec:
        """What the router is told."""
        return UpstreamSpec.model_validate(self.model_dump(exclude={"server"}))


class Tenant(BaseModel):
    """Who sends calls.

    Attributes
    ----------
    name
        Its name.
    weight
        Its share of all calls, relative to the others.
    priority
        Of its calls: 0 critical, 1 normal, 2 sheddable.
    prompt, output
        Factors on the lengths of its prompts and answers.
    """

    model_config = _STRICT

    name: str
    weight: Positive = 1.0
    priority: Literal[0, 1, 2] = 1
    prompt: Positive = 1.0
    output: Positive = 1.0


class Load(BaseModel):
    """The calls: a Poisson process, whatever becomes of the answers (open loop).

    Attributes
    ----------
    rate
        Calls per second; by default `utilisation` of what the upstreams can do.
    utilisation
        Used where `rate` is not given.
    prompt, prompt_spread, output, output_spread
        Medians of the lengths (tokens), lognormal with these sigmas.
    long_prompts, long_prompt
        Share of calls with a long prompt, and its length (tokens).
    max_tokens
        What calls allow for the answer; lengths are cut to it.
    deadline
        Seconds after which nobody waits.
    patience
        Seconds without a first byte after which a client leaves; by default it stays to the deadline.
    streams
        Share of calls that stream.
    sessions
        How many sessions calls belong to; 0: none.
    client_retries
        How often a client sends again at once what was refused or late: what people's own retries do.
    tenants
        Who sends.
    """

    model_config = _STRICT

    rate: Positive | None = None
    utilisation: Positive = 0.6
    prompt: Positive = 600.0
    prompt_spread: Spread = 0.8
    output: Positive = 150.0
    output_spread: Spread = 0.5
    long_prompts: Share = 0.0
    long_prompt: Positive = 50_000.0
    max_tokens: Count = 1000
    deadline: Seconds = 20.0
    patience: Seconds | None = None
    streams: Share = 1.0
    sessions: Number = 0
    client_retries: Annotated[Number, Field(le=10)] = 0
    tenants: Annotated[tuple[Tenant, ...], Field(min_length=1)] = (Tenant(name="default"),)

    def mean_prompt(self) -> float:
        """Average length of a prompt, tokens."""
        usual = self.prompt * math.exp(self.prompt_spread**2 / 2)
        weights = sum(tenant.weight for tenant in self.tenants)
        factor = sum(tenant.weight * tenant.prompt for tenant in self.tenants) / weights
        return factor * ((1 - self.long_prompts) * usual + self.long_prompts * self.long_prompt)

    def mean_output(self) -> float:
        """Average length of an answer, tokens; the cut at `max_tokens` is left out, so it is a little too long."""
        weights = sum(tenant.weight for tenant in self.tenants)
        factor = sum(tenant.weight * tenant.output for tenant in self.tenants) / weights
        return factor * self.output * math.exp(self.output_spread**2 / 2)


class Simulation(BaseModel):
    """Everything that a user can set.

    Attributes
    ----------
    policies
        Under test: the same section as in production.
    upstreams
        Where calls can go.
    load
        The calls.
    prices
        By name of model, per million tokens (see `cost.py`).
    budgets
        Most money per tenant for the whole run.
    """

    model_config = _STRICT

    policies: Policies = Policies()
    upstreams: Annotated[tuple[SimulatedUpstream, ...], Field(min_length=1)] = tuple(
        SimulatedUpstream(name=name, model="example") for name in ("a", "b", "c")
    )
    load: Load = Load()
    prices: dict[str, Price] = {"example": Price(input=Decimal(1), output=Decimal(4))}
    budgets: dict[str, Money] = {}

    @model_validator(mode="after")
    def _names_differ(self) -> Simulation:
        names = [upstream.name for upstream in self.upstreams]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two upstreams are named {twice[0]!r}")
        return self

    def answers(self, upstream: SimulatedUpstream, *, slow: float = 1.0) -> float:
        """Calls per second that an upstream can answer, as its slots, prefill and rate limits allow.

        Parameters
        ----------
        slow
            How many times as long as usual everything takes there.

        Examples
        --------
        >>> limited = SimulatedUpstream(name="a", model="m", server=Server(requests_per_minute=60))
        >>> Simulation().answers(limited), Simulation().answers(limited, slow=1000.0) < 0.01
        (1.0, True)
        """
        prompt, output = self.load.mean_prompt(), self.load.mean_output()
        server = upstream.server
        limits = [
            server.slots / server.seconds(prompt, output) / slow,
            server.prefill / prompt / slow,
            math.inf if server.requests_per_minute is None else server.requests_per_minute / 60,
            math.inf if server.tokens_per_minute is None else server.tokens_per_minute / 60 / (prompt + output),
        ]
        return min(limits)

    def capacity(self) -> float:
        """Calls per second that the upstreams of the lowest tier can answer."""
        first = min(upstream.tier for upstream in self.upstreams)
        return sum(self.answers(one) for one in self.upstreams if one.tier == first)

    def rate(self) -> float:
        """Calls per second."""
        return self.load.rate if self.load.rate is not None else self.load.utilisation * self.capacity()

    def adjusted(self, *, server: Mapping[str, Any], load: Mapping[str, Any]) -> Simulation:
        """A copy in which every upstream's server, and the load, have these values; checked like a file.

        >>> Simulation().adjusted(server={"slots": 8}, load={}).upstreams[2].server.slots
        8
        """
        data = self.model_dump()
        for upstream in data["upstreams"]:
            upstream["server"].update(server)
        data["load"].update(load)
        return _checked(data, "these options do not hold")

    def changed(self, changes: dict[str, Any]) -> Simulation:
        """A copy with some values changed, by dotted path; checked like a file.

        >>> Simulation().changed({"policies.hedge.enabled": False}).policies.hedge.enabled
        False
        """
        data = self.model_dump()
        for path, value in changes.items():
            *way, last = path.split(".")
            here = data
            for step in way:
                here = here[step]
            here[last] = value
        return Simulation.model_validate(data)


def load_settings(path: Path) -> Simulation:
    """The settings in a YAML file; what it leaves out has its default.

    Raises
    ------
    DeclarationError
        The file cannot be read, or something in it is not a setting or out of range; all mistakes are named.
    """
    try:
        data: Any = read_yaml(read_text(path))
    except ValueError as error:
        raise DeclarationError(
            f"the settings cannot be read: {error}", hint="name a YAML file of settings", where=str(path)
        ) from error
    return _checked({} if data is None else data, "these settings do not hold", where=str(path))


def _checked(data: Any, what: str, *, where: str = "") -> Simulation:
    try:
        return Simulation.model_validate(data)
    except ValidationError as error:
        raise DeclarationError(
            f"{what}: " + "; ".join(mistakes(error, "the file", Simulation)),
            hint="docs/concepts/resilience.md lists what there is",
            where=where,
        ) from error
