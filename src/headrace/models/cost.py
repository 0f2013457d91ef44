"""What a request costs: tokens times prices from a table that the user keeps. Money is `Decimal`, never a float.

No prices are shipped: they change, and a stale table is a wrong bill. A table is YAML, prices per million tokens:

    currency: USD
    models:
      gpt-large:   {input: "2.50", cached_input: "1.25", output: "10", most_output: 16384}
      gpt-*:       {input: "0.15", output: "0.60"}
      claude-*:    {input: "3", cached_input: "0.30", cache_write: "3.75", cache_write_1h: "6", output: "15"}

A name with `*` at its end stands for all that begin so; the longest that fits counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headrace.core.documents import read_yaml
from headrace.core.errors import DeclarationError
from headrace.core.files import read_text
from headrace.core.mistakes import mistakes, number
from headrace.models.call import Call, Usage

_DIGITS = 10
"""Digits after the point of a cost: a price of 0.01 per million has a token of 0.00000001."""
_UNIT = Decimal(1).scaleb(-_DIGITS)
_PER_MILLION = 10**_DIGITS // 1_000_000
"""What a price of 1 per million makes of a token, in units of the last digit."""

MOST, PLACES = 10**15, 20
"""The largest amount, and the digits after the point of the smallest. Money is reckoned exactly: 1e999999 would take a
million digits."""
Money = Annotated[Decimal, BeforeValidator(number), Field(ge=0, le=MOST, allow_inf_nan=False, decimal_places=PLACES)]


class Price(BaseModel):
    """Prices of one model, per million tokens.

    `cached_input` is the price of prompt tokens that the provider had in its cache, `cache_write` of those that it
    wrote there; like `input` when not given. `cache_write_1h` is that of what is kept for an hour; like `cache_write`.
    `most_output` is the most tokens that an answer of the model can have: what is set aside for a request that names no
    limit of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Money
    output: Money
    cached_input: Money | None = None
    cache_write: Money | None = None
    cache_write_1h: Money | None = None
    most_output: Annotated[int, BeforeValidator(number), Field(gt=0)] | None = None

    def of(self, usage: Usage) -> Decimal:
        """The price of one answer, rounded up to ten digits after the point.

        >>> Price(input=Decimal("2.50"), output=Decimal("10")).of(Usage(prompt_tokens=1000, output_tokens=200))
        Decimal('0.0045000000')
        """
        of_fresh, of_cached, of_written, of_kept, of_output, _, scale = self._units
        cached, written, kept = usage.cached_tokens, usage.written_tokens, usage.kept_tokens
        total = of_fresh * (usage.prompt_tokens - cached - written) + of_cached * cached
        if written:
            total += of_written * (written - kept) + of_kept * kept
        return -(-(total + of_output * usage.output_tokens) // scale) * _UNIT

    def most(self, call: Call) -> Decimal:
        """The most that a call can cost: the longest prompt and the longest answer that it can have, at the
        dearest price of a prompt.

        Where nobody names a limit of the answer, neither the request nor the table, it is what is usual.

        >>> price = Price(input=Decimal(0), output=Decimal(1_000_000), most_output=4000)
        >>> call = Call("1", 10, 50, 0.0)
        >>> from msgspec.structs import replace
        >>> price.most(replace(call, most_output=300)), price.most(call)
        (Decimal('300.0000000000'), Decimal('4000.0000000000'))
        """
        prompt, output = call.most_prompt, call.most_output or (self.most_output or 0) * call.answers
        if prompt < call.prompt_tokens:
            prompt = call.prompt_tokens
        if output < call.output_tokens:
            output = call.output_tokens
        of_output, dearest, scale = self._units[4:]
        return -(-(dearest * prompt + of_output * output) // scale) * _UNIT

    @cached_property
    def _units(self) -> tuple[int, int, int, int, int, int, int]:
        """Prices of a token (fresh, cached, written, kept for an hour, of the answer, and the dearest of a prompt) as
        whole numbers, and how many of these make one unit of the last digit of a cost. Each call is priced twice: whole
        numbers are exact and take a fifth of the time."""
        cached = self.input if self.cached_input is None else self.cached_input
        written = self.input if self.cache_write is None else self.cache_write
        kept = written if self.cache_write_1h is None else self.cache_write_1h
        prices = (self.input, cached, written, kept, self.output, max(self.input, cached, written, kept))
        ratios = [(price * _PER_MILLION).as_integer_ratio() for price in prices]
        scale = math.lcm(*(denominator for _, denominator in ratios))
        fresh, read, made, hour, output, dearest = (top * (scale // bottom) for top, bottom in ratios)
        return fresh, read, made, hour, output, dearest, scale


def _pattern(name: str) -> str:
    if not name or name != name.strip() or "*" in name[:-1] or "?" in name:
        raise ValueError(f"{name!r:.80} is no name of a model, nor the begin of one with one * at the end")
    return name


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    currency: str = "USD"
    models: dict[Annotated[str, AfterValidator(_pattern)], Price]


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by name of model.

    Examples
    --------
    >>> prices = Prices.parse('models: {"gpt-*": {input: "1", output: "2"}}')
    >>> prices.find("gpt-small").output, prices.find("other") is None
    (Decimal('2'), True)
    """

    models: Mapping[str, Price] = field(default_factory=dict[str, Price])
    currency: str = "USD"

    @classmethod
    def load(cls, path: Path) -> Prices:
        """The table in a file.

        Raises
        ------
        DeclarationError
            The file cannot be read, or is no table of prices.
        """
        try:
            text = read_text(path)
        except ValueError as error:
            raise DeclarationError(
                f"the prices in {str(path)!r} cannot be read: {error}",
                hint="name a YAML file of prices; a relative path starts at the file that declares",
            ) from error
        return cls.parse(text, where=str(path))

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> Prices:
        """The table in a text.

        Raises
        ------
        DeclarationError
            It is no table of prices.
        """
        try:
            found = _Document.model_validate(read_yaml(text))
        except ValueError as error:
            raise DeclarationError(
                "these are no prices: " + "; ".join(_wrong(error)),
                hint='write, per model, the prices of a million tokens: {input: "2.50", output: "10"}',
                where=where,
            ) from error
        return cls(found.models, found.currency)

    def find(self, model: str) -> Price | None:
        """The price of a model; None when the table has none, which is not the same as free."""
        if model in self.models:
            return self.models[model]
        fitting = [name for name in self.models if name.endswith("*") and model.startswith(name[:-1])]
        return self.models[max(fitting, key=len)] if fitting else None


def _wrong(error: ValueError) -> list[str]:
    return mistakes(error, "the whole", _Document) if isinstance(error, ValidationError) else [str(error)]
