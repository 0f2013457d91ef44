"""Instances of a JSON schema, filled from rows where its names are theirs.

An object's property that has the name of a field takes the field's value where the schema allows it; a list of objects
gets one for each row. What no row gives is the smallest value that is valid. Not done: `pattern` beyond what one of a
few plain texts fits, `not`, `if`, `dependentSchemas`, `patternProperties`; a schema that needs them is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, cast

from headrace.mockllm.picking import Number, Row

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "00:00:00Z", "duration": "PT1S",
    "email": "someone@example.com", "uri": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "hostname": "example.com",
}  # fmt: skip
_PLAIN = ("text", "a", "A", "1", "12", "123", "1234", "12345", "AB", "ABC", "a-b", "a@b.co", "+1 555 0100", "1.0", "")
_MISSING: Any = object()
_DEEPEST = 40


class NoInstance(Exception):
    """No instance of the schema could be made."""


def instance(schema: dict[str, Any], rows: Sequence[Row] = ()) -> Any:
    """A value that the schema allows, filled from `rows`.

    Raises
    ------
    NoInstance
        It says something that is not done here.

    Examples
    --------
    >>> fields = {"name": {"type": "string"}, "stars": {"type": "integer", "minimum": 1}}
    >>> dish = {"type": "object", "properties": fields, "required": ["name", "stars"]}
    >>> instance({"type": "array", "items": dish}, [{"name": "Soup", "price": 9}, {"name": "Rice"}])
    [{'name': 'Soup', 'stars': 1}, {'name': 'Rice', 'stars': 1}]
    """
    return _Maker(schema).make(schema, _MISSING, rows, 0)


class _Maker:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def make(self, schema: Any, given: Any, rows: Sequence[Row], depth: int) -> Any:
        if depth > _DEEPEST:
            raise NoInstance("the schema refers to itself without an end")
        if schema is True or schema == {}:
            return {} if given is _MISSING else given
        schema = self._resolve(schema)
        for word in ("not", "if", "patternProperties", "dependentSchemas"):
            if word in schema:
                raise NoInstance(f"the mock makes no instance of a schema with {word!r}")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            # True is no 1 in JSON, and is one in Python.
            fits = any(given == one and isinstance(given, bool) == isinstance(one, bool) for one in schema["enum"])
            return given if fits else schema["enum"][0]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._choose(schema, schema[word], given, rows, depth)
        return self._typed(schema, given, rows, depth)

    def _resolve(self, schema: Any) -> dict[str, Any]:
        if not isinstance(schema, dict):
            raise NoInstance("a schema is neither an object nor true")
        found = cast("dict[str, Any]", schema)
        for _ in range(_DEEPEST):
            if "$ref" not in found:
                break
            found = {**self._find(found["$ref"]), **{key: value for key, value in found.items() if key != "$ref"}}
        if "$ref" in found:
            raise NoInstance("the schema refers to itself without an end")
        for part in found.get("allOf", ()):
            found = _merge(found, self._resolve(part))
        return {key: value for key, value in found.items() if key != "allOf"}

    def _find(self, reference: str) -> dict[str, Any]:
        here: Any = self._root
        if reference != "#":
            for step in reference.removeprefix("#/").split("/"):
                try:
                    here = here[step.replace("~1", "/").replace("~0", "~")]
                except (KeyError, TypeError):
                    raise NoInstance(f"there is no {reference!r:.80} in the schema") from None
        return cast("dict[str, Any]", here)

    def _choose(self, schema: dict[str, Any], options: list[Any], given: Any, rows: Sequence[Row], depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
        merged = [_merge(rest, self._resolve(option)) for option in options]
        if given is not _MISSING:
            for option in merged:
                made = self.make(option, given, rows, depth + 1)
                # Numbers of a context keep their text, so they are floats of a type of their own. (True is no 1.)
                if made == given and (type(made) is type(given) or isinstance(given, Number)):
                    return made
        # "A dish or null" is a dish where there is a row; a text or null that no row gives is null, not invented.
        filled = bool(rows) and any(_implied(option) in ("object", "array") for option in merged)
        for option in sorted(merged, key=lambda option: (option.get("type") == "null") == filled):
            try:
                return self.make(option, given, rows, depth + 1)
            except NoInstance:
                continue
        raise NoInstance("no option of the schema has an instance")

    def _typed(self, schema: dict[str, Any], given: Any, rows: Sequence[Row], depth: int) -> Any:
        kinds = schema.get("type", _implied(schema))
        kinds = cast("list[str]", kinds) if isinstance(kinds, list) else [cast("str", kinds)]
        if given is None and "null" in kinds:
            return None
        ordered = [kind for kind in kinds if kind != "null"] or ["null"]
        if given is not _MISSING:
            ordered.sort(key=lambda kind: not _is(given, kind))
        kind = ordered[0]
        if kind == "object":
            return self._object(schema, given, rows, depth)
        if kind == "array":
            return self._array(schema, given, rows, depth)
        if kind in ("integer", "number"):
            return _number(schema, given, whole=kind == "integer")
        if kind == "string":
            return _string(schema, given)
        if kind == "boolean":
            return given if isinstance(given, bool) else True
        return None

    def _object(self, schema: dict[str, Any], given: Any, rows: Sequence[Row], depth: int) -> dict[str, Any]:
        source: Row = cast("Row", given) if isinstance(given, dict) else (rows[0] if rows else {})
        made: dict[str, Any] = {}
        required = schema.get("required", [])
        properties = schema.get("properties", {})
        for name, part in properties.items():
            if name in required or name in source or _lists(self._resolve(part)):
                made[name] = self.make(part, source.get(name, _MISSING), rows, depth + 1)
        for name in required:
            if name not in properties:
                made[name] = self.make(schema.get("additionalProperties") or True, _MISSING, (), depth + 1)
        return made

    def _array(self, schema: dict[str, Any], given: Any, rows: Sequence[Row], depth: int) -> list[Any]:
        items = schema.get("items", True)
        low, high = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if isinstance(given, list):
            sources = cast("list[Any]", given)
        else:
            is_object = items is not True and _implied(self._resolve(items)) == "object"
            sources = list(rows) if is_object else []
        fixed = schema.get("prefixItems", [])
        made = [self.make(part, _MISSING, (), depth + 1) for part in fixed]
        for source in sources:
            if len(made) < high:
                made.append(self.make(items, source, (), depth + 1))
        while len(made) < low:
            made.append(self.make(items, _MISSING, (), depth + 1))
        if schema.get("uniqueItems") and any(one in made[:i] for i, one in enumerate(made)):
            raise NoInstance("the mock makes no list of different values")
        return made


def _merge(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    merged = {**one, **two}
    if "properties" in one and "properties" in two:
        merged["properties"] = {**one["properties"], **two["properties"]}
    if "required" in one and "required" in two:
        merged["required"] = [*one["required"], *two["required"]]
    return merged


def _implied(schema: dict[str, Any]) -> Any:
    if "type" in schema:
        return schema["type"]
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "number" if "minimum" in schema or "maximum" in schema else "string"


def _lists(schema: dict[str, Any]) -> bool:
    """A list that is optional is filled from the rows all the same."""
    return _implied(schema) == "array"


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    types: dict[str, type] = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}
    return isinstance(value, types[kind])


def _number(schema: dict[str, Any], given: Any, *, whole: bool) -> int | float:
    step: float = schema.get("multipleOf", 1 if whole else 0)
    if whole and step and step != int(step):
        step = 1
    low: float = schema.get("minimum", -math.inf)
    high: float = schema.get("maximum", math.inf)
    above: float = schema.get("exclusiveMinimum", -math.inf)
    below: float = schema.get("exclusiveMaximum", math.inf)

    def fits(value: float) -> bool:
        stepped = not step or abs(value / step - round(value / step)) < 1e-9
        return low <= value <= high and above < value < below and stepped

    if _is(given, "integer" if whole else "number") and fits(given):
        return int(given) if whole else (float(given) if isinstance(given, Number) else given)
    unit = step or 1
    candidates: list[float] = [0, 1]
    for bound in (low, above, high, below):
        if math.isfinite(bound):
            multiple = math.floor(bound / unit) * unit
            candidates += [bound, multiple, multiple + unit, multiple - unit, multiple + 2 * unit]
    if math.isfinite(max(low, above)) and math.isfinite(min(high, below)):
        candidates.append((max(low, above) + min(high, below)) / 2)
    for value in candidates:
        if fits(value) and (not whole or value == int(value)):
            return int(value) if value == int(value) else value
    raise NoInstance("the mock finds no number between these bounds")


def _string(schema: dict[str, Any], given: Any) -> str:
    low, high = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    pattern: str | None = schema.get("pattern")

    def fits(value: str) -> bool:
        return low <= len(value) <= high and (pattern is None or re.search(pattern, value) is not None)

    candidates = [_FORMATS[schema["format"]]] if schema.get("format") in _FORMATS else [*_PLAIN, "x" * low]
    if isinstance(given, str):
        candidates.insert(0, given)
    for value in candidates:
        if fits(value):
            return value
    raise NoInstance("the mock finds no text of this pattern and length")
