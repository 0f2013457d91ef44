"""How answers came about: how long they took, the model's part of it, and what was done about rows that changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headrace.demo.figures import Quantiles
from headrace.pipeline.answer import Asked
from headrace.pipeline.stages import MODEL


@dataclass(slots=True)
class Answering:
    """The answers of one side.

    Attributes
    ----------
    took, model
        Real milliseconds from the question to its answer, and how many of them the model had.
    corrected
        Answers that were put right, or made again, because a row behind them had changed in the meantime.
    flagged
        Answers that went out all the same although one had, marked so.
    without_model
        Answers of the fallback: the model gave none, or not in time.
    """

    took: Quantiles = field(default_factory=Quantiles)
    model: Quantiles = field(default_factory=Quantiles)
    corrected: int = 0
    flagged: int = 0
    without_model: int = 0

    def note(self, asked: Asked, seconds: float) -> None:
        """One more answer, and how long it took."""
        self.took.add(seconds * 1000)
        self.model.add(asked.stages.get(MODEL, 0.0) * 1000)
        self.corrected += asked.retries > 0
        self.flagged += asked.stale == "changed"
        self.without_model += asked.fallback is not None

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "answer_ms": self.took.to_dict(0.5, 0.99),
            "model_ms": self.model.to_dict(0.5, 0.99),
            "corrected": self.corrected,
            "flagged": self.flagged,
            "without_model": self.without_model,
        }
