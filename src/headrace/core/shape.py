"""What is wrong with the form of a document, out of the words in which the parser says it."""

from __future__ import annotations

import re

_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")


def misfit(text: str) -> tuple[str, str, bool]:
    """The path to what does not fit (empty: the whole document), what is wrong with it, and whether it is missing.

    >>> misfit("Expected `str`, got `int` - at `$.messages[0].role`")
    ('messages[0].role', 'Expected `str`, got `int`', False)
    >>> misfit("Object missing required field `model`")
    ('model', 'Object missing required field `model`', True)
    """
    missing, at = _MISSING.search(text), _AT.search(text)
    path = "" if at is None else at["path"]
    if missing is not None:
        path = f"{path}.{missing['name']}".lstrip(".")
    return path, _AT.sub("", text), missing is not None
