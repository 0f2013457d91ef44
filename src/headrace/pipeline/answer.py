"""The answer to a request, and what is said beside it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from headrace.core.clock import isoformat
from headrace.core.events import ModelCall, ReadAge


@dataclass(slots=True)
class Facts:
    """What an answer says about itself.

    Attributes
    ----------
    version
        The version that answered: its name, and the hash of its content.
    request
        The request's id.
    unchanged_as_of
        "What the answer was built on had not changed as of this instant" (microseconds); None: it has, or nobody knows.
    stale
        "unchanged", "changed" or "unchecked".
    changed
        Names of the views and tables that changed since they were read, sorted.
    stale_detail
        What changed in them, a sentence each.
    retries
        How often the handler ran again, or an answer was repaired, because something changed. Like the stages and the
        calls to models it is of the whole request, whichever of its runs gave the answer.
    fallback
        Which fallback answered; empty: none.
    made_at
        Of the fallback "cached": when the answer was made (microseconds).
    cache
        "hit", "miss", or empty where there is no cache.
    stages
        Seconds per stage.
    seconds
        All of them, and what is between: the queue, the check.
    """

    version: str
    request: str
    unchanged_as_of: int | None = None
    stale: str = "unchecked"
    changed: list[str] = field(default_factory=list[str])
    stale_detail: list[str] = field(default_factory=list[str])
    retries: int = 0
    fallback: str = ""
    made_at: int | None = None
    cache: str = ""
    reads: list[ReadAge] = field(default_factory=list[ReadAge])
    models: list[ModelCall] = field(default_factory=list[ModelCall])
    stages: dict[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0

    def unsay(self) -> None:
        """What was found out of its read set was that of an answer that is not given. That it was tried stays said."""
        self.stale, self.unchanged_as_of = "unchecked", None
        self.changed, self.stale_detail = [], []

    def to_dict(self) -> dict[str, Any]:
        """For the last event of a stream."""
        return {
            "version": self.version,
            "request_id": self.request,
            "unchanged_as_of": None if self.unchanged_as_of is None else isoformat(self.unchanged_as_of),
            "stale": self.stale,
            "changed": self.changed,
            "stale_detail": self.stale_detail,
            "retries": self.retries,
            "fallback": self.fallback or None,
            "made_at": None if self.made_at is None else isoformat(self.made_at),
            "reads": [{"name": read.name, "age_ms": read.age_ms, "status": read.status} for read in self.reads],
            "stages": {name: round(seconds * 1000, 3) for name, seconds in self.stages.items()},
        }


class EventStream(Protocol):
    """A streamed answer: an async iterator over server-sent events. Iterate it to its end, or `aclose` it."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> bytes:
        """The next event."""
        ...

    def items(self) -> AsyncGenerator[Any]:
        """The items as plain JSON data, without the events around them."""
        ...

    async def aclose(self) -> None:
        """Nobody takes more."""
        ...


@dataclass(slots=True)
class Answer:
    """An answer: whole, or a stream of events.

    Attributes
    ----------
    body
        JSON; empty of a stream.
    events
        Server-sent events. It ends with an event `headrace`, or raises after an event `error`.
    """

    facts: Facts
    body: bytes = b""
    events: EventStream | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What `live.ask` gives, here and from afar.

    Attributes
    ----------
    value
        The answer: plain JSON data, or of the type that was asked for. Of a stream, the list of its items.
    version, request_id
        Which version answered, and the number of the request in the server's log.
    unchanged_as_of
        Text of the instant as of which nothing had changed that the answer was built on; None: something has, or nobody
        knows.
    changed
        Names of the views and tables that changed since they were read, sorted.
    stale_detail
        What changed in them, a sentence each; from afar, so many as fit into a header.
    fallback
        Which fallback answered; None: none did.
    made_at
        Of the fallback "cached": text of the instant at which the answer was made; None of every other answer.
    cache
        "hit", "miss", or None where the endpoint has no cache.
    reads
        What was read of the context, each with its age and its status; from afar, so many as fit into a header.
    stages
        Seconds per stage ("context", "model", ...) as the endpoint measured them.
    """

    value: Any
    version: str
    request_id: str
    unchanged_as_of: str | None = None
    stale: str = "unchecked"
    changed: tuple[str, ...] = ()
    stale_detail: tuple[str, ...] = ()
    retries: int = 0
    fallback: str | None = None
    made_at: str | None = None
    cache: str | None = None
    reads: tuple[ReadAge, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def of(cls, value: Any, facts: Facts) -> Asked:
        """From the facts of an answer."""
        at = facts.unchanged_as_of
        return cls(
            value=value,
            version=facts.version,
            request_id=facts.request,
            unchanged_as_of=None if at is None else isoformat(at),
            stale=facts.stale,
            changed=tuple(facts.changed),
            stale_detail=tuple(facts.stale_detail),
            retries=facts.retries,
            fallback=facts.fallback or None,
            made_at=None if facts.made_at is None else isoformat(facts.made_at),
            cache=facts.cache or None,
            reads=tuple(facts.reads),
            stages=dict(facts.stages),
        )

    @classmethod
    def from_headers(cls, value: Any, headers: Mapping[str, str]) -> Asked:
        """From the headers of an HTTP answer."""
        return cls(
            value=value,
            version=headers.get("x-headrace-version", ""),
            request_id=headers.get("x-headrace-request-id", ""),
            unchanged_as_of=headers.get("x-headrace-unchanged-as-of"),
            stale=headers.get("x-headrace-stale", "unchecked"),
            changed=tuple(name for name in headers.get("x-headrace-changed", "").split(", ") if name),
            stale_detail=tuple(json.loads(headers.get("x-headrace-stale-detail", "[]"))),
            retries=int(headers.get("x-headrace-retries", "0")),
            fallback=headers.get("x-headrace-fallback"),
            made_at=headers.get("x-headrace-made-at"),
            cache=headers.get("x-headrace-cache"),
            reads=tuple(_read(one) for one in headers.get("x-headrace-context", "").split(", ") if one),
            stages=_timing(headers.get("server-timing", "")),
        )


def _read(text: str) -> ReadAge:
    """One read as a header says it.

    >>> _read("menu; age_ms=12; status=fresh")
    ReadAge(name='menu', age_ms=12.0, status='fresh')
    """
    name, *parts = text.split("; ")
    told = dict(part.split("=", 1) for part in parts)
    return ReadAge(name, float(told["age_ms"]) if "age_ms" in told else None, told.get("status", "unknown"))


def _timing(header: str) -> dict[str, float]:
    """Seconds per stage; the total is none.

    >>> _timing("context;dur=0.250, model;dur=12.500, total;dur=13.100")
    {'context': 0.00025, 'model': 0.0125}
    """
    parts = [part.strip().partition(";dur=") for part in header.split(",") if ";dur=" in part]
    return {name: float(ms) / 1000 for name, _, ms in parts if name != "total"}
