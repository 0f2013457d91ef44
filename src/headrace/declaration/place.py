"""Where in the user's file something was declared."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import ParamSpec, TypeVar

from headrace.core.errors import DeclarationError
from headrace.core.options import options

P = ParamSpec("P")
T = TypeVar("T")

_PACKAGE = str(Path(__file__).resolve().parent.parent)


def caller() -> str:
    """`file:line` of the nearest frame outside this package; "" when there is none.

    >>> caller() == ""  # a doctest has no file of its own
    False
    """
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE) and not name.startswith("<frozen"):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def place_of(error: BaseException) -> str:
    """`file:line` of the last frame in the user's own code, or of a syntax error; "" when there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    installed = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_PACKAGE, *installed, "<", sys.prefix))
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def located(declare: Callable[P, T]) -> Callable[P, T]:
    """Make a declaring method tell of options, and name the user's line in every `DeclarationError` that it raises."""
    told = options(declare)

    @functools.wraps(declare)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return told(*args, **kwargs)
        except DeclarationError as error:
            error.where = error.where or caller()
            raise

    return wrapper
