"""Errors become messages."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.cli.boundary import Boundary, debuggable
from headrace.core.errors import DeclarationError, HeadraceError, UnknownName


def run(error: BaseException, *arguments: str) -> Result:
    """The result of a command that raises `error`."""

    @click.group(cls=Boundary)
    def group() -> None: ...

    @group.command
    def fail() -> None:
        raise error

    debuggable(group)
    return CliRunner().invoke(group, ["fail", *arguments])


def test_an_error_is_one_message_and_one_hint() -> None:
    result = run(UnknownName("there is no view 'menus'", hint="did you mean 'menu'?"))
    assert result.exit_code == 1
    assert result.stderr == "error: there is no view 'menus'\n  hint: did you mean 'menu'?\n"
    assert result.stdout == ""


def test_an_error_without_a_hint_is_one_line() -> None:
    assert run(HeadraceError("no")).stderr == "error: no\n"


def test_a_declaration_error_begins_with_its_line() -> None:
    result = run(DeclarationError("no such column", where="app.py:12"))
    assert result.stderr == "error: app.py:12: no such column\n"


def test_a_bug_is_called_one_and_shows_no_traceback() -> None:
    result = run(ZeroDivisionError("division by zero"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ZeroDivisionError: division by zero\n  hint: this looks like a bug")
    assert "Traceback" not in result.output


def test_debug_lets_the_error_out() -> None:
    error = UnknownName("there is no view 'menus'")
    assert run(error, "--debug").exception is error


def test_an_error_in_a_task_group_is_told_as_itself() -> None:
    group = ExceptionGroup("unhandled errors in a TaskGroup", [UnknownName("no such view")])
    assert run(group).stderr == "error: no such view\n"


def test_an_interrupt_ends_with_130() -> None:
    assert run(KeyboardInterrupt()).exit_code == 130


def test_a_wrong_command_line_ends_with_2() -> None:
    result = CliRunner().invoke(main, ["read"])
    assert result.exit_code == 2
    assert "Missing argument 'VIEW'" in result.stderr


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_explains_itself(name: str) -> None:
    command = main.commands[name]
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    for one in commands:
        assert one.help, one.name
        undocumented = [param.name for param in one.params if isinstance(param, click.Option) and not param.help]
        assert undocumented == [], one.name
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0
