"""A planned view: its class, its statement, and what keeps it up to date."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.core.schema import Column
from headrace.views.groups import AffectedGroups
from headrace.views.refresh import Refresher
from headrace.views.types import Parameter


class ViewClass(enum.StrEnum):
    """How a view is kept."""

    READ_TIME = "read-time"
    AFFECTED_GROUP = "affected-group"
    REFRESHED = "refreshed"


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """All that is known of a view.

    Attributes
    ----------
    kind, why
        Its class, and the reason in one sentence.
    sql
        As the user wrote it.
    statement
        SQLite; binds the parameters by name, and `:_now` (microseconds) if `needs_now`.
        A result row is the columns, then `hidden`.
    params
        In order of first use.
    inputs
        The names that the SQL reads.
    tables
        The tables and streams that an answer stands on, through rollups and views, refreshed views excepted.
    refreshed
        The refreshed views that an answer stands on; they bring an as-of of their own.
    columns
        What a row shows.
    hidden
        `_source_ts` (the oldest change that the row is made of), then commit stamps: one for each relation of the FROM,
        or one for all.
    relation
        What stands in the FROM of a view that reads this one.
    maintainer, refresher
        What keeps the materialised table, if there is one.
    """

    name: str
    kind: ViewClass
    why: str
    sql: str
    statement: str
    params: tuple[Parameter, ...]
    inputs: tuple[str, ...]
    tables: tuple[str, ...]
    refreshed: tuple[str, ...]
    columns: tuple[Column, ...]
    hidden: tuple[str, ...]
    needs_now: bool
    relation: str
    refresh: int | None = None
    maintainer: AffectedGroups | None = field(default=None, compare=False)
    refresher: Refresher | None = field(default=None, compare=False)
    compared: tuple[tuple[str, str, bool], ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    """Base tables by alias, for index hints."""
