"""Answers: what a prompt's data, its lines and rules make of it."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import DeclarationError
from headrace.mockllm.answering import Answerer, filler
from headrace.mockllm.ask import Ask, BadAsk, Tool
from headrace.mockllm.contexts import contexts
from headrace.mockllm.picking import parse_pick
from headrace.mockllm.schema import NoInstance, instance
from headrace.mockllm.settings import Rule
from headrace.mockllm.tokens import count, split
from headrace.models.simulation.distribution import Always

DISHES = '[{"name": "Soup", "price": 9.50, "stock": 3}, {"name": "Rice", "price": 4.25, "stock": 0}]'


def say(prompt: str, *rules: dict[str, Any], system: str = "", **more: Any) -> str:
    ask = Ask("m", **more)
    ask.set_messages([("system", system), ("user", prompt)] if system else [("user", prompt)])
    answerer = Answerer([Rule.model_validate(rule) for rule in rules], Always(4), random.Random(0))
    said = answerer.answer(ask)
    return said.calls[0].arguments if said.calls else said.text


@given(st.text())
def test_tokens_lose_nothing(text: str) -> None:
    tokens = split(text)
    assert "".join(tokens) == text
    assert count(text) == len(tokens)
    assert all(tokens)


@pytest.mark.parametrize("length", [1, 7, 100])
def test_filler_has_as_many_tokens_as_asked(length: int) -> None:
    assert count(filler(3, length)) == length


@pytest.mark.parametrize(
    ("prompt", "names", "rows"),
    [
        (f'<context view="dishes">\n{DISHES}\n</context>', ["dishes"], [2]),
        (f"<dishes>\n{DISHES}\n</dishes>", ["dishes"], [2]),
        (f"dishes (0.4 s old):\n```json\n{DISHES}\n```", ["dishes"], [2]),
        ('{"a": 1}\n{"a": 2}\n\n{"a": 3}', [""], [3]),
        ('{"view": "dishes", "rows": [{"a": 1}]}', ["dishes"], [1]),
        ('{"one": {"rows": [{"a": 1}]}, "two": [{"b": 1}, {"b": 2}]}', ["one", "two"], [1, 2]),
        ('order:\n{"id": 7, "tags": []}', ["order"], [1]),
        ("one:\n[]\ntwo:\n[{}]", ["one", "two"], [0, 1]),
        ('in the middle {"a": 1}, and {broken\n{"b": }', [], []),
        ("[1, 2]", [], []),
    ],
)
def test_contexts(prompt: str, names: list[str], rows: list[int]) -> None:
    found = contexts(prompt)
    assert [one.name for one in found] == names
    assert [len(one.rows) for one in found] == rows


def test_data_is_quoted_as_it_is_written() -> None:
    assert say(DISHES) == "name: Soup, price: 9.50, stock: 3\nname: Rice, price: 4.25, stock: 0"


def test_lines_of_the_prompt_decide_and_the_systems_count_first() -> None:
    prompt = f"{DISHES}\nanswer-pick: first\nanswer-with: {{name}}"
    assert say(prompt) == "Soup"
    assert say(prompt, system="answer-pick: min price") == "Rice"
    assert say(f"{DISHES}\nanswer-pick: where stock=7\nanswer-none: Nothing.") == "Nothing."
    assert say(f"{DISHES}\nanswer-with: {{name:json}} {{nothing}}\nanswer-pick: last") == '"Rice" unknown'
    assert json.loads(say(f"{DISHES}\nanswer-with: {{rows}}")) == json.loads(DISHES)
    with pytest.raises(BadAsk, match="picks nothing"):
        say(f"{DISHES}\nanswer-pick: most")


def test_rules_count_before_lines_and_in_order() -> None:
    rules = [{"when": "cheap", "pick": "min price", "with": "{name}"}, {"from": "dishes", "with": "{count}"}]
    assert say(f"dishes:\n{DISHES}\ncheap?", *rules) == "Rice"
    assert say(f"dishes:\n{DISHES}\nhow many?\nanswer-with: no", *rules) == "2"
    assert say(f"else:\n{DISHES}", *rules) == "I do not know."


@pytest.mark.parametrize("text", ["min", "where stock", "cheapest", "first of"])
def test_what_picks_nothing_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError):
        parse_pick(text)


def test_tools_are_called_when_they_are_wanted() -> None:
    tools = [Tool("one", {}), Tool("two", {"type": "object", "properties": {"name": {}}, "required": ["name"]})]
    assert say(f"call two\n{DISHES}", tools=tools) == '{"name":"Soup"}'
    assert say("no tool", tools=tools) == filler_of("no tool")
    assert say("no tool", tools=tools, choice="one") == "{}"
    assert say("call two", tools=tools, choice="none") == filler_of("call two")
    with pytest.raises(BadAsk, match="no tool"):
        say("hi", tools=tools, choice="three")


def filler_of(prompt: str) -> str:
    return say(prompt)


SCHEMAS: list[dict[str, Any]] = [
    {},
    {
        "type": "object",
        "properties": {"a": {"type": "integer", "exclusiveMinimum": 3, "multipleOf": 2}},
        "required": ["a"],
    },
    {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}}, "b": {"type": "object"}}},
    {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 3, "maxLength": 9}]},
    {"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]}, {"type": "null"}]},
    {"allOf": [{"properties": {"a": {"type": "number", "minimum": 1.5}}}, {"required": ["a", "b"]}]},
    {"type": ["string", "null"], "format": "date-time"},
    {"type": "string", "pattern": "^[A-Z]{2}$"},
    {"type": "number", "minimum": -5, "maximum": -4.5},
    {"type": "integer", "maximum": -3},
    {"type": "object", "additionalProperties": {"type": "integer"}, "required": ["x"]},
    {"type": "boolean"},
    {"prefixItems": [{"type": "string"}, {"type": "integer"}], "type": "array", "minItems": 3},
    {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
@pytest.mark.parametrize("rows", [[], json.loads(DISHES)], ids=["no rows", "rows"])
def test_an_instance_is_valid(schema: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    jsonschema.validate(instance(schema, rows), schema)


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9))


def test_a_number_or_null_is_the_number_of_the_row() -> None:
    one = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    schema = {"type": "object", "properties": {"price": one, "left": one}, "required": ["price", "left"]}
    said = say('[{"price": 6.30000000000001, "left": null}]', schema=schema)
    assert json.loads(said) == {"price": 6.30000000000001, "left": None}


ROWS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys("abcd", VALUES)), max_size=3)


@given(ROWS)
def test_an_instance_is_valid_whatever_the_rows_hold(rows: list[dict[str, Any]]) -> None:
    item = {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": 0, "maximum": 99},
            "b": {"type": ["string", "null"], "maxLength": 5},
            "c": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "d": {"enum": ["x", 1, None]},
        },
        "required": ["a", "b", "c", "d"],
        "additionalProperties": False,
    }
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": item}}, "required": ["items"]}
    made = instance(schema, rows)
    jsonschema.validate(made, schema)
    assert len(made["items"]) == len(rows)
    for one, row in zip(made["items"], rows, strict=True):
        if isinstance(row.get("a"), int) and not isinstance(row["a"], bool) and 0 <= row["a"] <= 99:
            assert one["a"] == row["a"]
        if isinstance(row.get("b"), str) and len(row["b"]) <= 5:
            assert one["b"] == row["b"]


@pytest.mark.parametrize(
    "schema",
    [{"not": {}}, {"type": "string", "pattern": "^zzz$"}, {"type": "integer", "minimum": 3, "maximum": 2},
     {"$ref": "#/nowhere"}, {"$ref": "#"}, {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}],
)  # fmt: skip
def test_what_has_no_instance_here_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(NoInstance):
        instance(schema)
