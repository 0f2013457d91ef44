"""Events of requests as lines of the log."""

from __future__ import annotations

import json
import logging
from decimal import Decimal

import pytest

from headrace.core.events import Answered, ModelCalled, Problem, ReadAge, Recorders
from headrace.server.eventlog import EventLog

ANSWERED = Answered("/a", "a-1", "r1", 200, 0.5, {"model": 0.4}, reads=(ReadAge("menu", 1.5, "fresh"),))
CALLED = ModelCalled("r1", "llm", "one", 200, 0.0, 0.1, 0.4, 10, 5, 0, Decimal("0.01"), 1, False, "done")


def test_requests_are_lines_of_json_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="headrace.events")
    assert EventLog.wanted()
    recorder = Recorders(EventLog())
    for event in (ANSWERED, CALLED, Problem("source:items", "source_failed", "gone")):
        recorder.record(event)
    kinds, documents = zip(*(line.split(" ", 1) for line in caplog.messages), strict=True)
    assert kinds == ("Answered", "ModelCalled")
    answered, called = map(json.loads, documents)
    assert (answered["endpoint"], answered["reads"][0]["age_ms"], answered["stages"]) == ("/a", 1.5, {"model": 0.4})
    assert (called["upstream"], called["cost"]) == ("one", "0.01")


def test_nobody_pays_for_lines_that_nobody_sees(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="headrace.events")
    assert not EventLog.wanted()
