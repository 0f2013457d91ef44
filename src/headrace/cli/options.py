"""Types of options that several commands have: what makes no sense is told before the work begins."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import click

from headrace.core.clock import SECOND
from headrace.core.durations import parse_duration
from headrace.core.errors import DeclarationError, Misuse

_LEAST, _MOST = 1e-9, 1e15
"""Numbers beyond are written by mistake, and what is reckoned with them has no meaning, or no end."""


class Number(click.FloatRange):
    """A number within bounds; none that is no number or without end."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of a text."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        if found and not _LEAST <= abs(found) <= _MOST:
            self.fail(f"{value} is not from {_LEAST:g} to {_MOST:g}", param, ctx)
        return found


class Whole(click.IntRange):
    """A whole number within bounds."""

    name = "integer"


def positive(most: float | None = None) -> Number:
    """A number above zero."""
    return Number(min=0, min_open=True, max=most)


class Lasting(click.types.StringParamType):
    """A duration with its unit, up to a longest one; in seconds."""

    name = "duration"

    def __init__(self, most: str) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The seconds of a text."""
        try:
            found = parse_duration(value)
        except DeclarationError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)
        if found > parse_duration(self.most):
            self.fail(f"{value!r} is longer than {self.most}", param, ctx)
        return found / SECOND


class Address(click.types.StringParamType):
    """The URL of a server."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The URL, if it is one."""
        from headrace.http1.origin import Origin

        try:
            Origin.parse(value)
        except Misuse as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)
        return str(value)


class OutFile(click.Path):
    """A file to be written in the end: whether that can be is known before the work is done."""

    def __init__(self, *, allow_dash: bool = False) -> None:
        super().__init__(dir_okay=False, path_type=Path, writable=True, allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path of a text."""
        if not str(value):
            self.fail("the name of the file is empty", param, ctx)
        found = super().convert(value, param, ctx)
        if not (self.allow_dash and str(value) == "-"):
            folder = Path(value).parent
            if not folder.is_dir():
                self.fail(f"{str(value)!r}: there is no folder {str(folder)!r}", param, ctx)
            try:
                _try(Path(value))
            except OSError as error:
                self.fail(f"{str(value)!r} cannot be written: {error.strerror}", param, ctx)
        return found


def _try(file: Path) -> None:
    """Raise `OSError` where a file cannot be written. It is as before then: what is no plain file is left alone."""
    there = file.exists()
    if there and not stat.S_ISREG(file.stat().st_mode):
        return
    os.close(os.open(file, os.O_WRONLY if there else os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    if not there:
        file.unlink()
