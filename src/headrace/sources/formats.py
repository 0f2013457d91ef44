"""Formats: which reader a file gets, by its name or as declared."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from headrace.sources.csv import Csv
from headrace.sources.folder import has_suffix
from headrace.sources.lines import Format, JsonLines
from headrace.sources.parquet import Parquet

FileFormat = Literal["jsonl", "csv", "parquet"]
"""How a file holds its records."""

SUFFIXES: dict[FileFormat, tuple[str, ...]] = {
    "jsonl": (".jsonl", ".ndjson", ".json", ".log"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet", ".pq"),
}
"""By which names the format of a file is known."""


class Formats:
    """The readers of one source; each is made when a file first needs it. The parameters are those of `Files`."""

    def __init__(
        self, format: FileFormat | None, *, delimiter: str | None, encoding: str, max_line: int, envelope: bool
    ) -> None:
        self._format: FileFormat | None = format
        self._delimiter = delimiter
        self._encoding = encoding
        self._max_line = max_line
        self._envelope = envelope
        self._made: dict[str, Format] = {}

    def of(self, path: str) -> Format | None:
        """The reader of the file at `path`; None when neither its name nor the declaration tells."""
        kind = self._format or known_format(path)
        if kind is None:
            return None
        delimiter = ","
        if kind == "csv":
            delimiter = self._delimiter or ("\t" if has_suffix(path.rpartition("/")[2], (".tsv",)) else ",")
        name = kind + delimiter
        if name not in self._made:
            self._made[name] = self._make(kind, delimiter)
        return self._made[name]

    def close(self) -> None:
        """Let go of what the readers hold."""
        for reader in self._made.values():
            reader.close()

    def _make(self, kind: FileFormat, delimiter: str) -> Format:
        if kind == "csv":
            return Csv(max_line=self._max_line, encoding=self._encoding, delimiter=delimiter)
        if kind == "parquet":
            return Parquet()
        return JsonLines(max_line=self._max_line, encoding=self._encoding, envelope=self._envelope)


@lru_cache(maxsize=10_000)
def known_format(path: str) -> FileFormat | None:
    """The format that a name tells.

    >>> known_format("orders.jsonl.1"), known_format("orders.txt")
    ('jsonl', None)
    """
    name = path.rpartition("/")[2]
    return next((kind for kind, suffixes in SUFFIXES.items() if has_suffix(name, suffixes)), None)
