"""What can go wrong on purpose: the kinds, and which of them a request meets.

| kind               | what the client sees                                                                         |
|--------------------|----------------------------------------------------------------------------------------------|
| `429`              | refused with `retry-after`, as over a rate limit                                             |
| `500`, `503`, `529`| refused with this status (529 is what Anthropic says when it is overloaded)                   |
| `reset`            | the connection is reset before the first byte of an answer                                   |
| `hang`             | no byte of an answer, ever                                                                   |
| `slow-first-token` | the first token comes `slow_seconds` later than it would                                     |
| `garbage`          | status 200 and a body that is neither JSON nor events; in a stream, after some tokens        |
| `reset-mid-stream` | after some tokens the connection is reset (TCP RST)                                          |
| `cut`              | after some tokens the connection is closed; the body's framing is incomplete                 |
| `truncate`         | after some tokens the body ends as if complete: no finish reason, no end mark                |
| `no-done`          | the finish reason comes, the end mark (`[DONE]`, `message_stop`) does not                    |
| `stall`            | after some tokens nothing more comes, and the connection stays open                          |
| `error-event`      | after some tokens an event says an error, and the body ends                                  |

An answer that is not streamed breaks inside its body: `reset-mid-stream`, `cut`, `truncate` and `stall` all send half
of it. `no-done` and `error-event` do nothing to it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headrace.core.errors import DeclarationError

KINDS: Final = (
    "429", "500", "503", "529", "reset", "hang", "slow-first-token", "garbage", "reset-mid-stream", "cut", "truncate",
    "no-done", "stall", "error-event",
)  # fmt: skip
"""Every kind of failure, by the name that a header or a setting gives it."""

STATUSES: Final = {"429": 429, "500": 500, "503": 503, "529": 529}
"""Kinds that are a refusal."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure that a request meets.

    Attributes
    ----------
    kind
        One of `KINDS`.
    after
        Tokens that come before it, where it is one of the middle of an answer.
    """

    kind: str
    after: int = 3


def parse_fault(text: str, after: int = 3) -> Fault | None:
    """The fault that a header or an option names; None for `none`.

    Raises
    ------
    DeclarationError
        There is no such kind.

    Examples
    --------
    >>> parse_fault("reset-mid-stream; after=5")
    Fault(kind='reset-mid-stream', after=5)
    >>> parse_fault("none") is None
    True
    """
    kind, _, rest = (part.strip() for part in text.partition(";"))
    if kind == "none":
        return None
    if kind not in KINDS:
        raise DeclarationError(f"there is no failure {kind!r:.40}", hint=f"one of {', '.join(KINDS)}")
    if rest:
        name, _, value = (part.strip() for part in rest.partition("="))
        if name != "after" or not value.isdecimal():
            raise DeclarationError(
                f"{rest!r:.40} says nothing about a failure", hint='write "reset-mid-stream; after=5"'
            )
        after = int(value)
    return Fault(kind, after)


class Lottery:
    """Draws the fault of each request by shares: the same seed and the same order of requests give the same faults.

    >>> lottery = Lottery({"500": 0.5}, random.Random(1))
    >>> [fault.kind if fault else "-" for fault in (lottery.draw() for _ in range(6))]
    ['500', '-', '-', '500', '500', '500']
    """

    def __init__(self, shares: Mapping[str, float], generator: random.Random, after: int = 3) -> None:
        self._generator = generator
        self._bounds: list[tuple[float, Fault]] = []
        reached = 0.0
        for kind, share in shares.items():
            if share > 0:
                reached += share
                self._bounds.append((reached, Fault(kind, after)))

    def draw(self) -> Fault | None:
        """What the next request meets."""
        if not self._bounds:
            return None
        ticket = self._generator.random()
        for bound, fault in self._bounds:
            if ticket < bound:
                return fault
        return None
