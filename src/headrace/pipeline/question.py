"""What makes two requests the same question: their input, and whatever else of them the handler looks at.

The input counts as the handler is given it (see `canonical`), before the handler runs, which may change it.

A handler that looks at the user gives answers for that user. Nobody has to declare it: what a version's handler has
looked at so far is part of the question. When it looks at something new, answers of before are not found any more; so
an answer is only ever found for a request in which all that it could depend on is the same.
"""

from __future__ import annotations

import logging
from typing import Any

from headrace.pipeline.ask import Ask
from headrace.pipeline.cache import question_hash
from headrace.pipeline.context import ALONE
from headrace.pipeline.handling import Work

log = logging.getLogger("headrace.pipeline")

_MOST_SEEN = 64
"""Names that are remembered: a handler may look at a header whose name a stranger chooses."""


class Questions:
    """Hashes the questions of one endpoint."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: dict[str, frozenset[str]] = {}
        self._told = False

    def take(self, work: Work) -> None:
        """Take down what is asked, before the handler runs."""
        try:
            work.asked = question_hash(work.ask.input)
        # A boundary to user code: a class may say itself how it is taken apart. Whatever it raises, there is an answer.
        except Exception as error:
            if not self._told:
                self._told = True
                why = f"{type(error).__name__}: {error}"
                log.warning("inputs of %s cannot be compared, so answers to them are not kept: %s", self._path, why)

    def note(self, work: Work) -> bool:
        """An answer was made; whether another request may have it."""
        now = frozenset[str]().union(*(run.seen for run in work.runs))
        before = self._seen.get(work.label, frozenset[str]())
        if not now <= before:
            if len(before | now) > _MOST_SEEN:
                return False
            self._seen[work.label] = before | now
        return ALONE not in now

    def of(self, work: Work) -> str | None:
        """The hash of a request's question; None: it is like no other."""
        seen = self._seen.get(work.label)
        if work.asked is None or not seen:
            return work.asked
        return question_hash(work.asked, *([name, _part(work.ask, name)] for name in sorted(seen)))


def _part(ask: Ask, name: str) -> Any:
    kind, _, header = name.partition(" ")
    return ask.headers.get(header) if kind == "header" else str(getattr(ask, name, ""))
