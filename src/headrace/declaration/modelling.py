"""Declaring models: which upstreams answer, and by which policies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headrace.core.clock import SECOND
from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.mistakes import UNKNOWN, why
from headrace.core.names import suggest
from headrace.declaration.declared import View
from headrace.declaration.place import caller, located
from headrace.models.cost import Prices
from headrace.models.declared import DeclaredModel
from headrace.models.provider import Provider
from headrace.models.settings import Policies
from headrace.pipeline.context import NAMES

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,99}")


class Modelling:
    """The part of a declaration that is about models."""

    def __init__(self) -> None:
        self.models: dict[str, DeclaredModel] = {}

    @located
    def model(
        self,
        name: str,
        upstreams: Provider | Sequence[Provider],
        *,
        deadline: Duration = "60s",
        fallback: str | DeclaredModel | None = None,
        policies: Policies | Mapping[str, Any] | None = None,
        prices: Prices | str | Path | None = None,
    ) -> DeclaredModel:
        """A model: one or more upstreams that are asked for the same.

        Parameters
        ----------
        name
            What it is called, in the app and by clients of the gateway.
        upstreams
            Where it runs: `models.OpenAI(...)`, `models.Anthropic(...)`, `models.Http(...)`, `models.Local(...)`.
        deadline
            The longest that a call may take, all its attempts together.
        fallback
            A model declared before, whose upstreams are used when none of these can be.
        policies
            What differs from the defaults, by section: `{"hedge": {"floor": "200ms"}}`.
        prices
            A YAML file of prices (a relative path starts at the file that declares), or `Prices`.

        Raises
        ------
        DeclarationError
            With the line of the declaration and what to do.
        """
        where = caller()
        model = DeclaredModel(
            name=self._free_model(name),
            upstreams=_upstreams(name, upstreams),
            deadline=parse_duration(deadline) / SECOND,
            policies=parse_policies(policies),
            prices=_prices(prices, where),
            fallback=self._fallback(fallback),
            where=where,
        )
        self.models[name] = model
        return model

    def _free_model(self, name: str) -> str:
        if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(
                f"{name!r:.120} is not a name for a model",
                hint='use letters, digits and "_.:/-", beginning with a letter; at most 100',
            )
        if name in NAMES:
            raise DeclarationError(
                f"a model cannot be called {name!r}: the context of a request has a `ctx.{name}` of its own",
                hint=f"call it for example '{name}_model': then `await ctx.{name}_model.chat(...)` asks it",
            )
        views: Mapping[str, View] = getattr(self, "views", {})  # models may be declared without an app
        if name in views:
            raise DeclarationError(
                f"the name {name!r} is taken by the view declared at {views[name].where}, and `ctx.{name}` is one",
                hint="give one of them another name",
            )
        if name in self.models:
            raise DeclarationError(
                f"the model {name!r} is declared at {self.models[name].where} already", hint="give it another name"
            )
        return name

    def _fallback(self, fallback: str | DeclaredModel | None) -> DeclaredModel | None:
        if fallback is None:
            return None
        name = fallback.name if isinstance(fallback, DeclaredModel) else fallback
        if name not in self.models:
            raise DeclarationError(
                f"the fallback {name!r} is no model that was declared before",
                hint=f"declare it first; there are: {', '.join(self.models) or 'none'}",
            )
        return self.models[name]


def _upstreams(name: str, upstreams: Provider | Sequence[Provider]) -> tuple[Provider, ...]:
    found: tuple[Any, ...] = tuple(upstreams) if isinstance(upstreams, list | tuple) else (upstreams,)
    wrong = [one for one in found if not isinstance(one, Provider)]
    if wrong or not found:
        raise DeclarationError(
            f"{wrong[0]!r:.80} is not an upstream" if found else f"the model {name!r} has no upstreams",
            hint='write hr.models.OpenAI("http://127.0.0.1:8000/v1", model="small"), with your address and the name of '
            "the model there, or a list of such; also hr.models.Anthropic, Http and Local",
        )
    names = [one.name for one in found]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise DeclarationError(
            f"two upstreams of the model {name!r} are called {twice!r}", hint="give one of them another name (name=...)"
        )
    return found


def parse_policies(policies: Policies | Mapping[str, Any] | None) -> Policies:
    """The policies that a user wrote. Raises `DeclarationError`."""
    if policies is None or isinstance(policies, Policies):
        return policies or Policies()
    try:
        return Policies.model_validate(policies)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if not place:
            raise DeclarationError(
                f"policies={policies!r:.80} does not say which setting of which policy",
                hint='write by section: policies={"hedge": {"floor": "200ms"}}; '
                + suggest(str(policies), _settings(())),
            ) from None
        if first["type"] in UNKNOWN:
            raise DeclarationError(
                f"there is no policy {place!r}", hint=suggest(str(first["loc"][-1]), _settings(first["loc"][:-1]))
            ) from None
        raise DeclarationError(
            f"the policy {place} cannot be {first['input']!r:.80}: {why(first)}",
            hint="docs/how-to/policies.md lists the policies and their settings",
        ) from None


def _settings(place: tuple[int | str, ...]) -> list[str]:
    """What can be set there: the sections, or the fields of one."""
    if not place:
        return list(Policies.model_fields)
    section = getattr(Policies(), str(place[0]), None)
    return [field.name for field in fields(section) if field.init] if is_dataclass(section) else []


def _prices(prices: Prices | str | Path | None, where: str) -> Prices:
    if prices is None or isinstance(prices, Prices):
        return prices or Prices()
    path = Path(prices)
    beside = Path(where.rpartition(":")[0]).parent / path
    return Prices.load(beside if not path.is_absolute() and beside.is_file() else path)
