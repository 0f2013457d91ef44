"""Times as they were recorded: a trace of requests becomes the distributions that the mock and the simulator draw from.

A trace is JSONL; each line has `prompt_tokens`, `output_tokens`, `first_token` and `total` (seconds).

The prefill speed is the Theil-Sen slope of the time to the first token over the length of the prompt (the median of the
slopes of all pairs; Sen 1968, doi:10.1080/01621459.1968.10480934): a few very slow requests do not bend it. What is
left of each time, its speed and its length are drawn from what was seen, each by itself: that a slow first token often
comes with a slow answer is not kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

import msgspec

from headrace.core.errors import DeclarationError
from headrace.models.simulation.distribution import Empirical

_PAIRS_OF = 400
"""Records between which all slopes are taken: 80,000 slopes, under 50 ms."""


class Record(msgspec.Struct, frozen=True):
    """One recorded request; times are seconds."""

    prompt_tokens: int
    output_tokens: int
    first_token: float
    total: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What a trace gave: seconds to the first token without the prompt's part, prompt tokens/s, tokens/s, tokens."""

    first_token: Empirical
    prefill: float | None
    tokens_per_second: Empirical | None
    output_tokens: Empirical
    records: int


def read_trace(path: Path) -> list[Record]:
    """The records of a trace file.

    Raises
    ------
    DeclarationError
        It cannot be read, has no record, or a line is none; the line is named.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DeclarationError(
            f"the trace cannot be read: {error}", hint="name a JSONL file", where=str(path)
        ) from None
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = msgspec.json.decode(line, type=Record)
        except msgspec.DecodeError as error:
            raise _bad_line(path, number, str(error)) from None
        if not (record.prompt_tokens >= 0 and record.output_tokens >= 1 and 0 <= record.first_token <= record.total):
            raise _bad_line(path, number, "the values do not hold")
        records.append(record)
    if not records:
        raise DeclarationError("the trace has no record", hint="write one JSON object a line", where=str(path))
    return records


def _bad_line(path: Path, number: int, what: str) -> DeclarationError:
    hint = '{"prompt_tokens": 812, "output_tokens": 120, "first_token": 0.41, "total": 2.3}, with first_token <= total'
    return DeclarationError(f"this is no record of a request: {what}", hint=hint, where=f"{path}:{number}")


def fit(records: Sequence[Record], generator: random.Random) -> Fit:
    """The distributions of a trace; `generator` chooses which of very many records the slope is taken from."""
    slope = _slope(records, generator)
    rest = [max(record.first_token - slope * record.prompt_tokens, 0.0) for record in records]
    speeds = [
        (record.output_tokens - 1) / (record.total - record.first_token)
        for record in records
        if record.output_tokens > 1 and record.total > record.first_token
    ]
    return Fit(
        first_token=Empirical.of(rest),
        prefill=1 / slope if slope > 0 else None,
        tokens_per_second=Empirical.of(speeds) if speeds else None,
        output_tokens=Empirical.of([float(record.output_tokens) for record in records]),
        records=len(records),
    )


def _slope(records: Sequence[Record], generator: random.Random) -> float:
    """Seconds per prompt token; 0 where longer prompts did not take longer."""
    chosen = records if len(records) <= _PAIRS_OF else generator.sample(list(records), _PAIRS_OF)
    slopes = [
        (two.first_token - one.first_token) / (two.prompt_tokens - one.prompt_tokens)
        for one, two in combinations(chosen, 2)
        if one.prompt_tokens != two.prompt_tokens
    ]
    return max(median(slopes), 0.0) if slopes else 0.0
