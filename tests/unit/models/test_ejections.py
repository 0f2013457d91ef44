"""That an upstream is left out is told once, and once that it is used again."""

from __future__ import annotations

import logging
from random import Random

import pytest

from headrace.models.call import Call, Usage
from headrace.models.ejections import Ejections
from headrace.models.failure import Failure
from headrace.models.settings import Policies, UpstreamSpec
from headrace.models.upstream import Upstream


def test_an_ejection_is_told_once_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    policies = Policies.model_validate({"breaker": {"jitter": 0}})
    one, call = Upstream(UpstreamSpec(name="a"), policies, Random(1)), Call("1", 100, 50, deadline=99.0)
    log = Ejections("llm", [one])
    for number in range(7):
        one.fail(float(number), one.start(float(number), call), Failure.SERVER_ERROR)
        log.look(float(number))
    one.end(12.0, one.start(10.0, call), Usage(100, 40))
    log.look(12.0)
    log.look(13.0)
    assert [record.message for record in caplog.records] == [
        "the model 'llm': a is left out for 5 s: 100 % of its attempts lately failed, or showed nothing",
        "the model 'llm': a is used again, after 8 s",
    ]
