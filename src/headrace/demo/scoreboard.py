"""Everything that the demo shows and writes: one object, filled as things happen."""

from __future__ import annotations

import os
import platform
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import apsw

from headrace.core.clock import SECOND, isoformat
from headrace.core.durations import format_duration
from headrace.core.version import VERSION
from headrace.demo.figures import Quantiles
from headrace.demo.plan import CityPlan
from headrace.demo.score import FAR, Side

DEFINITIONS = {
    "events_per_second": "rows sent to the live context and acknowledged as on disk, per real second of the run",
    "freshness_ms": "real milliseconds from a row being sent to its being readable in the live store, sampled",
    "change_to_readable_ms": "the same, counted from the change in the city: waiting to be sent is included",
    "sold_out_recommendations": "recommended dishes with no portion left when judged, of all recommended dishes",
    "wrong_prices": "recommended dishes at a price other than the one charged when judged, of all recommended dishes",
    "failed_orders": "dishes ordered from a recommendation and sold out when judged, of all ordered from one",
    "wrong_answers": "answers to 'where is my order right now?' with a state other than the true one, or with the "
    f"courier missing or more than {FAR:g} m off, of all such answers",
    "courier_position_error_m": "meters between the courier's place in an answer and the true one, where both exist",
    "age_city_seconds": "as-of age of the context behind each answer, in seconds of city time",
    "answer_ms": "real milliseconds from a question to its answer; `model_ms`: those that the model had of them",
    "corrected": "answers put right, or made again, because a row had changed between the read and the answer; "
    "`flagged`: answers that went out although one had, marked so (a batch copy cannot tell)",
    "without_model": "answers of the endpoint's fallback, because the model gave none in time",
    "unanswered": "questions that are scored for neither side: one side had no answer, or the queue was too long",
    "low95, high95": "95 % score interval (Wilson), as if cases were independent; several cases about one dish or "
    "order are not, so the true uncertainty is somewhat wider",
}
"""What each figure of the JSON means; `docs/concepts/demo.md` says more."""


FOLLOWED = {
    "events_per_second": "rows committed to the city's database, per real second of the run",
    "freshness_ms": "real milliseconds from a row's commit in the database to its being readable in the live store, "
    "sampled",
}
"""What differs when the app follows the city's database."""


@dataclass(frozen=True, slots=True)
class Story:
    """One question that the two sides answered differently: what was asked, said and true, as text."""

    question: str
    batch: str
    live: str
    truth: str


@dataclass(slots=True)
class Scoreboard:
    """The figures of one run.

    Attributes
    ----------
    window
        How often the batch twin is reloaded, microseconds of city time.
    seconds
        Real seconds so far.
    events
        Rows acknowledged, by table.
    loaded
        Rows of the first load, before the run began; not counted as events.
    rates
        Events per real second over the last while, oldest first.
    freshness, change_to_readable
        Real milliseconds; see `DEFINITIONS`.
    unseen
        Sampled rows that did not become readable within ten seconds.
    unanswered
        Questions that are scored for neither side, because one of them had no answer, or no place for the question.
    model
        Which model answers.
    followed
        Whether the app follows the city's database, rather than being sent rows.
    """

    plan: CityPlan
    seed: int
    speed: float
    window: int
    seconds: float = 0.0
    city_now: int = 0
    loaded: int = 0
    events: Counter[str] = field(default_factory=Counter[str])
    rates: deque[float] = field(default_factory=lambda: deque[float](maxlen=60))
    freshness: Quantiles = field(default_factory=Quantiles)
    change_to_readable: Quantiles = field(default_factory=Quantiles)
    unseen: int = 0
    unanswered: int = 0
    model: str = "mock-llm"
    followed: bool = False
    batch: Side = field(default_factory=Side)
    live: Side = field(default_factory=Side)
    story: Story | None = None

    @property
    def events_per_second(self) -> float:
        """Rows acknowledged per real second since the start."""
        return self.events.total() / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-ready, with definitions, versions and hardware."""
        return {
            "demo": "food-delivery",
            "version": VERSION,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "speed": self.speed,
            "batch_window": format_duration(self.window),
            "city": asdict(self.plan) | {"start": isoformat(self.plan.start), "until": isoformat(self.city_now)},
            "city_minutes": round((self.city_now - self.plan.start) / SECOND / 60, 2),
            "hardware": hardware(),
            "events": {
                "total": self.events.total(),
                "per_second": round(self.events_per_second, 1),
                "by_table": dict(self.events),
                "loaded_before_start": self.loaded,
            },
            "freshness_ms": self.freshness.to_dict(0.5, 0.99) | {"unseen": self.unseen},
            "change_to_readable_ms": self.change_to_readable.to_dict(0.5, 0.99),
            "batch": self.batch.to_dict(),
            "live": self.live.to_dict(),
            "model": self.model,
            "unanswered": self.unanswered,
            "fed_by": "postgres" if self.followed else "push",
            "definitions": {**DEFINITIONS, **(FOLLOWED if self.followed else {})},
        }


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
