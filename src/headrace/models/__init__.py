"""Talking to models: the kinds of upstreams, policies as pure classes that take `now` and events, the router that
composes them, and the shell that carries calls.

    llm = app.model("llm", [hr.models.OpenAI("http://127.0.0.1:8000/v1", model="small")])

Every `now` in this package is in seconds of a clock that never goes back (`Clock.monotonic()`), unless it says
otherwise. The names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.models.cost import Prices
    from headrace.models.local.provider import Local
    from headrace.models.provider import Provider
    from headrace.models.providers.anthropic import Anthropic
    from headrace.models.providers.http import Http
    from headrace.models.providers.openai import OpenAI
    from headrace.models.settings import Policies

_HOMES = {
    "Anthropic": "headrace.models.providers.anthropic",
    "Http": "headrace.models.providers.http",
    "Local": "headrace.models.local.provider",
    "OpenAI": "headrace.models.providers.openai",
    "Policies": "headrace.models.settings",
    "Prices": "headrace.models.cost",
    "Provider": "headrace.models.provider",
}

__all__ = ["Anthropic", "Http", "Local", "OpenAI", "Policies", "Prices", "Provider"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'headrace.models' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
