"""`headrace simulate`: the table, the file, and settings that do not hold."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments])


def test_a_scenario_is_told_and_written(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    result = simulate("--scenario", "black-hole", "--seed", "3", "--json", str(file))
    assert result.exit_code == 0, result.output
    assert "black-hole" in result.output
    assert "pass" in result.output
    [found] = json.loads(file.read_text())
    assert (found["scenario"], found["seed"], found["holds"]) == ("black-hole", 3, True)
    assert found["findings"][0]["verdict"] == "pass"
    assert found["phases"][1]["total_p99"]["n"] > 1000


def test_json_alone_goes_to_standard_output() -> None:
    result = simulate("--scenario", "black-hole", "--json", "-")
    assert json.loads(result.stdout)[0]["phases"][0]["name"] == "before"


def test_ones_own_settings_are_what_runs_and_what_fails_is_the_exit_status(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        """
        policies:
          admission: {enabled: false}
        upstreams:
          - {name: only, server: {slots: 30, first_token: 200ms}}
        load: {utilisation: 0.5}
        """
    )
    result = simulate(str(settings), "--scenario", "overload", "--json", "-")
    assert result.exit_code == 1
    [found] = json.loads(result.stdout)
    assert set(found["phases"][0]["attempts"]) == {"only"}
    assert found["findings"][0]["verdict"] == "fail"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policies: {hedge: {flor: 1}}", "policies.hedge.flor: there is no such setting"),
        ("policies: {hedge: {floor: soon}}", "'soon' is not a duration"),
        ("load: {utilisation: -1}", "load.utilisation"),
        ("upstreams: [{name: a}, {name: a}]", "two upstreams are named 'a'"),
        ("upstreams: []", "upstreams"),
        ("- 1", "the file"),
        ("a: [", "cannot be read"),
    ],
)
def test_settings_that_do_not_hold_are_told_by_name(tmp_path: Path, text: str, said: str) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(text)
    result = simulate(str(settings), "--scenario", "black-hole")
    assert result.exit_code == 1
    assert said in result.stderr
    assert "settings.yaml" in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_scenario_is_told() -> None:
    result = simulate("--scenario", "blackhole")
    assert result.exit_code == 1
    assert "did you mean 'black-hole'" in result.stderr


def test_the_scenarios_are_listed() -> None:
    assert len(simulate("--list").output.splitlines()) == 10


APP = """
import headrace as hr

app = hr.App("shop")
small = app.model("small", hr.models.OpenAI("http://127.0.0.1:8000/v1", model="s", name="own", local=True))
app.model(
    "llm",
    [hr.models.OpenAI("https://a.example.com/v1", model="l", name=name, key="NOT_SET") for name in ("east", "west")],
    deadline="20s",
    fallback=small,
    policies={"balancer": {"failures": "elapsed"}, "quota": {"enabled": False}, "concurrency": {"kind": "fixed"}},
    prices=hr.models.Prices.parse('models: {l: {input: "1", output: "4"}, s: {input: "0", output: "0"}}'),
)
"""


def test_a_model_of_an_app_is_simulated_with_its_own_policies_and_prices(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = ("--model", "llm", "--scenario", "black-hole", "--slots", "20", "--first-token", "200ms")
    told = simulate(str(tmp_path / "app.py"), *options)
    assert told.exit_code == 1, "what these policies lack is what keeps calls out of a black hole"
    assert "east\tl\t0\t20\trefuses\t200ms\t60" in told.output
    assert "own\ts\t1\t20\tqueues\t200ms\t60" in told.output
    assert "a deadline of 20s" in told.output
    [found] = json.loads(simulate(str(tmp_path / "app.py:app"), *options, "--json", "-").stdout)
    assert set(found["phases"][0]["attempts"]) == {"east", "west"}, "the fallback is not needed before"
    assert Decimal(found["phases"][0]["cost"]) > 0


def test_rate_and_lengths_are_what_the_options_say(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    line = '{"prompt_tokens": 300, "output_tokens": 50, "first_token": 0.2, "total": 1.2}\n'
    trace.write_text(line * 20)
    arguments = ("--scenario", "slowdown", "--rate", "5", "--fit", str(trace), "--output-tokens", "80")
    result = simulate(*arguments)
    assert "prompts of 300 tokens, answers of 80" in result.output
    assert "5.0 calls/s" in result.output
    assert "\t200ms\t49" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("app.py",), "declares 2 models: small, llm"),
        (("app.py", "--model", "lm"), "did you mean 'llm'"),
        (("none.py",), "declares no model"),
        (("missing.py",), "missing.py"),
        (("missing.yaml",), "cannot be read"),
        (("--model", "llm"), "--model chooses a model of an app"),
        (("--first-token", "uniform(1s, 2s)"), "cannot be simulated"),
        (("--prompt-tokens", "0"), "cannot be simulated"),
    ],
)
def test_what_cannot_be_simulated_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.py").write_text(APP)
    Path("none.py").write_text('import headrace as hr\n\napp = hr.App("shop")\n')
    result = simulate(*arguments, "--scenario", "black-hole")
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("rate", ["nan", "inf", "-1", "0", "fast", "1e-320", "1e300"])
def test_a_rate_that_is_none_is_a_usage_error(rate: str) -> None:
    result = simulate("--scenario", "black-hole", "--rate", rate)
    assert (result.exit_code, rate in result.stderr) == (2, True), result.stderr


def test_a_rate_that_nobody_would_wait_for_is_refused_at_once() -> None:
    result = simulate("--scenario", "overload", "--rate", "1e9")
    assert (result.exit_code, "more than the 5,000 that can be played" in result.stderr) == (1, True), result.stderr


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    result = simulate("--json", str(tmp_path / "nowhere" / "x.json"))
    assert (result.exit_code, "there is no folder" in result.stderr) == (2, True), result.stderr
    for name in ("/proc/x.json", ""):
        result = simulate("--json", name)
        assert (result.exit_code, "--json" in result.stderr, result.stdout) == (2, True, ""), result.stderr
    simulate("--json", str(tmp_path / "x.json"), "--list")
    assert not (tmp_path / "x.json").exists()


def test_a_disk_that_is_full_by_then_is_no_bug_of_ours() -> None:
    result = simulate("--json", "/dev/full", "--rate", "1", "--scenario", "silence")
    assert (result.exit_code, "error: '/dev/full' cannot be written: No space left" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "0.001"), "with 0.001 calls per second none comes in the four minutes"),
        (("--prompt-tokens", "99999999999999"), "none comes in the four minutes"),
        (("--prompt-tokens", "9" * 400), "is no distribution"),
        (("--output-tokens", "many"), 'write a median, "600"'),
    ],
)
def test_of_what_nothing_would_be_seen_is_refused(arguments: tuple[str, ...], said: str) -> None:
    result = simulate("--scenario", "silence", *arguments)
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr


def test_settings_that_say_something_twice_are_refused(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("load:\n  rate: 5\n  rate: 50\n")
    result = simulate(str(settings), "--scenario", "black-hole")
    assert (result.exit_code, "line 3: 'rate' is there twice" in result.stderr) == (1, True), result.stderr
