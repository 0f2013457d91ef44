"""`headrace simulate`: the table, the file, and settings that do not hold."""

from __future__ import annotations

import json
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
    assert len(simulate("--list").output.splitlines()) == 8
