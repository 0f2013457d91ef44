"""Push: others send the records, over HTTP or from Python; nothing is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from headrace.core.durations import Duration, format_duration, parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.sizes import format_size
from headrace.sources.base import Opening, Partition, Source

MAX_BYTES = 16 * 1024 * 1024
"""The largest request body by default: about 100,000 ordinary records, judged in well under a second."""


class Push(Source):
    """A table that is fed by `POST /push/{table}`, `live.push(...)` or a client.

    Nobody knows whether a silent producer had something to say, so a pushed table is *unknown* once it was silent for
    longer than `expect`. A producer with nothing to say pushes an empty array as a sign of life.

    Parameters
    ----------
    expect
        The producer sends something at least this often ("30s"); the table's freshness promise if not given.
    max_bytes
        The largest request body; a larger one is answered with 413.

    Raises
    ------
    DeclarationError
        When a parameter cannot be true.

    Examples
    --------
    >>> Push(expect="30s").describe()
    'push, expected every 30s, at most 16 MiB a request'
    """

    kind: ClassVar[str] = "push"

    def __init__(self, *, expect: Duration | None = None, max_bytes: int = MAX_BYTES) -> None:
        if max_bytes <= 0:
            raise DeclarationError(f"max_bytes={max_bytes} is not positive", hint="give the largest body in bytes")
        self.expect = None if expect is None else parse_duration(expect)
        self.max_bytes = max_bytes

    async def open(self, opening: Opening) -> Sequence[Partition]:
        """Nothing to read from: no partitions."""
        return ()

    def describe(self) -> str:
        expected = "" if self.expect is None else f", expected every {format_duration(self.expect)}"
        return f"push{expected}, at most {format_size(self.max_bytes)} a request"
