"""Where an app is, as commands and `load_app` are told it: a file, or a module."""

from __future__ import annotations

from pathlib import Path

from headrace.core.errors import DeclarationError


def check_place(place: str) -> None:
    """Refuse a folder that is not written as a module.

    Raises
    ------
    DeclarationError
        `place` is a folder: an app is declared in a file.
    """
    if place and Path(place).is_dir() and not all(part.isidentifier() for part in place.split(".")):
        raise a_folder(place)


def a_folder(place: str) -> DeclarationError:
    """What there is to say of a folder where the file of an app is wanted."""
    files = sorted(file for file in Path(place).glob("*.py") if _declares(file))
    names = ", ".join(str(file) for file in files[:3])
    hint = f"give the file that declares the app: {names}" if names else "give the path of the file, for example app.py"
    return DeclarationError(f"{place!r} is a folder, and an app is declared in a file", hint=hint)


def _declares(file: Path) -> bool:
    try:
        return "App(" in file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
