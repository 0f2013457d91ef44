"""What makes two requests the same question: their input, and whatever else of them the handler looks at.

A handler that looks at the user gives answers for that user. Nobody has to declare it: what a version's handler has
looked at so far is part of the question. When it looks at something new, answers of before are not found any more; so
an answer is only ever found for a request in which all that it could depend on is the same.
"""

from __future__ import annotations

from headrace.pipeline.ask import Ask
from headrace.pipeline.cache import question_hash
from headrace.pipeline.context import ALONE
from headrace.pipeline.handling import Work
from headrace.pipeline.shape import Shape


class Questions:
    """Hashes the questions of one endpoint."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._seen: dict[str, frozenset[str]] = {}

    def note(self, work: Work) -> bool:
        """An answer was made; whether another request may have it."""
        now = frozenset[str]().union(*(run.seen for run in work.runs))
        before = self._seen.get(work.label, frozenset[str]())
        if not now <= before:
            self._seen[work.label] = before | now
        return ALONE not in now

    def of(self, work: Work) -> str:
        """The hash of a request's question."""
        plain = self._shape.takes.dump_python(work.ask.input, mode="json")
        seen = sorted(self._seen.get(work.label, ()))
        return question_hash(plain, *(f"{name}={_part(work.ask, name)}" for name in seen))


def _part(ask: Ask, name: str) -> str:
    kind, _, header = name.partition(" ")
    return ask.headers.get(header, "") if kind == "header" else str(getattr(ask, name, ""))
