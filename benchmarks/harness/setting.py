"""How a benchmark is to run: sizes, where it may write, and whether peers take part."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

BENCHMARKS = ROOT / "benchmarks"


@dataclass(frozen=True)
class Setting:
    """One run of the benchmarks.

    Attributes
    ----------
    size
        "quick": small, to see that everything works; "normal": the figures; "full": also what takes many minutes.
    peers
        Whether peers are measured beside ours.
    work
        An empty folder on a real disk.
    core
        The core that pinned work runs on.
    repeats
        How often an alternating measurement is repeated; medians are reported.
    """

    size: str
    peers: bool
    work: Path
    core: int
    repeats: int

    def pick(self, quick: T, normal: T, full: T | None = None) -> T:
        """The value for this size; `full` is `normal` if not given."""
        if self.size == "quick":
            return quick
        return full if self.size == "full" and full is not None else normal

    def folder(self, name: str) -> Path:
        """A fresh, empty folder for one measurement."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path
