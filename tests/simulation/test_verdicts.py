"""What `headrace simulate` says of an app: capacity is told from policies, and chance from a verdict. Real runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main

APP = """
import headrace as hr

app = hr.App("shop")
app.model(
    "llm",
    [
        hr.models.OpenAI(f"https://{name}.example.com/v1", model="large", name=name, key="NOT_SET"LIMIT)
        for name in (NAMES)
    ],
    deadline="DEADLINE",
    policies=POLICIES,
)
"""
WITHOUT = '{"balancer": {"failures": "elapsed"}, "quota": {"enabled": False}, "concurrency": {"kind": "fixed"}}'
"""What a black hole needs to attract calls."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declare(names: str = '"east", "west"', deadline: str = "20s", policies: str = "None", limit: str = "") -> None:
    parts = {"NAMES": names, "DEADLINE": deadline, "POLICIES": policies, "LIMIT": limit}
    text = APP
    for part, value in parts.items():
        text = text.replace(part, value)
    Path("app.py").write_text(text)


def simulate(scenario: str, *options: str) -> tuple[Result, dict[str, Any]]:
    """The command, and what it wrote."""
    command = ["simulate", "app.py", "--scenario", scenario, "--json", "result.json", *options]
    told = CliRunner().invoke(main, command)
    assert told.stderr == "", told.stderr
    [found] = json.loads(Path("result.json").read_text())
    agree(told, found)
    return told, found


def agree(told: Result, found: dict[str, Any]) -> None:
    """Text, JSON and the exit code say the same."""
    lines = told.output.splitlines()
    for verdict in ("pass", "fail", "undecided"):
        names = [line[10:].split(":")[0] for line in lines if line.startswith(f"{verdict:9} ")]
        assert names == [one["name"] for one in found["findings"] if one["verdict"] == verdict]
    short = [line[10:].split(":")[0] for line in lines if line.startswith("short ")]
    assert short == [one["phase"] for one in found["shortages"]]
    failed = any(one["verdict"] == "fail" for one in found["findings"])
    assert (found["holds"], told.exit_code) == (not failed, int(failed))
    assert (found["runs"] > 1) == any(line.startswith(f"played {found['runs']} times") for line in lines)


# Capacity ------------------------------------------------------------------------------------------------------------


def test_what_one_upstream_cannot_carry_is_told_as_capacity_and_not_held_against_the_policies(folder: Path) -> None:
    declare()
    told, found = simulate("black-hole")
    assert told.exit_code == 0
    assert "during: 8.9 calls/s come, the upstreams can then answer 7.4, 7.2 were answered in time." in told.output
    assert "it takes 1.41 times the capacity (slots or upstreams), or at most 6.3 calls/s." in told.output
    [shortage] = found["shortages"]
    assert shortage["rate"] == pytest.approx(8.87, abs=0.01)
    assert shortage["capacity"] == found["phases"][1]["capacity"] == pytest.approx(7.39, abs=0.01)
    assert 0.9 * shortage["capacity"] < shortage["answered"] < 1.05 * shortage["capacity"]
    goodput = found["findings"][1]
    assert goodput["name"] == "goodput, over what the upstreams can then answer"
    assert (goodput["verdict"], goodput["limit"], goodput["limit_is"]) == ("pass", 0.9, "at least")


@pytest.mark.parametrize("options", [("--rate", "6.3"), ("--rate", "8.86", "--slots", "34")])
def test_what_is_said_to_be_needed_is_enough(folder: Path, options: tuple[str, ...]) -> None:
    declare()
    told, found = simulate("black-hole", *options)
    assert told.exit_code == 0
    assert found["shortages"] == []
    assert [one["name"] for one in found["findings"]][1] == "calls without an answer in time"


@pytest.mark.parametrize("names", ['"east", "west"', '"east", "west", "north"'])
def test_a_lack_of_capacity_is_no_excuse_for_policies(folder: Path, names: str) -> None:
    declare(names, policies=WITHOUT)
    told, found = simulate("black-hole")
    assert told.exit_code == 1
    assert [one["verdict"] for one in found["findings"]] == ["fail", "fail"]
    assert len(found["shortages"]) == (1 if names.count(",") == 1 else 0), "two of three can answer all"


def test_an_app_with_one_upstream_is_told_that_none_is_left(folder: Path) -> None:
    declare('"only",')
    told, found = simulate("black-hole")
    assert told.exit_code == 0
    assert "no upstream is left that can answer" in told.output
    assert [(one["capacity"], one["times"]) for one in found["shortages"]] == [(0.0, None)]
    assert found["findings"] == [], "of what cannot be, there is no share, and the only upstream attracts all"


def test_the_upstream_that_falls_ill_is_one_of_those_that_are_asked_first(folder: Path) -> None:
    declare('"spare", "main"', limit=', tier=int(name == "spare")')
    _, found = simulate("black-hole", "--runs", "1")
    share, *_ = found["findings"]
    assert share["name"] == "share of attempts that the black hole attracts"
    assert share["value"] > 0, "a fallback that is ill is not noticed"


def test_too_many_calls_at_all_times_are_told_and_the_rest_is_judged_by_what_can_be_answered(folder: Path) -> None:
    declare()
    told, found = simulate("outage", "--rate", "20")
    assert told.exit_code == 0
    assert [one["phase"] for one in found["shortages"]] == ["before", "after"], "nothing helps while all are dark"
    [finding] = found["findings"]
    assert finding["name"].startswith("goodput from 30 s after the end")
    assert finding["verdict"] == "pass"


def test_an_overload_that_the_scenario_makes_is_no_shortage(folder: Path) -> None:
    declare()
    told, found = simulate("overload")
    assert (told.exit_code, found["shortages"]) == (0, [])


def test_a_slowdown_says_why_calls_are_lost(folder: Path) -> None:
    declare()
    _, found = simulate("slowdown", "--runs", "1")
    [shortage] = found["shortages"]
    assert shortage["capacity"] == pytest.approx(found["capacity"] / 3, abs=0.001)


def test_declared_rate_limits_are_a_part_of_what_upstreams_can_answer(folder: Path) -> None:
    declare(limit=", requests_per_minute=120")
    told, found = simulate("black-hole")
    assert "2.4 calls/s, the upstreams can answer 4.0" in told.output
    assert told.exit_code == 0
    _, reset = simulate("rate-limit-reset", "--runs", "1")
    assert reset["rate"] == found["rate"], "limits that a scenario sets change no load"


# Too few upstreams ---------------------------------------------------------------------------------------------------

ONE, FALLBACK = ('"only",', ""), ('"main", "spare"', ', tier=int(name == "spare")')


@pytest.mark.parametrize(
    ("declared", "scenario", "needs"),
    [
        (ONE, "grey-failure", "at least two upstreams"),
        (ONE, "mixed-prompts", "at least two upstreams in the first tier"),
        (FALLBACK, "mixed-prompts", "at least two upstreams in the first tier"),
    ],
)
def test_what_cannot_hold_with_so_few_upstreams_is_not_applicable_and_no_failure(
    folder: Path, declared: tuple[str, str], scenario: str, needs: str
) -> None:
    declare(declared[0], limit=declared[1])
    options = ["--scenario", scenario, "--scenario", "noisy-neighbour", "--json", "result.json"]
    told = CliRunner().invoke(main, ["simulate", "app.py", *options])
    assert (told.exit_code, told.stderr) == (0, "")
    assert f"\nnot applicable: needs {needs}\n" in told.output
    unfit, fit = json.loads(Path("result.json").read_text())
    assert (unfit["scenario"], unfit["not_applicable"], unfit["holds"]) == (scenario, f"needs {needs}", True)
    assert (unfit["runs"], unfit["phases"], unfit["findings"], unfit["shortages"]) == (0, [], [], [])
    assert unfit.keys() == fit.keys()
    assert fit["not_applicable"] is None
    assert fit["findings"]


def test_that_nothing_that_is_asked_for_is_applicable_is_an_error(folder: Path) -> None:
    declare(ONE[0])
    options = ["--scenario", "grey-failure", "--scenario", "mixed-prompts", "--json", "result.json"]
    told = CliRunner().invoke(main, ["simulate", "app.py", *options])
    assert (told.exit_code, told.stdout) == (1, "")
    assert "not applicable: grey-failure needs at least two upstreams; mixed-prompts needs" in told.stderr
    assert "name another scenario" in told.stderr
    assert not Path("result.json").exists()


# Chance --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["1", "2", "4", "5"])
def test_the_same_app_gets_the_same_verdict_from_other_seeds(folder: Path, seed: str) -> None:
    """With one run, and with calls counted that no upstream can answer in 10 s, 1 and 4 failed and 2 and 5 passed."""
    declare(deadline="10s")
    told, found = simulate("outage", "--seed", seed)
    [finding] = found["findings"]
    assert (told.exit_code, finding["verdict"], finding["n"], found["runs"]) == (0, "pass", 6, 6)
    assert finding["low"] <= finding["value"] <= finding["high"] <= 30.0
    assert 0.0 < found["too_long"] < 0.01
    assert "of the calls take longer than the deadline wherever they go" in told.output


def test_near_the_mark_the_answer_is_undecided_and_no_failure(folder: Path) -> None:
    declare(deadline="10s")
    told, found = simulate("outage", "--rate", "11.8")
    [finding] = found["findings"]
    assert (told.exit_code, finding["verdict"]) == (0, "undecided")
    assert finding["low"] < finding["limit"] < finding["high"]


@pytest.mark.slow
def test_more_runs_decide_what_six_do_not(folder: Path) -> None:
    declare(deadline="10s")
    verdicts = [
        simulate("outage", "--rate", "11.75", "--seed", "1", *more)[1]["findings"][0] for more in ((), ("--runs", "12"))
    ]
    assert [(one["verdict"], one["n"]) for one in verdicts] == [("undecided", 6), ("pass", 12)]


def test_one_run_does_not_decide_when_it_is_as_before(folder: Path) -> None:
    declare()
    told, found = simulate("outage", "--runs", "1")
    [finding] = found["findings"]
    assert (found["runs"], finding["n"], finding["verdict"], finding["high"]) == (1, 1, "undecided", None)
    assert told.exit_code == 0


def test_several_runs_are_the_same_for_the_same_seed_and_others_for_another(folder: Path) -> None:
    declare(deadline="10s")
    options = ("--rate", "4", "--slots", "12", "--runs", "6")
    first, again = simulate("outage", *options), simulate("outage", *options)
    other = simulate("outage", *options, "--seed", "2")
    assert (first[0].output, first[1]) == (again[0].output, again[1])
    assert first[1]["phases"] != other[1]["phases"]


def test_what_is_clear_is_played_once(folder: Path) -> None:
    declare('"a", "b", "c"')
    _, found = simulate("black-hole")
    assert found["runs"] == 1
