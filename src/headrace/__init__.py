"""Headrace: live, validated, dated context for AI apps, from one declaration in Python.

    import headrace as hr

    app = hr.App("food-delivery")

    class Item(hr.Record):
        item_id: str
        restaurant_id: str
        price: float = hr.Field(gt=0)

    items = app.table(Item, key="item_id", index=["restaurant_id"], freshness="2s")
    menu = app.view("menu", "SELECT item_id, price FROM items WHERE restaurant_id = :restaurant_id")

Names are loaded when they are first used, so that `import headrace` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from headrace.core.version import VERSION

if TYPE_CHECKING:
    from headrace import errors, models, sources
    from headrace.app import App, load_app
    from headrace.client import connect, connect_sync
    from headrace.context.policy import FreshnessPolicy
    from headrace.context.readset import ReadSet
    from headrace.context.value import ContextValue
    from headrace.contracts.rules import Rule
    from headrace.core.changes import Receipt
    from headrace.core.errors import BadInput, HeadraceError
    from headrace.core.frontier import Status
    from headrace.core.records import Field, Record
    from headrace.pipeline.answer import Asked
    from headrace.pipeline.context import Context
    from headrace.pipeline.prompt import Prompt
    from headrace.pipeline.stale import repair
    from headrace.pipeline.tolerance import ignore, tolerance
    from headrace.views.aggregates import count, distinct, last, max, mean, min, quantile, sum, top_k

__version__ = VERSION

_HOMES = {
    "App": "headrace.app",
    "Asked": "headrace.pipeline.answer",
    "BadInput": "headrace.core.errors",
    "Context": "headrace.pipeline.context",
    "ContextValue": "headrace.context.value",
    "Field": "headrace.core.records",
    "FreshnessPolicy": "headrace.context.policy",
    "HeadraceError": "headrace.core.errors",
    "Prompt": "headrace.pipeline.prompt",
    "ReadSet": "headrace.context.readset",
    "Receipt": "headrace.core.changes",
    "Record": "headrace.core.records",
    "Rule": "headrace.contracts.rules",
    "Status": "headrace.core.frontier",
    "connect": "headrace.client",
    "connect_sync": "headrace.client",
    "ignore": "headrace.pipeline.tolerance",
    "load_app": "headrace.app",
    "repair": "headrace.pipeline.stale",
    "tolerance": "headrace.pipeline.tolerance",
    **dict.fromkeys(
        ("count", "distinct", "last", "max", "mean", "min", "quantile", "sum", "top_k"), "headrace.views.aggregates"
    ),
}
_MODULES = ("errors", "models", "sources")

__all__ = [
    "App",
    "Asked",
    "BadInput",
    "Context",
    "ContextValue",
    "Field",
    "FreshnessPolicy",
    "HeadraceError",
    "Prompt",
    "ReadSet",
    "Receipt",
    "Record",
    "Rule",
    "Status",
    "__version__",
    "connect",
    "connect_sync",
    "count",
    "distinct",
    "errors",
    "ignore",
    "last",
    "load_app",
    "max",
    "mean",
    "min",
    "models",
    "quantile",
    "repair",
    "sources",
    "sum",
    "tolerance",
    "top_k",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"headrace.{name}")
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'headrace' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
