"""How many tokens a text is, and how many an answer will be, before anybody counts them.

A tokenizer per provider is heavy and often not public. What admission needs is an estimate that is seldom too low:
bytes per token start at a usual value and follow what answers report; the length of answers follows a high quantile of
what such calls gave.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from headrace.models.latency import Recent

_USUAL = 4.0
"""UTF-8 bytes per token of English text; code and other scripts have fewer, which is learnt."""

_FRESH = 0.5
"""Seconds for which what is usual is not looked up again: each call asks, and it moves slowly."""
_LARGE = 8192
"""Bytes of a body, or of one text in it, above which it is looked at whether it is text."""
_NAMES = frozenset({"url", "image_url", "data", "file_data", "b64_json"})
"""Under which pictures, sound and files stand, at OpenAI and at Anthropic."""
_WRITTEN = frozenset({"text", "tool_use"})
"""Types of what is text for a model whatever names stand in it: documents of text, and inputs of tools."""
_BASE64 = re.compile(r"(?:data:[^,\s]{0,200},)?[A-Za-z0-9+/_-]+")
_PICTURE = 4096
"""Bytes that a picture is reckoned with: about a thousand tokens."""


@dataclass(slots=True)
class Lengths:
    """Learns how long answers get.

    Parameters
    ----------
    quantile
        Of the lengths of answers, for calls that name no limit.
    window
        Seconds after which lengths begin to be forgotten.
    """

    quantile: float = 0.9
    window: float = 600.0
    _seen: Recent = field(init=False)
    _usual: int | None = field(default=None, init=False)
    _looked: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        self._seen = Recent(self.window)

    def output(self, now: float, *, max_tokens: int | None) -> int:
        """Tokens that an answer is to be reckoned with: what is usual, never more than `max_tokens`.

        Until thirty answers were seen it is `max_tokens`, or 1,000 where that is not given.
        """
        if not self._looked <= now < self._looked + _FRESH:
            few = self._seen.count(now) < 30
            self._usual = None if few else math.ceil(self._seen.quantile(now, self.quantile) - 0.5)
            self._looked = -math.inf if few else now
        usual = self._usual
        if usual is None:
            return 1000 if max_tokens is None else max_tokens
        return usual if max_tokens is None else min(usual, max_tokens)

    def add(self, now: float, output_tokens: int) -> None:
        """An answer had so many tokens."""
        self._seen.add(now, float(output_tokens))


@dataclass(slots=True)
class Tokens(Lengths):
    """Learns how many bytes make a token, too.

    Parameters
    ----------
    weight
        How much of a new observation is taken in.

    Examples
    --------
    >>> tokens = Tokens()
    >>> tokens.prompt("word " * 80)
    100
    >>> for _ in range(100):
    ...     tokens.observe(0.0, prompt_bytes=400, prompt_tokens=200, output_tokens=50)
    >>> tokens.prompt("word " * 80)
    200
    >>> tokens.output(0.0, max_tokens=4000), tokens.output(0.0, max_tokens=20)
    (50, 20)
    """

    weight: float = 0.1
    _per_token: float = field(default=_USUAL, init=False)

    def prompt(self, text: str) -> int:
        """Tokens of a text, rounded up."""
        return self.size(len(text.encode()))

    def size(self, prompt_bytes: int) -> int:
        """Tokens of so many bytes, rounded up."""
        return math.ceil(prompt_bytes / self._per_token - 1e-3)

    def observe(self, now: float, *, prompt_bytes: int, prompt_tokens: int, output_tokens: int) -> None:
        """What an answer reports."""
        if prompt_tokens > 0 and prompt_bytes > 0:
            self._per_token += self.weight * (prompt_bytes / prompt_tokens - self._per_token)
        self._seen.add(now, float(output_tokens))


def prompt_bytes(body: bytes, document: object = None) -> int:
    """Bytes of a request's body that make tokens: a picture, sound or file in it (long base64) is counted as little.

    Only where such things stand, and only what no text looks like: this is what a budget sets aside.

    >>> prompt_bytes(b"x" * 100)
    100
    >>> picture = "A" * 100_000
    >>> prompt_bytes(("x" * 100_100).encode(), {"messages": [{"content": [{"image_url": {"url": picture}}]}]})
    4196
    """
    if len(body) < _LARGE:
        return len(body)
    return max(len(body) - sum(len(data) - _PICTURE for data in _data(document)), 1)


def _data(value: object, name: str = "") -> Iterator[str]:
    """The long base64 of a document, under its names."""
    if isinstance(value, str):
        if len(value) > _LARGE and name in _NAMES and _BASE64.fullmatch(value, 0, _LARGE):
            yield value
    elif isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        kind = members.get("type")
        if not (isinstance(kind, str) and kind in _WRITTEN):
            for key, one in members.items():
                yield from _data(one, key)
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            yield from _data(one, name)
