"""A prompt in a file of its own, as text that versions see."""

from __future__ import annotations

import os
import string
import sys
from pathlib import Path

from headrace.core.errors import DeclarationError
from headrace.core.options import options

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_read: dict[str, tuple[int, int] | None] = {}


def files_read() -> dict[str, tuple[int, int] | None]:
    """The files of all prompts of this process, with modification time (ns) and size just before they were read.

    Those that could not be read are among them; None: there was no such file.
    """
    return dict(_read)


class Prompt:
    """A prompt that is kept in a file. It is read once, when it is declared; its text is part of an endpoint's version.

    Parameters
    ----------
    path
        The file, UTF-8. A relative path starts at the folder of the Python file that declares the prompt.

    Attributes
    ----------
    text
        What the file holds; `str(prompt)` is the same.

    Raises
    ------
    DeclarationError
        The file cannot be read.
    """

    @options
    def __init__(self, path: str | Path) -> None:
        if not isinstance(path, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(
                f"{path!r:.80} is not the path of a prompt", hint='write hr.Prompt("prompt.txt"), with a file of text'
            )
        self.path = Path(path)
        file = (_folder() / self.path).absolute()
        _read.setdefault(str(file), _stamp(file))
        try:
            self.text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DeclarationError(
                f"the prompt {str(path)!r} cannot be read: {error}",
                hint="give a text file in UTF-8; a relative path starts at the folder of the file that declares it",
            ) from error

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Prompt {self.path.name}: {len(self.text)} characters>"

    def fill(self, **values: object) -> str:
        """The text with `$name` and `${name}` replaced; `$$` is a dollar sign.

        Raises
        ------
        DeclarationError
            A name has no value, or a dollar sign stands for nothing.
        """
        try:
            return string.Template(self.text).substitute(values)
        except KeyError as error:
            raise DeclarationError(
                f"the prompt {self.path.name!r} has ${error.args[0]}, and no such value was given",
                hint=f"values were given for: {', '.join(values) or 'nothing'}",
            ) from None
        except ValueError as error:
            raise DeclarationError(
                f"the prompt {self.path.name!r} has a dollar sign that stands for nothing: {error}",
                hint="write $$ for a dollar sign",
            ) from None


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError: no name of a file can have a null character
        return None
    return status.st_mtime_ns, status.st_size


def _folder() -> Path:
    """Where the file of the nearest caller outside this package lies."""
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return Path(str(frame.f_globals.get("__file__", "."))).parent
