"""The note of an unfinished copy: which parts of a table are stored, so that a copy goes on where one broke off.

A copy that goes on has a snapshot of its own, later than that of the parts that are stored. What of a part changed in
between is told by the server itself: each version of a row knows the transaction that made it (`xmin`), and each
snapshot knows a transaction number before which everything had ended (its own xmin). A version that is visible now, and
that was made before that number, was visible in the earlier snapshot too, and at the same place: it was copied. So of a
part that is stored only the versions from that number on are fetched, and the keys of the others; a key that no part
names any more is gone at the server. This stands on what must be the same as before, and is checked: the cluster and
its timeline, the file of the relation (it is another one after TRUNCATE, VACUUM FULL and CLUSTER, which move rows), and
the shape of the table. Transaction numbers are compared modulo 2^32, which is right for two thousand million of them.

The note is JSON, stored with the rows:

    {"system":"77...","timeline":1,"shape":"9f...","runs":[{"lsn":"0/15","xmin":741,
     "files":{"16385":16385},"parts":{"16385":[[0,8192],[16384,null]]}}]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from headrace.sources.postgres.lsn import Lsn, format_lsn, parse_lsn
from headrace.sources.postgres.tables import ServerTable

Range = tuple[int, int | None]
"""Pages of a relation, from the first to before the last; None: to its end."""

FURTHEST = 1 << 30
"""How many transactions may lie between two snapshots: half of what can be told apart, for good measure."""


@dataclass(frozen=True, slots=True)
class Run:
    """The parts that one snapshot brought.

    Attributes
    ----------
    lsn
        What was committed before it is in the snapshot.
    xmin
        Every transaction before this number had ended by then; 64 bits.
    files
        The file of each relation, by oid.
    parts
        Ranges of pages, by oid of the relation.
    """

    lsn: Lsn
    xmin: int
    files: Mapping[int, int]
    parts: Mapping[int, tuple[Range, ...]] = field(default_factory=dict[int, "tuple[Range, ...]"])

    def covers(self, oid: int, part: Range) -> bool:
        """Whether all of these pages are in."""
        return any(_within(part, known) for known in self.parts.get(oid, ()))

    def adding(self, oid: int, part: Range) -> Run:
        """With one more part."""
        joined = _joined([*self.parts.get(oid, ()), part])
        return replace(self, parts={**self.parts, oid: joined})


@dataclass(frozen=True, slots=True)
class Note:
    """What is stored of one table of which a copy is under way.

    Examples
    --------
    >>> run = Run(16, 741, {9: 9}).adding(9, (8192, 16384)).adding(9, (0, 8192)).adding(9, (24576, None))
    >>> note = Note("77", 1, "shape", (run,))
    >>> run.parts
    {9: ((0, 16384), (24576, None))}
    >>> Note.parse(note.text) == note
    True
    """

    system: str
    timeline: int
    shape: str
    runs: tuple[Run, ...]

    @property
    def text(self) -> str:
        """The note as it is stored."""
        runs = [
            {
                "lsn": format_lsn(run.lsn),
                "xmin": run.xmin,
                "files": {str(oid): file for oid, file in run.files.items() if oid in run.parts},
                "parts": {str(oid): parts for oid, parts in run.parts.items()},
            }
            for run in self.runs
            if run.parts
        ]
        found = {"system": self.system, "timeline": self.timeline, "shape": self.shape, "runs": runs}
        return msgspec.json.encode(found).decode()

    @classmethod
    def parse(cls, text: str) -> Note | None:
        """The note that `text` is; None when it is none: then everything is copied."""
        try:
            found: Any = msgspec.json.decode(text)
            runs = tuple(
                Run(
                    parse_lsn(run["lsn"]),
                    int(run["xmin"]),
                    {int(oid): int(file) for oid, file in run["files"].items()},
                    {int(oid): tuple((int(a), b) for a, b in parts) for oid, parts in run["parts"].items()},
                )
                for run in found["runs"]
            )
            return cls(str(found["system"]), int(found["timeline"]), str(found["shape"]), runs)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
            return None


def shape_of(table: ServerTable) -> str:
    """What must not have changed, as a short text: the columns of the copy, and what the record makes of them."""
    at_server = [(column.name, column.type) for column in table.copied()]
    declared = [(column.name, column.type.value, column.nullable) for column in table.schema.columns]
    text = repr((at_server, declared, table.schema.key, table.is_partitioned))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def usable(
    note: Note | None, *, system: str, timeline: int, end: Lsn, shape: str, xmin: int, files: Mapping[int, int]
) -> tuple[Run, ...]:
    """The runs of a note that hold at this server, under this snapshot, each with the relations that are as they were.

    Parameters
    ----------
    end
        Where the server's log ends; a run beyond it is of a history that is gone.
    xmin
        That of the snapshot of the copy that goes on.
    """
    if note is None or (note.system, note.timeline, note.shape) != (system, timeline, shape):
        return ()
    found: list[Run] = []
    for run in note.runs:
        same = {oid: parts for oid, parts in run.parts.items() if files.get(oid, -1) == run.files.get(oid)}
        if same and run.lsn <= end and 0 <= xmin - run.xmin < FURTHEST:
            found.append(replace(run, parts=same))
    return tuple(found)


def _within(part: Range, known: Range) -> bool:
    first, last = known
    return part[0] >= first and (last is None or (part[1] is not None and part[1] <= last))


def _joined(parts: Sequence[Range]) -> tuple[Range, ...]:
    """The same pages in as few ranges as can be, in order."""
    found: list[Range] = []
    for first, last in sorted(parts, key=lambda part: part[0]):
        before = found[-1] if found else None
        if before is not None and (before[1] is None or first <= before[1]):
            found[-1] = (before[0], None if before[1] is None or last is None else max(before[1], last))
        else:
            found.append((first, last))
    return tuple(found)
