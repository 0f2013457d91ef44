"""`headrace serve` and `headrace dev` refuse what would be wrong in silence, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli import main

COMMANDS = pytest.mark.parametrize("command", ["serve", "dev"])


@COMMANDS
def test_a_level_that_is_none_is_refused_with_those_that_are(command: str) -> None:
    result = CliRunner(env={"HEADRACE_LOG": "loud"}).invoke(main, [command, "app.py", "--port", "0"])
    assert result.exit_code == 2
    assert "'loud'" in result.output
    assert "debug, info, warning, error, critical" in result.output


@COMMANDS
def test_a_short_key_is_refused_on_loopback_and_never_shown(command: str) -> None:
    result = CliRunner(env={"HEADRACE_API_KEYS": "hunter2"}).invoke(main, [command, "app.py", "--port", "0"])
    assert (result.exit_code, "shorter than 16 characters" in result.output) == (1, True), result.output
    assert "hunter2" not in result.output


@COMMANDS
def test_a_folder_in_the_place_of_the_app_is_told_with_its_app(command: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text('import headrace as hr\napp = hr.App("shop")\n')
    (tmp_path / "other.py").write_text("x = 1\n")
    result = CliRunner().invoke(main, [command, str(tmp_path), "--port", "0"])
    assert result.exit_code == 1
    assert f"{str(tmp_path)!r} is a folder, and an app is declared in a file" in result.output
    assert f"give the file that declares the app: {tmp_path / 'shop.py'}\n" in result.output


@pytest.mark.parametrize(
    ("given", "said"), [("20", "not a duration"), ("0s", "not positive"), ("25h", "longer than 1d")]
)
def test_a_drain_that_makes_no_sense_is_a_usage_error(given: str, said: str) -> None:
    for arguments, environ in ((["--drain", given], {}), ([], {"HEADRACE_DRAIN": given})):
        result = CliRunner(env=environ).invoke(main, ["serve", "app.py", "--port", "0", *arguments])
        assert (result.exit_code, said in result.output) == (2, True), result.output
