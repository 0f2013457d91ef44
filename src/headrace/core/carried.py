"""What clients can send in headers."""

from __future__ import annotations

import re

from headrace.core.errors import HeadraceError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")


def is_name(text: str) -> bool:
    """Whether a header can be called so."""
    return isinstance(text, str) and bool(_NAME.fullmatch(text))  # pyright: ignore[reportUnnecessaryIsInstance]


def is_value(text: str) -> bool:
    """Whether a header can carry it everywhere, as it is: blanks at its ends are lost on the way.

    >>> is_value("ann"), is_value("josé"), is_value("two\\nlines"), is_value(" ann")
    (True, False, False, False)
    """
    return isinstance(text, str) and bool(_VALUE.fullmatch(text))  # pyright: ignore[reportUnnecessaryIsInstance]


def check_key(key: str | None) -> str | None:
    """The key of a server, if it can be sent. It is a secret: an error does not show it.

    Raises
    ------
    HeadraceError
        It cannot.
    """
    if key is None or (is_value(key) and key == key.strip()):
        return key
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise HeadraceError(f"api_key= is no text, but of type {type(key).__name__}", hint="give the key as a text")
    wrong = next((at for at, one in enumerate(key) if not is_value(one) or one.isspace()), 0)
    raise HeadraceError(
        f"api_key= cannot be sent: its character {wrong + 1} of {len(key)} is a space, the end of a line, or not ASCII",
        hint="a key that is read from a file may end in a new line: .strip() it; or it was copied with something else",
    )
