"""Files: JSON lines, CSV and Parquet, read once and then followed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import ClassVar

from headrace.core.durations import Duration, format_duration, parse_duration
from headrace.core.errors import DeclarationError, SourceError
from headrace.core.findings import Finding, Grade
from headrace.sources import parquet
from headrace.sources.base import Opening, Partition, Source
from headrace.sources.folder import Pattern
from headrace.sources.formats import SUFFIXES, FileFormat, Formats, known_format
from headrace.sources.tail import Tail, started

MAX_LINE = 1 << 20
"""The longest line or CSV record by default, in bytes."""


class Files(Source):
    """The records of a file, of the files that match a glob, or of the files in a folder.

    Existing content is read first, then appended lines and new files are followed; every record is delivered once,
    over restarts, rotations and truncations (see the how-to page for what that rests on). For a table by key, records
    are upserts.

    Parameters
    ----------
    path
        A file, a glob ("logs/**/*.jsonl") or a folder (its files with a known suffix, not those in folders below).
        Compressed files, names that begin with "." and names that end in "~", ".tmp", ".part" are left out.
    format
        "jsonl", "csv" or "parquet"; by the name's suffix if not given (.jsonl .ndjson .json .log, .csv .tsv, .parquet
        .pq, each also with a rotation number behind it).
    follow
        False: read what is there, then end. The last line then needs no newline.
    poll
        How often to look for changes.
    delimiter
        Between CSV columns; "," if not given, and a tab for .tsv.
    encoding
        Of JSON lines and CSV; an encoding that writes ASCII as ASCII.
    max_line
        The longest line or CSV record, in bytes; of a longer one the first part goes to quarantine.
    envelope
        Whether `{"op": "delete", "key": ...}` lines (JSON lines) are deletes.
    expect
        A sign of life is given with every pass over the files, so this is rarely needed.

    Raises
    ------
    DeclarationError
        When a parameter cannot be true.

    Examples
    --------
    >>> Files("orders.jsonl").describe()
    'files orders.jsonl (jsonl), followed every 200ms'
    """

    kind: ClassVar[str] = "files"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: FileFormat | None = None,
        follow: bool = True,
        poll: Duration = "200ms",
        delimiter: str | None = None,
        encoding: str = "utf-8",
        max_line: int = MAX_LINE,
        envelope: bool = True,
        expect: Duration | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.format: FileFormat | None = _checked_format(format)
        self.follow = follow
        self.poll = parse_duration(poll)
        self.delimiter = _checked_delimiter(delimiter)
        self.encoding = _checked_encoding(encoding)
        self.max_line = max_line
        # Rows of a table are records, whatever their columns are called.
        self.envelope = envelope and (self.format or known_format(self.path)) not in ("csv", "parquet")
        self.expect = None if expect is None else parse_duration(expect)
        if max_line < 1:
            raise DeclarationError(f"max_line={max_line} is not positive", hint="give the longest line in bytes")

    async def open(self, opening: Opening) -> Sequence[Partition]:
        pattern = await asyncio.to_thread(self._pattern)
        if (self.format or known_format(self.path)) == "parquet":
            parquet.load()
        formats = Formats(
            self.format,
            delimiter=self.delimiter,
            encoding=self.encoding,
            max_line=self.max_line,
            envelope=self.envelope,
        )
        return [
            Tail(
                pattern,
                formats,
                opening.resume.get(Tail.name),
                opening.clock,
                follow=self.follow,
                poll=self.poll,
            )
        ]

    async def examine(self, opening: Opening) -> Sequence[Finding]:
        """Whether there is something to read, and whether this user may."""
        return await asyncio.to_thread(self._examined, f"table {opening.schema.name}")

    def _examined(self, subject: str) -> list[Finding]:
        try:
            files = self._pattern().files()
        except SourceError as error:
            return [Finding(subject, "files", Grade.PROBLEM, self.path, f"{error.message}. To do: {error.hint}.")]
        closed = [file.path for file in files if not os.access(file.path, os.R_OK)]
        if closed:
            shown = ", ".join(closed[:5]) + (" ..." if len(closed) > 5 else "")
            return [Finding(subject, "files", Grade.PROBLEM, shown, "This user may not read them. Correct their mode.")]
        if not files:
            return [Finding(subject, "files", Grade.WARNING, f"none at {self.path}", "It is waited for.")]
        return [Finding(subject, "files", Grade.OK, f"{len(files)} at {self.path}")]

    def describe(self) -> str:
        how = f"followed every {format_duration(self.poll)}" if self.follow else "read once"
        kind = self.format or known_format(self.path) or "each by its suffix"
        return f"files {self.path} ({kind}), {how}"

    def _pattern(self) -> Pattern:
        suffixes = [s for kind, names in SUFFIXES.items() if self.format in (None, kind) for s in names]
        pattern = Pattern(self.path, suffixes)
        started(pattern, follow=self.follow)
        if not pattern.is_set and self.format is None and known_format(self.path) is None:
            raise SourceError(
                f"the name {self.path} does not tell the format",
                hint='give format="jsonl", "csv" or "parquet"; if it is a folder, create it first',
                source=self.kind,
                permanent=True,
            )
        return pattern


def _checked_format(value: FileFormat | None) -> FileFormat | None:
    if value is not None and value not in SUFFIXES:
        raise DeclarationError(f"format={value!r} is not known", hint='give "jsonl", "csv" or "parquet"')
    return value


def _checked_delimiter(value: str | None) -> str | None:
    if value is not None and (len(value) != 1 or value in '"\r\n'):
        raise DeclarationError(f"delimiter={value!r} is not one character", hint='give for example ";"')
    return value


def _checked_encoding(value: str) -> str:
    try:
        same = '\n",{'.encode(value) == b'\n",{'
    except LookupError:
        raise DeclarationError(f"encoding={value!r} is not known", hint='give for example "latin-1"') from None
    if not same:
        raise DeclarationError(
            f"encoding={value!r} does not write ASCII as ASCII", hint="convert the files to UTF-8 first"
        )
    return "utf-8" if value.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig") else value
