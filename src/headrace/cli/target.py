"""The app that a command works on, and the folder of its data."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.core.errors import DeclarationError, HeadraceError

if TYPE_CHECKING:
    from headrace.app import App

F = TypeVar("F", bound=Callable[..., Any])

APP_HELP = "APP is the file that declares the app (app.py, or app.py:name), or an importable module."


def app_argument(command: F) -> F:
    """The argument APP."""
    return click.argument("target", metavar="APP")(command)


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

    try:
        return load_app(target)
    except HeadraceError:
        raise
    # The boundary to user code: an app file can raise anything, and its author needs the line of that file.
    except Exception as error:
        raise DeclarationError(
            f"{type(error).__name__}: {error}",
            hint="the file raised this while it was loaded; --debug shows the whole traceback",
            where=_place(error),
        ) from error


def _place(error: Exception) -> str:
    """`file:line` of the last frame in the user's own code, or of a syntax error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    installed = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    own = str(Path(__file__).resolve().parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((own, *installed, "<", sys.prefix))
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
