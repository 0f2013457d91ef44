"""Types of options that several commands have."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click


class Number(click.FloatRange):
    """A number within bounds; none that is no number or without end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of a text."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return found


def positive(most: float | None = None) -> Number:
    """A number above zero."""
    return Number(min=0, min_open=True, max=most)


class OutFile(click.Path):
    """A file to be written in the end: whether that can be is known before the work is done."""

    def __init__(self, *, allow_dash: bool = False) -> None:
        super().__init__(dir_okay=False, path_type=Path, writable=True, allow_dash=allow_dash)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path of a text."""
        found = super().convert(value, param, ctx)
        if not (self.allow_dash and str(value) == "-"):
            folder = Path(value).parent
            if not folder.is_dir():
                self.fail(f"{str(value)!r}: there is no folder {str(folder)!r}", param, ctx)
            if not os.access(folder, os.W_OK):
                self.fail(f"{str(value)!r}: the folder {str(folder)!r} cannot be written to", param, ctx)
        return found
