"""What a request wants to have read for its prompt: in the member `headrace` of its body, or in headers.

    {"model": "llm", "messages": [...],
     "headrace": {"context": [{"view": "menu", "params": {"restaurant_id": "r7"}, "policy": "refuse"}],
                  "as": "system", "on_stale": "flag"}}

    x-headrace-context: menu?restaurant_id=r7&_policy=refuse
    x-headrace-context-as: system
    x-headrace-on-stale: flag

A header may hold several views with commas between them, and may come several times. The body's member comes first.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from headrace.context.policy import FreshnessPolicy
from headrace.core.errors import BadParameter
from headrace.core.shape import misfit
from headrace.http1.headers import Fields
from headrace.server.ask import parse_max_age, parse_policy, parse_query
from headrace.server.gateway.complaint import Complaint

CONTEXT = b"x-headrace-context"
PLACE = b"x-headrace-context-as"
ON_STALE = b"x-headrace-on-stale"


class OnStale(enum.StrEnum):
    """What to do when the context changed before the answer was there."""

    FLAG = "flag"
    RETRY = "retry"
    REFUSE = "refuse"


Place = Literal["system", "user"]


class _View(msgspec.Struct, forbid_unknown_fields=True):
    view: str
    params: dict[str, Any] = {}
    policy: str | None = None
    max_age: str | float | None = None


class _Member(msgspec.Struct, forbid_unknown_fields=True):
    context: list[_View] = []
    place: Place = msgspec.field(name="as", default="system")
    on_stale: OnStale = OnStale.FLAG


_DECODE = msgspec.json.Decoder(_Member)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One view to read."""

    view: str
    params: dict[str, Any]
    policy: FreshnessPolicy | None
    max_age: int | None


@dataclass(frozen=True, slots=True)
class Wish:
    """All that one request wants."""

    views: tuple[Wanted, ...]
    place: Place
    on_stale: OnStale


def read(extra: bytes | None, headers: Fields, *, max_reads: int, max_wait: int) -> Wish | None:
    """What a request wants; None when it wants nothing.

    Raises
    ------
    Complaint
        It cannot be understood; `param` says where.

    Examples
    --------
    >>> wish = read(None, [(b"x-headrace-context", b"menu?restaurant_id=r7")], max_reads=9, max_wait=0)
    >>> wish.views[0].view, wish.views[0].params, wish.place
    ('menu', {'restaurant_id': 'r7'}, 'system')
    """
    member = _Member()
    if extra is not None and extra != b"null":
        try:
            member = _DECODE.decode(extra)
        except (msgspec.DecodeError, RecursionError) as error:
            path, what, _ = misfit(str(error))
            place = f"headrace.{path}" if path else "headrace"
            if "enum value" in what:
                what += "; `as` is system or user, `on_stale` is flag, retry or refuse"
            raise Complaint(400, f"{place}: {what}", code="invalid_value", param=place) from None
    place, on_stale = member.place, member.on_stale
    try:
        views = [_wanted(one, max_wait) for one in member.context]
        for name, value in headers:
            if not name.startswith(b"x-headrace-"):
                continue
            if name == CONTEXT:
                views += [_of_header(part.strip(), max_wait) for part in value.split(b",") if part.strip()]
            elif name == PLACE:
                place = _place(value)
            elif name == ON_STALE:
                on_stale = _on_stale(value)
    except BadParameter as error:
        message = f"headrace.context: {error.message}; {error.hint}"
        raise Complaint(400, message, code="invalid_context", param="headrace.context") from None
    if len(views) > max_reads:
        message = f"headrace.context: {len(views)} views are too many, at most {max_reads} are read"
        raise Complaint(400, message, code="invalid_value", param="headrace.context")
    return Wish(tuple(views), place, on_stale) if views else None


def check(headers: Mapping[bytes, bytes]) -> None:
    """Judge what headers say of context, also where they name none. Raises `Complaint` for a word that is none."""
    place, on_stale = headers.get(PLACE), headers.get(ON_STALE)
    if place is not None:
        _place(place)
    if on_stale is not None:
        _on_stale(on_stale)


def _wanted(one: _View, max_wait: int) -> Wanted:
    age = None if one.max_age is None else str(one.max_age)
    return Wanted(one.view, one.params, parse_policy(one.policy, max_wait), parse_max_age(age))


def _of_header(text: bytes, max_wait: int) -> Wanted:
    view, _, query = text.partition(b"?")
    params, controls = parse_query(query)
    policy = parse_policy(controls.get("_policy"), max_wait)
    return Wanted(view.decode("latin-1"), params, policy, parse_max_age(controls.get("_max_age")))


def _place(value: bytes) -> Place:
    if value == b"system":
        return "system"
    if value == b"user":
        return "user"
    raise _senseless(PLACE, value, "as", "system, user")


def _on_stale(value: bytes) -> OnStale:
    try:
        return OnStale(value.decode("latin-1"))
    except ValueError:
        raise _senseless(ON_STALE, value, "on_stale", "flag, retry, refuse") from None


def _senseless(name: bytes, value: bytes, member: str, known: str) -> Complaint:
    said = value[:40].decode("latin-1")
    message = f"{name.decode()}: {said!r} is none of {known}"
    return Complaint(400, message, code="invalid_header", param=f"headrace.{member}", retry=False)
