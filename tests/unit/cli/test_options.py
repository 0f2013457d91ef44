"""Options of all commands: what makes no sense is a usage error, at once, and never a fault of ours."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.cli.options import Address, Lasting, Number, OutFile, Whole


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from _commands(below, (*path, name))


def _options() -> Iterator[tuple[tuple[str, ...], click.Option]]:
    for path, command in _commands(main):
        for one in command.params:
            if isinstance(one, click.Option):
                yield path, one


def test_options_use_the_types_of_the_house() -> None:
    for path, one in _options():
        assert type(one.type) not in (click.FloatRange, click.IntRange, click.types.FloatParamType), (path, one.name)


_NUMBERS = [(path, one.opts[0]) for path, one in _options() if isinstance(one.type, Lasting | Number | Whole)]


@pytest.mark.parametrize(("path", "option"), _NUMBERS, ids=[f"{' '.join(path)} {name}" for path, name in _NUMBERS])
def test_what_is_no_number_is_a_usage_error(path: tuple[str, ...], option: str) -> None:
    for value in ("nan", "inf", "-1", "x", "1e400", "1e-320"):
        result = CliRunner().invoke(main, [*path, option, value])
        assert result.exit_code == 2, (value, result.output)
        assert f"Invalid value for '{option}'" in result.stderr, (value, result.stderr)
        assert "range'" not in result.stderr
        assert "valid float range" not in result.stderr


_PLACES = [(path, one.opts[0], one.type) for path, one in _options() if isinstance(one.type, Address | OutFile)]


@pytest.mark.parametrize(("path", "option", "kind"), _PLACES, ids=[f"{' '.join(one[0])} {one[1]}" for one in _PLACES])
def test_what_is_no_place_is_a_usage_error(path: tuple[str, ...], option: str, kind: click.ParamType) -> None:
    addresses = ("x", "http://[::1", "http://a..b", "http://a b", "http://a:99999", "ftp://a", "http://a:0")
    for value in addresses if isinstance(kind, Address) else ("/nope/x", "", "/"):
        result = CliRunner().invoke(main, [*path, option, value])
        assert result.exit_code == 2, (value, result.output)
        assert f"Invalid value for '{option}'" in result.stderr, (value, result.stderr)
