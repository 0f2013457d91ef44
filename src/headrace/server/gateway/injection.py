"""Reading the context that a request wants, and saying in headers what was read, how old it was, if it still holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.context.readset import ReadSet, Validity
from headrace.context.value import ContextValue
from headrace.core.clock import isoformat
from headrace.core.errors import BadParameter, HeadraceError, StaleContext, UnknownName
from headrace.http1.headers import Field
from headrace.models.request import Dialect
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.prompt import block, inject
from headrace.server.gateway.wish import Wanted, Wish
from headrace.server.ports import Reads


@dataclass(frozen=True, slots=True)
class Injected:
    """A body with context in it, and what it was built on."""

    body: bytes
    values: tuple[ContextValue, ...]
    readset: ReadSet

    def headers(self) -> list[Field]:
        """One `x-headrace-context` per view."""
        return [(b"x-headrace-context", _describe(value).encode()) for value in self.values]


async def read_into(reads: Reads, dialect: Dialect, body: bytes, wish: Wish) -> Injected:
    """Read what a request wants and put it in its prompt.

    Views under the same policy are read in one snapshot, all of them where none differs.

    Raises
    ------
    Complaint
        A view or parameter is not there (400), or the context is not fresh and its policy is to refuse (503).
    """
    try:
        values = await _read(reads, wish.views)
    except (UnknownName, BadParameter) as error:
        hint = f"; {error.hint}" if error.hint else ""
        message = f"headrace.context: {error.message}{hint}"
        raise Complaint(400, message, code="invalid_context", param="headrace.context") from None
    except StaleContext as error:
        message = f"headrace.context: {error.message}; {error.hint}"
        raise Complaint(503, message, kind="server_error", code="stale_context") from None
    except HeadraceError as error:
        hint = f"; {error.hint}" if error.hint else ""
        message = f"headrace.context: it cannot be read: {error.message}{hint}"
        raise Complaint(503, message, kind="server_error", code="context_unavailable") from error
    text = block(values, [wanted.params for wanted in wish.views])
    readset = ReadSet()
    for value in values:
        readset += value.readset
    return Injected(inject(dialect, body, text, wish.place), tuple(values), readset)


async def _read(reads: Reads, wanted: Sequence[Wanted]) -> list[ContextValue]:
    groups: dict[tuple[Any, int | None], list[int]] = {}
    for index, one in enumerate(wanted):
        groups.setdefault((one.policy, one.max_age), []).append(index)
    found: dict[int, ContextValue] = {}
    for (policy, max_age), indexes in groups.items():
        asked = [(wanted[index].view, wanted[index].params) for index in indexes]
        values = await reads.read_many(asked, policy=policy, max_age=max_age)
        found |= dict(zip(indexes, values, strict=True))
    return [found[index] for index in range(len(wanted))]


def verdict(validity: Validity) -> list[Field]:
    """Whether the context still held when the answer was there."""
    if validity.holds:
        return [] if validity.as_of is None else [(b"x-headrace-unchanged-as-of", isoformat(validity.as_of).encode())]
    return [(b"x-headrace-changed", ", ".join(sorted({one.read.name for one in validity.changed})).encode())]


def _describe(value: ContextValue) -> str:
    """
    >>> from headrace.core.frontier import Status
    >>> _describe(ContextValue("menu", [{}], 2_000_000, 1_500_000, Status.FRESH, [None], {}, ReadSet()))
    'menu; as_of=1970-01-01T00:00:01.500000Z; age_ms=500; status=fresh; rows=1'
    """
    as_of = "unknown" if value.as_of is None else isoformat(value.as_of)
    age = "unknown" if value.age_ms is None else f"{value.age_ms:.0f}"
    return f"{value.name}; as_of={as_of}; age_ms={age}; status={value.status.value}; rows={len(value.rows)}"
