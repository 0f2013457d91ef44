"""The app that a command works on, and the folder of its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.core.errors import HeadraceError
from headrace.core.targets import check_place

if TYPE_CHECKING:
    from headrace.app import App

F = TypeVar("F", bound=Callable[..., Any])

APP_HELP = "APP is the file that declares the app (app.py, or app.py:name), or an importable module."


def app_argument(command: F) -> F:
    """The argument APP."""
    return click.argument("target", metavar="APP", callback=_checked)(command)


def _checked(_ctx: click.Context, _param: click.Parameter, target: str) -> str:
    check_place(target.partition(":")[0])
    return target


def data_option(command: F) -> F:
    """The option --data."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="HEADRACE_DATA",
        help="Folder of the live store.  [default: .headrace beside the app file]",
    )(command)


def data_folder(target: str, data: Path | None) -> Path:
    """Where the live store of this app is: `data`, or `.headrace` beside the app file.

    >>> str(data_folder("shop/app.py", None)), str(data_folder("shop.app", None))
    ('shop/.headrace', '.headrace')
    """
    if data is not None:
        return data
    place = target.partition(":")[0]
    return (Path(place).parent if place.endswith(".py") else Path()) / ".headrace"


def existing_store(target: str, data: Path | None) -> Path:
    """The database file of this app's live store.

    Raises
    ------
    HeadraceError
        There is none yet.
    """
    from headrace.runtime.folder import Folder

    folder = data_folder(target, data)
    database = Folder(folder).database
    if not database.exists():
        raise HeadraceError(
            f"there is no live store in {folder}", hint="it is made when the app first runs; or say where with --data"
        )
    return database


def load(target: str) -> App:
    """The app of a command's argument APP.

    Raises
    ------
    DeclarationError
        For whatever goes wrong while the user's file runs, with the file's own line.
    """
    from headrace.app import load_app  # the declaration pulls in the SQL parser, which --help does not need

    return load_app(target)
