"""What answers say they took, in each provider's words.

| who                | all of the prompt          | of it cached                          | the answer          |
|--------------------|----------------------------|---------------------------------------|---------------------|
| chat, embeddings   | `prompt_tokens`            | `prompt_tokens_details.cached_tokens` | `completion_tokens` |
| responses          | `input_tokens`             | `input_tokens_details.cached_tokens`  | `output_tokens`     |
| Anthropic messages | `input_tokens`, `cache_*`  | `cache_read_input_tokens`             | `output_tokens`     |

What was written to a cache is `cache_write_tokens` beside `cached_tokens`, and `cache_creation_input_tokens` at
Anthropic, of which `cache_creation` says how much is kept for an hour.

Anthropic's `input_tokens` are those that were neither read from its cache nor written to it, so the three are added.
Hidden reasoning is a part of the answer's tokens. Some servers leave it out of `completion_tokens` and count it in
`total_tokens` only; it is added there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.models.call import Usage

_MOST = 1_000_000_000
"""No answer takes more tokens. Who says so has counted wrong (-1 as an unsigned number, say), and limits would be used
up for years."""


class Details(msgspec.Struct):
    """Parts of a count."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class Creation(msgspec.Struct):
    """What was written to a cache, by how long it is kept."""

    ephemeral_1h_input_tokens: int | None = None


class Counts(msgspec.Struct):
    """A `usage` object of any of the dialects."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: Creation | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens_details: Details | None = None


def read_counts(said: Any) -> Counts | None:
    """A `usage` object that was parsed already; None where it is none: it must not fail an answer that is good."""
    try:
        return None if said is None else msgspec.convert(said, Counts)
    except msgspec.ValidationError:
        return None


def read_usage(counts: Counts | None) -> Usage | None:
    """Usage as the policies want it; None where nothing sensible is said.

    Examples
    --------
    >>> read_usage(Counts(prompt_tokens=10, completion_tokens=5, prompt_tokens_details=Details(cached_tokens=8)))
    Usage(prompt_tokens=10, output_tokens=5, cached_tokens=8)
    >>> read_usage(Counts(input_tokens=10, output_tokens=5, cache_read_input_tokens=90))
    Usage(prompt_tokens=100, output_tokens=5, cached_tokens=90)
    >>> read_usage(Counts(input_tokens=1, output_tokens=5, cache_creation_input_tokens=3, cache_creation=Creation(2)))
    Usage(prompt_tokens=4, output_tokens=5, written_tokens=3, kept_tokens=2)
    >>> read_usage(Counts(prompt_tokens=10, completion_tokens=2**64 - 1)) is None
    True
    >>> read_usage(Counts(prompt_tokens=10, completion_tokens=5, total_tokens=22,
    ...                   completion_tokens_details=Details(reasoning_tokens=7)))
    Usage(prompt_tokens=10, output_tokens=12)
    """
    if counts is None:
        return None
    prompt = counts.prompt_tokens
    if prompt is not None:
        output, details = counts.completion_tokens or 0, counts.completion_tokens_details
        if details is not None and details.reasoning_tokens and counts.total_tokens is not None:
            hidden = counts.total_tokens - prompt - output
            if hidden == details.reasoning_tokens:
                output += hidden
        cached, written, kept, details = 0, 0, 0, counts.prompt_tokens_details
    elif counts.input_tokens is not None:
        cached, written = counts.cache_read_input_tokens or 0, counts.cache_creation_input_tokens or 0
        kept = 0 if counts.cache_creation is None else counts.cache_creation.ephemeral_1h_input_tokens or 0
        prompt, output = counts.input_tokens + cached + written, counts.output_tokens or 0
        details = counts.input_tokens_details
    else:
        return None
    if details is not None:
        cached += details.cached_tokens or 0
        written += details.cache_write_tokens or 0
    if not (0 <= prompt <= _MOST and 0 <= output <= _MOST and cached >= 0 and written >= 0 and kept >= 0):
        return None
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    return Usage(prompt, output, cached, written, min(kept, written))


def chat_usage(usage: Usage | None) -> dict[str, Any] | None:
    """The field `usage` of chat.

    >>> chat_usage(Usage(10, 2, 4))["prompt_tokens_details"]
    {'cached_tokens': 4}
    """
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def messages_usage(usage: Usage | None) -> dict[str, int]:
    """The field `usage` of messages, which must be there.

    >>> messages_usage(Usage(10, 2, 4))["input_tokens"]
    6
    """
    usage = usage or Usage(0, 0)
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.written_tokens,
        "cache_creation_input_tokens": usage.written_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
