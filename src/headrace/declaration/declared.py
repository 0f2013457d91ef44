"""The things that a user declares, as the rest of the house reads them. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.context.assess import Promise
from headrace.context.policy import FreshnessPolicy
from headrace.contracts.contract import Contract
from headrace.core.schema import Schema
from headrace.sources.base import Source
from headrace.views.rollup import Rollup
from headrace.views.view import ViewPlan


@dataclass(frozen=True, slots=True)
class Table:
    """A keyed live table or a stream of events, with its contract, source and promise.

    Attributes
    ----------
    where
        `file:line` of the declaration.
    """

    contract: Contract
    source: Source
    promise: Promise
    where: str

    @property
    def name(self) -> str:
        """The name in SQL and URLs."""
        return self.contract.schema.name

    @property
    def schema(self) -> Schema:
        """Columns, key and indexes."""
        return self.contract.schema


@dataclass(frozen=True, slots=True)
class DeclaredRollup:
    """A windowed aggregate by key."""

    rollup: Rollup
    where: str

    @property
    def name(self) -> str:
        """The name in SQL."""
        return self.rollup.name


@dataclass(frozen=True, slots=True)
class View:
    """SQL over tables, rollups and other views.

    Attributes
    ----------
    freshness
        The view's own promise, microseconds; None: each input's own holds.
    policy
        What to do when it is not fresh; None: the strictest of its tables' policies.
    """

    plan: ViewPlan
    freshness: int | None
    policy: FreshnessPolicy | None
    description: str
    where: str

    @property
    def name(self) -> str:
        """The name in Python and URLs."""
        return self.plan.name
