"""Typed answers of models: the JSON schema that is sent along, and the JSON text that comes back as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from headrace.core.errors import BadReply
from headrace.pipeline.pointer import pointer

_FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*)\n\s*```\s*$", re.DOTALL)
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Typed:
    """A type that a model is to answer with.

    Attributes
    ----------
    format
        The member `response_format` of a chat request.
    """

    adapter: TypeAdapter[Any]
    format: dict[str, Any]

    def parse(self, text: str) -> Any:
        """The value of an answer's text; a fence of Markdown around it is taken off.

        Raises
        ------
        BadReply
            It is no JSON, or does not fit.
        """
        fenced = _FENCE.match(text)
        try:
            return self.adapter.validate_json(fenced[1] if fenced else text)
        except ValidationError as error:
            first, *rest = error.errors(include_url=False, include_context=False)
            where = f" at {pointer(first['loc'])}" if first["loc"] else ""
            more = f", and {len(rest)} more" if rest else ""
            raise BadReply(
                f"the answer of the model does not fit{where}: {first['msg']}{more}",
                text=text,
                hint="say in the prompt what is wanted, allow more tokens, or loosen the type",
            ) from error

    def of(self, value: Any) -> Any:
        """The value of an endpoint's answer, given as plain data.

        Raises
        ------
        BadReply
            It does not fit.
        """
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            first, *_ = error.errors(include_url=False, include_context=False)
            where = f" at {pointer(first['loc'])}" if first["loc"] else ""
            raise BadReply(
                f"the answer {value!r:.80} does not fit `response`{where}: {first['msg']}",
                hint="give a type that the answers of the endpoint fit, or leave response= out",
            ) from error

    def in_words(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A chat request that says in words, in place of `response_format`, what is wanted."""
        schema = msgspec.json.encode(self.format["json_schema"]["schema"]).decode()
        words = f"Answer with JSON only, without any other text, that fits this JSON schema:\n{schema}"
        rest = {name: value for name, value in document.items() if name != "response_format"}
        return {**rest, "messages": [{"role": "system", "content": words}, *document["messages"]]}


def typed(kind: Any) -> Typed:
    """What to send for, and how to read, an answer of this type."""
    try:
        return _typed(kind)
    except TypeError:  # a type that has no hash, such as Annotated with a list
        return _make(kind)


@lru_cache(maxsize=256)
def _typed(kind: Any) -> Typed:
    return _make(kind)


def _make(kind: Any) -> Typed:
    adapter = TypeAdapter[Any](kind)
    schema = adapter.json_schema()
    name = _NAME.sub("_", str(getattr(kind, "__name__", "answer")))[:64]
    inner = {"name": name, "schema": schema, "strict": _strict(schema)}
    return Typed(adapter, {"type": "json_schema", "json_schema": inner})


def _strict(schema: Any) -> bool:
    """Whether a provider's strict mode takes it: every object closed, and all of its fields required."""
    if isinstance(schema, list):
        return all(map(_strict, schema))  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":  # pyright: ignore[reportUnknownMemberType]
        properties: dict[str, Any] = schema.get("properties", {})  # pyright: ignore
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):  # pyright: ignore
            return False
    return all(map(_strict, schema.values()))  # pyright: ignore[reportUnknownArgumentType]
