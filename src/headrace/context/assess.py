"""How old what was read is: from the board's frontiers to one as-of and one status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.context.policy import FLAG, FreshnessPolicy, Otherwise
from headrace.context.value import InputAge
from headrace.core.durations import format_duration
from headrace.core.frontier import Frontier, Status, judge, worst


class Ages(Protocol):
    """What `assess` needs of the board."""

    def frontier(self, table: str) -> Frontier:
        """What is known of the source of `table`."""
        ...

    def clock_error(self, table: str) -> int | None:
        """How wrong the instants of the source of `table` may be on our clock (microseconds); None: nobody measured."""
        ...

    def view_as_of(self, view: str) -> int | None:
        """The as-of of a refreshed view's last refresh (microseconds); None before the first."""
        ...


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised for a table: how fresh (microseconds), how often its source should be heard, and the policy."""

    freshness: int | None = None
    expect: int | None = None
    policy: FreshnessPolicy | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """The age of an answer: the minimum as-of over the inputs, the worst status, and each input's own."""

    as_of: int | None
    status: Status
    inputs: dict[str, InputAge]


def assess_table(ages: Ages, table: str, promise: Promise, now: int, limit: int | None = None) -> InputAge:
    """One table's age; `limit` (microseconds) replaces its promise."""
    frontier = ages.frontier(table)
    freshness = promise.freshness if limit is None else limit
    status = judge(frontier, now, freshness, promise.expect)
    return InputAge(frontier.as_of(now), status, frontier.state.name.lower(), ages.clock_error(table))


def assess_refreshed(ages: Ages, view: str, below: Assessment, limit: int | None, now: int) -> InputAge:
    """A refreshed view's age: that of its last refresh; `below` is the age of the tables that it is made from.

    `limit` is its promise (microseconds). Beyond it the view is stale, or unknown when its sources are.
    """
    as_of = ages.view_as_of(view)
    if as_of is None:
        return InputAge(None, Status.UNKNOWN, "never")
    late = limit is not None and now - as_of > limit
    return InputAge(as_of, worst([below.status, Status.STALE]) if late else below.status, "refreshed")


def combine(inputs: Mapping[str, InputAge]) -> Assessment:
    """One answer from all of its inputs: as-of is the minimum, unknown when any is unknown."""
    stamps = [age.as_of for age in inputs.values()]
    as_of = None if any(at is None for at in stamps) else min((at for at in stamps if at is not None), default=None)
    return Assessment(as_of, worst([age.status for age in inputs.values()]), dict(inputs))


def strictest(policies: list[FreshnessPolicy]) -> FreshnessPolicy:
    """The policy of an answer that stands on several tables: the longest wait, then the strictest outcome.

    >>> str(strictest([FreshnessPolicy.parse("wait 1s"), FreshnessPolicy.parse("refuse")]))
    'wait 1s else refuse'
    """
    if not policies:
        return FLAG
    order = (Otherwise.SERVE, Otherwise.FLAG, Otherwise.REFUSE)
    return FreshnessPolicy(
        wait=max(policy.wait for policy in policies),
        otherwise=max((policy.otherwise for policy in policies), key=order.index),
    )


def age_at(age: Assessment, now: int) -> str:
    """How old an answer is, for people."""
    return "unknown" if age.as_of is None else format_duration(max(now - age.as_of, 0))


def limit_of(
    inputs: Mapping[str, InputAge], asked: int | None, own: int | None, promises: Mapping[str, int | None]
) -> str:
    """What an answer that is not fresh is measured against, for people; empty: nothing was promised.

    Parameters
    ----------
    inputs
        What it stands on.
    asked, own
        The most that was asked for, and what is promised for the answer itself (microseconds).
    promises
        For its inputs.

    Examples
    --------
    >>> late = InputAge(0, Status.STALE, "running")
    >>> limit_of({"items": late}, 2_000_000, None, {}), limit_of({"items": late}, None, None, {"items": 90_000_000})
    (', where at most 2s is asked for', ", where 'items' is promised within 1m30s")
    """
    if asked is not None:
        return f", where at most {format_duration(asked)} is asked for"
    if own is not None:
        return f", where {format_duration(own)} is promised"
    late = [
        (limit, name)
        for name, one in inputs.items()
        if one.status is not Status.FRESH and (limit := promises.get(name))
    ]
    if not late:
        return ""
    limit, name = min(late)
    return f", where {name!r} is promised within {format_duration(limit)}"
