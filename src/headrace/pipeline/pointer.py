"""Where in a JSON document something is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

Part = str | int

_MOST_WAYS = 64
"""Ways down a document that are looked at for one place: there are more only where its names are those of types."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in a document something is wrong.

    Attributes
    ----------
    pointer
        A JSON pointer into the document.
    read_as
        As what of a union it was read, the outermost first: the parts of Pydantic's place that the document has not.
    """

    pointer: str
    read_as: tuple[str, ...] = ()


def pointer(place: Iterable[Part]) -> str:
    """A JSON pointer (RFC 6901).

    >>> pointer(("items", 0, "a/b"))
    '/items/0/a~1b'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def find(document: Any, place: Sequence[Part], given: Any, *, parsed: bool, missing: bool = False) -> Spot:
    """The place of one of Pydantic's errors, within a document.

    Pydantic's places have more in them than the document: which member of a union was tried, and "[key]" for a key.
    Of the ways down the document by parts of the place, the one is taken that ends at what Pydantic was given.

    Parameters
    ----------
    given
        The value that is wrong; of a field that is missing, the object that should have it.
    parsed
        Whether the document is JSON that was parsed apart: it is equal to what Pydantic was given, and not the same.
    missing
        Whether the last part of the place is a field that is missing.

    Examples
    --------
    >>> find({"pet": {"kind": "cat", "zz": 1}}, ("pet", "Cat", "zz"), 1, parsed=True)
    Spot(pointer='/pet/zz', read_as=('Cat',))
    """
    end = place[:-1] if missing else place
    ways = list(islice(_ways(document, end), _MOST_WAYS))
    taken = next((taken for taken, value in ways if value is given or (parsed and _same(value, given))), ways[0][0])
    parts = [part for part, kept in zip(end, taken, strict=True) if kept]
    read_as = (str(part) for part, kept in zip(end, taken, strict=True) if not kept)
    return Spot(pointer([*parts, *place[len(end) :]]), tuple(read_as))


def _same(value: Any, given: Any) -> bool:
    """Whether two values that were parsed from JSON are equal."""
    return type(value) is type(given) and value == given


def _ways(value: Any, place: Sequence[Part]) -> Iterator[tuple[tuple[bool, ...], Any]]:
    """The ways down by parts of a place: which parts are taken, and what is there; those that take more come first.

    Into what is no plain data there is no way: what is left of the place is taken as it is.
    """
    if not place or not _plain(value):
        yield (True,) * len(place), value
        return
    if _has(value, place[0]):
        for taken, found in _ways(value[place[0]], place[1:]):
            yield (True, *taken), found
    for taken, found in _ways(value, place[1:]):
        yield (False, *taken), found


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, Mapping | list | tuple | str | int | float)


def _has(value: Any, part: Part) -> bool:
    if isinstance(value, Mapping):
        return part in cast("Mapping[Any, Any]", value)
    return isinstance(value, list | tuple) and isinstance(part, int) and part < len(cast("Sequence[Any]", value))
