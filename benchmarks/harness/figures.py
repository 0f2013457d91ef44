"""What a benchmark reports: figures beside their targets, and the file that they are kept in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Better = Literal["more", "less"]


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes
    ----------
    name
        What was measured, as it stands in the table.
    value, unit
        The median over `runs`, unless the name says otherwise.
    target
        None: measured for information.
    better
        Whether the target is a floor ("more") or a ceiling ("less").
    peer, peer_name
        The peer's value in the same run, same unit; None without a peer.
    runs
        Every single run, in order.
    detail
        Anything else worth keeping (percentiles, counts).
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Better = "more"
    peer: float | None = None
    peer_name: str = ""
    runs: Sequence[float] = ()
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "more" else self.value <= self.target

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer (above 1: ours is better); None without one."""
        if self.peer is None or not self.peer or not self.value:
            return None
        return self.value / self.peer if self.better == "more" else self.peer / self.value


@dataclass
class Result:
    """The figures of one benchmark and what a reader must know of them.

    `load_*` is the load average of the last minute, `pace_*` see `machine.pace`: on a quiet machine it does not change.
    """

    benchmark: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    peers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    load_before: float = 0.0
    load_after: float = 0.0
    pace_before: float = 0.0
    pace_after: float = 0.0

    def add(self, name: str, value: float, unit: str, **more: Any) -> None:
        """Add a figure; see `Figure` for `more`."""
        self.figures.append(Figure(name, value, unit, **more))

    def to_dict(self, context: dict[str, Any]) -> dict[str, Any]:
        """Plain data for JSON, with the context (machine, versions) first."""
        figures = [asdict(f) | {"met": f.met, "ratio": f.ratio} for f in self.figures]
        body = {name: value for name, value in asdict(self).items() if name != "figures"}
        return {**context, **body, "figures": figures}

    def write(self, folder: Path, context: dict[str, Any]) -> Path:
        """Keep the result as `<benchmark>.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.benchmark}.json"
        path.write_text(json.dumps(self.to_dict(context), indent=1) + "\n")
        return path


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and max by the nearest rank, with the count; {} without values."""
    if not values:
        return {}
    ordered = sorted(values)

    def rank(share: float) -> float:
        return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]

    return {"p50": rank(0.5), "p90": rank(0.9), "p99": rank(0.99), "max": ordered[-1], "count": len(ordered)}


def median(values: Sequence[float]) -> float:
    """The median; raises on an empty sequence."""
    return statistics.median(values)
