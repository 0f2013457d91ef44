"""What a mock can be told, by options or by a YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from headrace.core.documents import read_yaml
from headrace.core.errors import DeclarationError
from headrace.core.files import read_text
from headrace.core.mistakes import mistakes
from headrace.mockllm.faults import KINDS
from headrace.mockllm.picking import parse_pick
from headrace.models.bounds import Count, Number, Positive, Share
from headrace.models.simulation.distribution import Always, parse_distribution

_STRICT = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

_EXAMPLES = {
    "first_token": '"300ms", "uniform(100ms, 1s)" or "lognormal(300ms, p99=2s)"',
    "tokens_per_second": '"70" or "lognormal(70, p1=30)"',
    "output_tokens": '"120" or "uniform(20, 200)"',
}


class Rule(BaseModel):
    """How prompts of one sort are answered; the first rule that fits is taken.

    Attributes
    ----------
    when
        A regular expression that is searched for in the prompt; every prompt fits if not given.
    model
        Only for requests to this model.
    source
        Name of the context whose rows are used (`from` in a file); the last one in the prompt if not given.
    pick
        Which rows: `all`, `first`, `last`, `min FIELD`, `max FIELD`, `where FIELD=VALUE`; words can follow each other.
    template
        What is said (`with` in a file): `{field}` of each picked row, `{rows}`, `{count}`; see docs/how-to/mock-llm.md.
    none
        What is said when no row is picked.
    """

    model_config = _STRICT

    when: str = ""
    model: str = ""
    source: str = Field("", alias="from")
    pick: str = "all"
    template: str = Field("{rows}", alias="with")
    none: str = "I do not know."

    @field_validator("when")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value

    @field_validator("pick")
    @classmethod
    def _is_pick(cls, value: str) -> str:
        try:
            parse_pick(value)
        except DeclarationError as error:
            raise ValueError(error.message) from None
        return value


class MockSettings(BaseModel):
    """Everything that a mock can be told. By default it answers at once, without limits or failures.

    Attributes
    ----------
    models
        Names that it answers to; the first one is listed alone, and any name is taken, if `any_model`.
    any_model
        Whether a model that is not listed is answered too (otherwise: 404).
    api_key
        The key that requests must carry; none is asked for if not given.
    first_token
        Time to the first token of a prompt of length 0: a distribution of seconds.
    prefill
        Prompt tokens read per second; None: at once.
    tokens_per_second
        Speed of one answer: a distribution; None: all at once.
    output_tokens
        Length of an answer that no rule gives: a distribution of tokens.
    chunk_tokens
        Tokens in one event of a stream.
    fit
        A recorded trace that gives `first_token`, `prefill`, `tokens_per_second` and `output_tokens`.
    slots
        Requests that are worked on at once; None: no bound.
    queue
        Requests that may wait for a slot; None: no bound. Beyond it: refused with `overflow`.
    overflow
        Status of that refusal.
    requests_per_minute, tokens_per_minute
        Rate limits; told in the provider's headers, and refused with 429 beyond them.
    failures
        Share of requests that meet each kind of failure (see `faults.py`); together at most 1.
    fail_after
        Tokens before a failure in the middle of an answer.
    slow_seconds
        How much later `slow-first-token` is.
    seed
        Fixes what is drawn.
    answers
        Rules, or the path of a Python file with a function `answer(prompt)`.
    dimensions
        Length of an embedding where the request does not say it.
    """

    model_config = _STRICT

    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("mock-model",)
    any_model: bool = True
    api_key: str | None = None
    first_token: str = "0"
    prefill: Positive | None = None
    tokens_per_second: str | None = None
    output_tokens: str = "32"
    chunk_tokens: Count = 1
    fit: Path | None = None
    slots: Count | None = None
    queue: Number | None = None
    overflow: Literal[429, 503, 529] = 429
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    failures: dict[str, Share] = {}
    fail_after: Number = 3
    slow_seconds: Positive = 5.0
    seed: int = 0
    answers: tuple[Rule, ...] | Path = ()
    dimensions: Count = 256

    @field_validator("first_token", "tokens_per_second", "output_tokens", mode="before")
    @classmethod
    def _is_distribution(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value}"
        if isinstance(value, str):
            try:
                found = parse_distribution(value)
            except DeclarationError as error:
                raise ValueError(f"{error.message}; write {_EXAMPLES[info.field_name or '']}") from None
            if info.field_name == "tokens_per_second" and found == Always(0.0):
                raise ValueError("at 0 tokens a second no answer ends; leave it out, and all of it comes at once")
        return value

    @field_validator("failures", mode="before")
    @classmethod
    def _names_are_text(cls, value: Any) -> Any:
        # YAML reads 429 as a number.
        return {str(name): share for name, share in value.items()} if isinstance(value, dict) else value  # pyright: ignore

    @model_validator(mode="after")
    def _holds(self) -> MockSettings:
        unknown = sorted(set(self.failures) - set(KINDS))
        if unknown:
            raise ValueError(f"there is no failure {unknown[0]!r}; there are {', '.join(KINDS)}")
        if sum(self.failures.values()) > 1 + 1e-9:
            raise ValueError("the shares of failures are more than 1 together")
        return self


def load_settings(path: Path | None, changes: dict[str, Any]) -> MockSettings:
    """The settings of a YAML file, if there is one, with some changed.

    Raises
    ------
    DeclarationError
        The file cannot be read, or something in it is not a setting or out of range; all mistakes are named.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = read_yaml(read_text(path)) or {}
        except ValueError as error:
            raise DeclarationError(
                f"the settings cannot be read: {error}", hint="name a YAML file of settings", where=str(path)
            ) from error
        if type(data) is not dict:
            raise DeclarationError("the settings are no mapping", hint="write `name: value` lines", where=str(path))
        for name in ("fit", "answers"):  # paths in a file are meant from the file
            if isinstance(data.get(name), str):
                data[name] = path.parent / data[name]
    if "failures" in changes:
        changes = changes | {"failures": {**data.get("failures", {}), **changes["failures"]}}
    return parse_settings(data | changes, where=str(path or ""))


def parse_settings(data: dict[str, Any], *, where: str = "") -> MockSettings:
    """Settings from plain values.

    Raises
    ------
    DeclarationError
        Something is not a setting or out of range; all mistakes are named.
    """
    try:
        return MockSettings.model_validate(data)
    except ValidationError as error:
        raise DeclarationError(
            "these settings do not hold: " + "; ".join(mistakes(error, "the settings", MockSettings)),
            hint="`headrace mock-llm --help` lists the options; fields of a file have their names, with _ for -",
            where=where,
        ) from error
