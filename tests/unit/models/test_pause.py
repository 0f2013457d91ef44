"""Upstreams that want to be left alone."""

from __future__ import annotations

import logging

import pytest

from headrace.models.failure import Failure
from headrace.models.pause import Pause, PauseLog
from headrace.models.quota import Quota


def test_a_pause_has_the_reason_of_what_ends_last() -> None:
    quota = Quota()
    assert quota.paused(0.0) == 0.0
    quota.on_refusal(0.0, Failure.QUOTA, None)
    quota.on_refusal(1.0, Failure.RATE_LIMITED, 20.0)
    assert (quota.paused(1.0), quota.why) == (299.0, Failure.QUOTA)
    quota.on_refusal(2.0, Failure.RATE_LIMITED, 600.0)
    assert (quota.paused(2.0), quota.why, quota.paused(700.0)) == (600.0, Failure.RATE_LIMITED, 0.0)


def test_what_rate_limits_do_all_day_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = PauseLog("llm")
    log.begins(0.0, Pause("a", 9.0, Failure.RATE_LIMITED), "slow down")
    log.ends(9.0, "a")
    log.begins(10.0, Pause("a", 60.0, Failure.RATE_LIMITED), "slow down")
    log.begins(80.0, Pause("a", 300.0, Failure.QUOTA), "pay")
    log.begins(380.0, Pause("a", 300.0, Failure.QUOTA), "pay")
    log.ends(700.0, "a")
    assert [record.message for record in caplog.records] == [
        "the model 'llm': a is paused for 60 s: it is over its rate limits (slow down)",
        "the model 'llm': a is paused for 300 s: no credit is left there (pay)",
        "the model 'llm': a answers again, after a pause of 690 s",
    ]
