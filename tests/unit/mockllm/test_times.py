"""Distributions, fitted traces, faults by share, slots, limits, settings."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from statistics import median, quantiles

import pytest

from headrace.core.clock import SystemClock
from headrace.core.errors import DeclarationError
from headrace.mockllm.faults import KINDS, Lottery, parse_fault
from headrace.mockllm.quota import Quota
from headrace.mockllm.settings import load_settings
from headrace.mockllm.slots import Slots
from headrace.models.simulation.distribution import Empirical, parse_distribution
from headrace.models.simulation.fitting import Record, fit, read_trace


def draws(text: str, n: int = 20_000) -> list[float]:
    distribution, generator = parse_distribution(text), random.Random(3)
    return [distribution.draw(generator) for _ in range(n)]


def test_a_lognormal_has_the_quantiles_that_it_is_given_by() -> None:
    seen = draws("lognormal(300ms, p99=2s)")
    assert median(seen) == pytest.approx(0.3, rel=0.03)
    assert quantiles(seen, n=100)[98] == pytest.approx(2, rel=0.1)
    assert quantiles(draws("lognormal(70, p1=30)"), n=100)[0] == pytest.approx(30, rel=0.05)


def test_the_others_are_what_their_names_say() -> None:
    assert set(draws("1m", 10)) == {60.0}
    assert min(draws("uniform(100ms, 1s)")) >= 0.1
    assert max(draws("uniform(100ms, 1s)")) <= 1.0
    assert sum(draws("exponential(200ms)")) / 20_000 == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    "text",
    ["", "fast", "-1s", "uniform(1s, 100ms)", "lognormal(300ms)", "lognormal(300ms, p99=100ms)",
     "lognormal(1s, p50=2s)", "exponential(0)", "normal(1, 2)", "lognormal(300ms, 99=2s)"],
)  # fmt: skip
def test_what_is_no_distribution_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError):
        parse_distribution(text)


def test_a_fit_finds_what_a_trace_was_made_of() -> None:
    generator, records = random.Random(5), []
    for _ in range(1500):
        prompt, output = generator.randint(10, 8000), generator.randint(2, 400)
        first = 0.3 * generator.lognormvariate(0, 0.4) + prompt / 4000
        if generator.random() < 0.02:
            first += 20  # a few stuck requests must not bend the prefill speed
        records.append(Record(prompt, output, first, first + (output - 1) / generator.uniform(50, 90)))
    found = fit(records, random.Random(0))
    assert found.prefill == pytest.approx(4000, rel=0.1)
    assert found.first_token.values[len(found.first_token.values) // 2] == pytest.approx(0.3, rel=0.15)
    assert found.tokens_per_second is not None
    drawn = [found.tokens_per_second.draw(generator) for _ in range(2000)]
    assert 50 <= min(drawn) <= 52
    assert median(drawn) == pytest.approx(70, rel=0.05)
    assert found.output_tokens.values[0] == 2


def test_an_empirical_draw_lies_within_what_was_seen() -> None:
    one = Empirical.of([3.0, 1.0, 2.0])
    assert all(1 <= one.draw(random.Random(i)) <= 3 for i in range(100))
    assert Empirical.of([5.0]).draw(random.Random(1)) == 5.0


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "no record"), ("{}\n", "trace.jsonl:1"), ("x", ":1"),
     ('\n{"prompt_tokens": 1, "output_tokens": 1, "first_token": 2, "total": 1}', ":2")],
)  # fmt: skip
def test_a_bad_trace_is_told_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(text)
    with pytest.raises(DeclarationError, match=told):
        read_trace(file)


def test_shares_are_kept() -> None:
    lottery = Lottery({"500": 0.1, "stall": 0.05, "cut": 0.0}, random.Random(1), after=7)
    drawn = [lottery.draw() for _ in range(20_000)]
    kinds = [fault.kind for fault in drawn if fault is not None]
    assert kinds.count("500") == pytest.approx(2000, rel=0.1)
    assert kinds.count("stall") == pytest.approx(1000, rel=0.1)
    assert set(kinds) == {"500", "stall"}
    assert {fault.after for fault in drawn if fault is not None} == {7}


@pytest.mark.parametrize("text", ["typo", "cut; after", "cut; before=1", "cut; after=-1"])
def test_what_is_no_failure_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError):
        parse_fault(text)


def test_all_kinds_can_be_named() -> None:
    assert [fault.kind for kind in KINDS if (fault := parse_fault(kind)) is not None] == list(KINDS)


def test_a_quota_refills_and_gives_back() -> None:
    quota = Quota(60, 600)
    assert quota.take(0.0, 600) is None
    assert quota.take(0.0, 10) == ("tokens", 1.0)
    quota.settle(0.0, 600, 100)
    assert quota.take(0.0, 500) is None
    assert quota.take(1.0, 10) is None
    told = dict(quota.headers(1.0, 0, anthropic=False))
    assert told[b"x-ratelimit-remaining-requests"] == b"58"
    assert told[b"x-ratelimit-reset-tokens"] == b"1m0s"
    claude = dict(quota.headers(1.0, 0, anthropic=True))
    assert claude[b"anthropic-ratelimit-tokens-reset"] == b"1970-01-01T00:01:00Z"


async def test_slots_go_to_who_waits_longest_and_survive_who_leaves() -> None:
    slots = Slots(1, 2)
    assert slots.take()
    assert not slots.take()
    first, second = asyncio.ensure_future(slots.wait()), asyncio.ensure_future(slots.wait())
    await SystemClock().sleep(0)
    assert slots.full
    slots.give()
    first.cancel()  # its turn has come, and it is gone
    await asyncio.wait([first, second])
    assert second.result() is None
    slots.give()
    assert slots.take()


def test_a_file_and_options_are_put_together(tmp_path: Path) -> None:
    file = tmp_path / "mock.yaml"
    file.write_text("failures: {429: 0.1, cut: 0.2}\nfirst_token: 0.5\nanswers: mine.py\n")
    found = load_settings(file, {"failures": {"429": 0.0}, "slots": 3})
    assert found.failures == {"429": 0.0, "cut": 0.2}
    assert (found.first_token, found.slots, found.answers) == ("0.5", 3, tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"first_token": "soon"}, "first_token: 'soon' is no distribution"), ({"slot": 1}, "slot: there is no such"),
     ({"failures": {"cut": 0.7, "500": 0.7}}, "more than 1"), ({"answers": [{"pick": "x"}]}, "picks nothing"),
     ({"answers": [{"when": "("}]}, "no regular expression"), ([1], "no mapping")],
)  # fmt: skip
def test_mistakes_in_a_file_are_told(settings: object, told: str, tmp_path: Path) -> None:
    file = tmp_path / "mock.yaml"
    file.write_text(json.dumps(settings))
    with pytest.raises(DeclarationError, match=told):
        load_settings(file, {})
