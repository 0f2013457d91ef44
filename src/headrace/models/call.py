"""One request to a model, as the policies see it: how much work it is, for whom, and until when."""

from __future__ import annotations

import enum

from msgspec import Struct

PROMPT_TOKENS = 2000.0
"""Prompt tokens that take about as long as the fixed part of a first token (0.3 s at 7,000 tokens/s of prefill)."""
OUTPUT_TOKENS = 20.0
"""Output tokens that take as long (0.3 s at 70 tokens/s)."""


class Priority(enum.IntEnum):
    """How much a call matters when not all can be served; the smaller number goes first."""

    CRITICAL = 0
    NORMAL = 1
    SHEDDABLE = 2


# Nothing in this value, or in those that are made of it, leads back to it: the collector need not look (`gc=False`).
class Call(Struct, gc=False):
    """One request to a model.

    Attributes
    ----------
    id
        Unique among the calls in progress.
    prompt_tokens
        Tokens of the prompt, counted or estimated.
    output_tokens
        Tokens of the answer as expected: `max_tokens`, or what such calls usually give.
    deadline
        The instant (seconds) after which nobody waits for the answer. Of a stream with a `last` it moves there once the
        first token is out.
    tenant
        For whom: tenants share fairly.
    priority
        How much it matters.
    session
        Calls of one session prefer one upstream, whose prompt cache is warm for it; empty: none.
    stream
        Whether the answer is passed on as it comes. Once its first token is out, nothing can be tried again.
    repeatable
        Whether it may run twice (no tools with effects, nothing stored): needed for retries after a byte was
        sent, and for hedges.
    key
        Whose money it spends; empty: nobody's.
    without
        Upstreams that cannot take it at all, because they do not speak its dialect, say.
    most_prompt, most_output
        The most tokens that its prompt and its answer can have, where that is known (0: it is not): what a budget has
        to set aside, while all else goes by what is usual.
    answers
        How many answers it wants, where `most_output` is not known.
    last
        The instant until when a stream that has begun is waited for; 0: until `deadline`, as for its beginning.
    kind
        What calls have in common that take about as long: a number for the size of their prompts and whether they are
        streams. Never given: it follows from these.
    """

    id: str
    prompt_tokens: int
    output_tokens: int
    deadline: float
    tenant: str = ""
    priority: Priority = Priority.NORMAL
    session: str = ""
    stream: bool = True
    repeatable: bool = True
    key: str = ""
    without: frozenset[str] = frozenset()
    most_prompt: int = 0
    most_output: int = 0
    answers: int = 1
    last: float = 0.0
    kind: int = 0

    def __post_init__(self) -> None:
        self.kind = 2 * size_of(self.prompt_tokens) + self.stream

    @property
    def tokens(self) -> int:
        """All tokens that it may take."""
        return self.prompt_tokens + self.output_tokens

    @property
    def first_work(self) -> float:
        """Work up to the first token, in units of a first token on an empty prompt.

        >>> Call("", 2000, 100, 0.0).first_work
        2.0
        """
        return 1.0 + self.prompt_tokens / PROMPT_TOKENS

    @property
    def rest_work(self) -> float:
        """Work after the first token, in the same units.

        >>> Call("", 2000, 100, 0.0).rest_work
        5.0
        """
        return self.output_tokens / OUTPUT_TOKENS

    @property
    def seen_work(self) -> float:
        """Work until its first byte can be seen: an answer that is no stream shows nothing before it is done."""
        return self.first_work if self.stream else self.first_work + self.rest_work


def size_of(prompt_tokens: int) -> int:
    """The bucket of a prompt's size: 0 below 1,000 tokens, then one per factor of four.

    >>> [size_of(n) for n in (0, 999, 1000, 4000, 50_000)]
    [0, 0, 1, 2, 3]
    """
    return ((prompt_tokens // 1000).bit_length() + 1) // 2


class Usage(Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """What an answer took, as the upstream counts it.

    Attributes
    ----------
    prompt_tokens
        All tokens of the prompt.
    output_tokens
        Tokens of the answer, hidden reasoning included.
    cached_tokens
        How many of the prompt's tokens came from the provider's cache.
    written_tokens, kept_tokens
        How many of them were written to it; and of these, for an hour.
    """

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    written_tokens: int = 0
    kept_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt_tokens + self.output_tokens
