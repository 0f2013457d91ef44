"""What the mock says: by a rule, by what the prompt itself asks for, by a schema, or words that mean nothing.

A prompt can say how it is to be answered, in lines of its own (a system message's count before a user's):

    answer-from: recommend                      which context (see contexts.py); the last one if not given
    answer-pick: min price                      which rows (see picking.py); all if not given
    answer-with: {name} costs {price}           what is said of each
    answer-none: There is nothing to eat.       what is said when there is no row

So an answer can be computed from the text of the prompt alone, by anyone who checks it.
"""

from __future__ import annotations

import importlib.util
import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import msgspec

from headrace.core.errors import DeclarationError
from headrace.mockllm.ask import Ask, BadAsk, Call, Said, Tool
from headrace.mockllm.contexts import Context, contexts
from headrace.mockllm.picking import Row, parse_pick, render, said
from headrace.mockllm.schema import NoInstance, instance
from headrace.mockllm.settings import Rule
from headrace.mockllm.tokens import count, split
from headrace.models.simulation.distribution import Distribution

_DIRECTIVE = re.compile(r"^[ \t]*answer-(with|pick|none|from):[ \t]*(.*?)[ \t]*$", re.M)
_ANY = Rule.model_validate({})
_TEXT = (
    "the water comes down from the hills and turns the wheel before it leaves through the race and finds its way to"
    " the river where nobody asks how long it took or what it ground on its way"
)
_WORDS = tuple(_TEXT.split())


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a Python file of answers is told: `answer(prompt)` returns text, a JSON value, or None for "not mine".

    Attributes
    ----------
    model
        The model that was asked for.
    text, system, last
        All messages, those of the system, and the user's last one.
    contexts
        The rows of each context of the prompt, by name.
    schema
        The JSON schema that the answer must follow, if any.
    """

    model: str
    text: str
    system: str
    last: str
    contexts: dict[str, list[Row]]
    schema: dict[str, Any] | None


Script = Callable[[Prompt], Any]


class Answerer:
    """Answers prompts.

    Parameters
    ----------
    rules
        Tried in order.
    lengths
        Tokens of an answer that nothing else determines.
    generator
        Draws those lengths.
    script
        A user's own function, tried first.
    """

    def __init__(
        self, rules: Sequence[Rule], lengths: Distribution, generator: random.Random, script: Script | None = None
    ) -> None:
        self._rules = [(re.compile(rule.when), rule) for rule in rules]
        self._lengths = lengths
        self._generator = generator
        self._script = script

    def answer(self, ask: Ask) -> Said:
        """The answer, cut to what the request allows.

        Raises
        ------
        BadAsk
            No answer of the form that is asked for can be made.
        """
        tool = _wanted(ask)
        if tool is not None:
            arguments = _encode(self._instance(tool.schema, ask, _ANY))
            return Said("", [Call(tool.name, arguments)], len(split(arguments)))
        text = self._text(ask)
        tokens = count(text)
        if ask.max_tokens is not None and tokens > ask.max_tokens:
            return Said("".join(split(text)[: ask.max_tokens]), [], ask.max_tokens, cut=True)
        return Said(text, [], tokens)

    def _text(self, ask: Ask) -> str:
        if self._script is not None:
            value = self._run(self._script, ask)
            if value is not None:
                return value if isinstance(value, str) else _encode(value)
        rule = next((rule for when, rule in self._rules if _fits(when, rule, ask)), None) or _directive(ask)
        if ask.schema is not None:
            return _encode(self._instance(ask.schema, ask, rule or _ANY))
        if rule is not None:
            rows = _rows(ask, rule)
            return render(rule.template, rows) if rows else rule.none
        rows = _rows(ask, _ANY)
        if rows:
            return "\n".join(", ".join(f"{name}: {said(value)}" for name, value in row.items()) for row in rows)
        return filler(zlib.crc32(ask.prompt.encode()) % len(_WORDS), max(round(self._lengths.draw(self._generator)), 1))

    def _run(self, script: Script, ask: Ask) -> Any:
        try:
            return script(_prompt(ask))
        # The boundary to the user's file: what it raises is told to the client, whose test it is.
        except Exception as error:
            raise BadAsk(f"The file of answers failed: {error!r}", status=500) from error

    def _instance(self, schema: dict[str, Any], ask: Ask, rule: Rule) -> Any:
        try:
            return instance(schema, _rows(ask, rule))
        except NoInstance as error:
            raise BadAsk(f"The mock cannot follow this schema: {error}.", code="unsupported_schema") from error


def load_script(path: Path) -> Script:
    """The function `answer` of a user's Python file.

    Raises
    ------
    DeclarationError
        The file is not there, does not run, or has no such function.
    """
    hint = "write a file with `def answer(prompt): return ...`"
    spec = importlib.util.spec_from_file_location("headrace_mock_answers", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DeclarationError("there is no Python file of answers", hint=hint, where=str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    # The boundary to the user's file: whatever it raises is told with its place.
    except Exception as error:
        raise DeclarationError(f"the file does not run: {error!r}", hint=hint, where=str(path)) from error
    found: Any = getattr(module, "answer", None)
    if not callable(found):
        raise DeclarationError("the file has no function `answer`", hint=hint, where=str(path))
    return cast("Script", found)


@lru_cache(maxsize=1024)
def filler(start: int, length: int) -> str:
    """Text of `length` tokens that means nothing.

    >>> filler(0, 4)
    'the water comes down'
    """
    words = " ".join(_WORDS[(start + i) % len(_WORDS)] for i in range(length))
    return "".join(split(words)[:length])


def _wanted(ask: Ask) -> Tool | None:
    """The tool that the answer calls: a forced one; or one that the user names, unless its result is there already."""
    if not ask.tools or ask.choice == "none":
        return None
    named = next((tool for tool in ask.tools if tool.name in ask.last), None)
    if ask.choice == "auto":
        return None if ask.after_tool else named
    if ask.choice == "required":
        return named or ask.tools[0]
    forced = next((tool for tool in ask.tools if tool.name == ask.choice), None)
    if forced is None:
        raise BadAsk(f"There is no tool {ask.choice!r:.60}.", param="tool_choice")
    return forced


def _fits(when: re.Pattern[str], rule: Rule, ask: Ask) -> bool:
    return (not rule.model or rule.model == ask.model) and when.search(ask.prompt) is not None


def _directive(ask: Ask) -> Rule | None:
    if "answer-" not in ask.prompt:
        return None
    words: dict[str, str] = dict(_DIRECTIVE.findall(ask.prompt))
    words |= dict(_DIRECTIVE.findall(ask.system))
    if not words:
        return None
    try:
        parse_pick(words.get("pick", "all"))
    except DeclarationError as error:
        raise BadAsk(f"answer-pick: {error.message}; {error.hint}") from None
    return Rule.model_validate(words)


def _rows(ask: Ask, rule: Rule) -> list[Row]:
    if "{" not in ask.prompt:
        return []
    found = [one for one in contexts(ask.prompt) if not rule.source or one.name == rule.source]
    if not found:
        return []
    return parse_pick(rule.pick)(found[-1].rows)


def _prompt(ask: Ask) -> Prompt:
    found: list[Context] = contexts(ask.prompt) if "{" in ask.prompt else []
    rows = {one.name: one.rows for one in found}
    return Prompt(ask.model, ask.prompt, ask.system, ask.last, rows, ask.schema)


def _encode(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
