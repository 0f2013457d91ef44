"""`headrace serve` and `headrace dev` refuse what would be wrong in silence, before anything starts."""

from __future__ import annotations

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
