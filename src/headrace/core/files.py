"""Text files that people write and read."""

from __future__ import annotations

from pathlib import Path

from headrace.core.errors import HeadraceError


def read_text(path: Path) -> str:
    """The text of a file.

    Raises
    ------
    ValueError
        It cannot be read: why.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start + 1})") from None


def write_text(path: Path, text: str) -> None:
    """Write what was worked out.

    Raises
    ------
    HeadraceError
        The file cannot be written: a disk may be full by now.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        hint = "make room, or name a file elsewhere"
        raise HeadraceError(f"{str(path)!r} cannot be written: {error.strerror}", hint=hint) from None
