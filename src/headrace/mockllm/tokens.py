"""Tokens as this mock counts them: a rule that anyone can repeat, and that loses no character."""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"\s?(?:[^\W\d_]{1,7}|\d{1,3}|\S)|\s")
"""Up to seven letters, up to three digits or one other character, each with the one space before it."""


def split(text: str) -> list[str]:
    """The tokens of a text; joined, they are the text.

    >>> split("It costs 12.50 EUR.")
    ['It', ' costs', ' 12', '.', '50', ' EUR', '.']
    """
    return _TOKEN.findall(text)


@lru_cache(maxsize=2048)
def count(text: str) -> int:
    """How many tokens a text has.

    >>> count("It costs 12.50 EUR."), count("")
    (7, 0)
    """
    return len(split(text))
