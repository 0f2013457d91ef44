"""Where a stream stands: one text for all of its tables, committed with the rows that it stands for.

The text is JSON that a person can read:

    {"system":"7712130745436667800","timeline":1,"lsn":"0/1528418","tables":{"items":{"oid":16385,"after":"0/1530000"}}}

`lsn` is where the last whole transaction ended: those that end at or before it are in the store. `after` is there for a
table that was copied later than that: its changes up to there came with the copy. `new` says that the slot for it was
not yet seen, so that one that is missing is nobody's fault. The identity of the server and of each table tells whether
the place means anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from headrace.core.changes import Position
from headrace.core.errors import SourceError
from headrace.sources.postgres.lsn import Lsn, format_lsn, parse_lsn


@dataclass(frozen=True, slots=True)
class Place:
    """What is remembered of one table: which it was (`oid`), up to where its copy reaches (`after`; 0: no further than
    the stream), and by what entry the publication has it (`member`; 0: not known)."""

    oid: int
    after: Lsn = 0
    member: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a stream stands.

    Attributes
    ----------
    system
        The server's system identifier.
    timeline
        The timeline that `lsn` is on.
    lsn
        The end of the last whole transaction that is in.
    tables
        The tables that were copied, by the names that they are declared with.
    new
        The copy is complete, and the slot was not yet made.

    Examples
    --------
    >>> standing = Standing("77", 1, 16, {"items": Place(16385)})
    >>> standing.text
    '{"system":"77","timeline":1,"lsn":"0/10","tables":{"items":{"oid":16385}}}'
    >>> Standing.parse(standing.text) == standing
    True
    """

    system: str
    timeline: int
    lsn: Lsn
    tables: Mapping[str, Place] = field(default_factory=dict[str, Place])
    new: bool = False

    @property
    def text(self) -> Position:
        """The position as it is stored."""
        tables = {
            name: {"oid": place.oid}
            | ({"member": place.member} if place.member else {})
            | ({"after": format_lsn(place.after)} if place.after > self.lsn else {})
            for name, place in sorted(self.tables.items())
        }
        found: dict[str, Any] = {"system": self.system, "timeline": self.timeline, "lsn": format_lsn(self.lsn)}
        found["tables"] = tables
        return msgspec.json.encode(found | ({"new": True} if self.new else {})).decode()

    @classmethod
    def parse(cls, text: Position) -> Standing:
        """The standing that `text` says.

        Raises
        ------
        SourceError
            It was not written here.
        """
        try:
            found: Any = msgspec.json.decode(text)
            tables = {
                str(name): Place(
                    int(place["oid"]),
                    parse_lsn(place["after"]) if "after" in place else 0,
                    int(place.get("member", 0)),
                )
                for name, place in found["tables"].items()
            }
            lsn = parse_lsn(found["lsn"])
            return cls(str(found["system"]), int(found["timeline"]), lsn, tables, bool(found.get("new")))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
            raise SourceError(
                f"the stored position {text!r:.200} is not that of a PostgreSQL stream",
                hint="was the table fed by another kind of source before? Drop its data to begin anew",
                permanent=True,
            ) from None

    def at(self, lsn: Lsn) -> Standing:
        """The same stream, further on (never back), with its slot made."""
        return replace(self, lsn=max(lsn, self.lsn), new=False)

    def after(self, table: str) -> Lsn:
        """Transactions that end at or before this place have nothing new for `table`."""
        place = self.tables.get(table)
        return self.lsn if place is None else max(self.lsn, place.after)
