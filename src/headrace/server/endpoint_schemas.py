"""Endpoints in OpenAPI: the types of their input and answer, and every problem that they answer with."""

from __future__ import annotations

from typing import Any, cast

from pydantic import TypeAdapter

from headrace.pipeline.endpoint import Endpoint
from headrace.server.schemas import Schema

_PROBLEM: Schema = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PROBLEMS = {
    400: "the body is no JSON, or outside its bounds; `problems` says what and where",
    401: "an API key is needed",
    403: "requests from that web page are refused",
    405: "an endpoint is asked with POST",
    408: "the body did not arrive in time",
    409: "what the answer was built on changed, and the endpoint refuses then",
    413: "the body is too large",
    415: "the body is not sent as JSON",
    421: "this server is not that host",
    422: "the body does not fit the type; `problems` has a JSON pointer for each place",
    429: "more requests than can be answered: Retry-After says when to come back",
    431: "the headers are too large",
    500: "the endpoint's code failed; `request` stands in the server's log",
    502: "the model gave no answer",
    503: "too busy: Retry-After says when to come back, where that is known; or the context is not fresh enough",
    504: "there was no answer before the deadline",
}
_HEADERS = {
    "x-headrace-version": "the version that answered, with the hash of its content",
    "x-headrace-request-id": "of this request: it stands in the server's log",
    "x-headrace-unchanged-as-of": "what the answer is built on had not changed as of this instant",
    "x-headrace-stale": "unchanged or changed; absent where it was not looked at",
    "x-headrace-changed": "names of the views and tables that changed since they were read, with commas between them",
    "x-headrace-stale-detail": "what changed in them, a JSON list of sentences",
    "x-headrace-retries": "how often it was answered again because something changed",
    "x-headrace-context": "what was read, with ages (ms) and statuses",
    "x-headrace-fallback": "which fallback answered",
    "x-headrace-made-at": "of the fallback `cached`: when the answer was made",
    "x-headrace-cache": "hit or miss, where the endpoint has a cache",
    "server-timing": "the stages",
}
_SENT = {
    "x-request-timeout-ms": ("how long the caller waits, milliseconds", {"type": "integer", "minimum": 1}),
    "x-headrace-priority": ("what goes first", {"type": "string", "enum": ["critical", "normal", "sheddable"]}),
    "x-headrace-user": ("who asks: versions are sticky by it", {"type": "string"}),
    "x-headrace-session": ("which conversation this belongs to", {"type": "string"}),
    "x-headrace-tenant": ("for whom: tenants share fairly", {"type": "string"}),
    "x-request-id": ("an id for this request", {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}),
}


def describe(endpoint: Endpoint) -> Schema:
    """The path item of an endpoint."""
    shape = endpoint.shape
    closed = shape.closed and not endpoint.bounds.ignore_unknown
    takes = schema_of(shape.takes, "validation", closed=closed)
    gives = schema_of(shape.gives, "serialization")
    good: Schema = {"description": "the answer", "headers": {n: _header(words) for n, words in _HEADERS.items()}}
    if shape.streams:
        words = "each `data:` line is one item as JSON; the last event is `headrace`, or `error` where the stream broke"
        good["content"] = {"text/event-stream": {"schema": {"type": "string", "description": words, "x-items": gives}}}
    else:
        good["content"] = {"application/json": {"schema": gives}}
    answers: Schema = {"200": good}
    for status, words in _PROBLEMS.items():
        answers[str(status)] = {"description": words, "content": _PROBLEM}
    first, _, rest = endpoint.description.partition("\n")
    operation: Schema = {
        "operationId": f"ask_{endpoint.name}",
        "summary": first or f"Ask {endpoint.path}",
        "tags": ["endpoints"],
        "parameters": [
            {"name": name, "in": "header", "description": words, "schema": schema}
            for name, (words, schema) in _SENT.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": takes}}},
        "responses": answers,
        "x-headrace": {
            "deadline_s": endpoint.deadline,
            "versions": list(endpoint.versions),
            "weights": {name: handler.weight for name, handler in endpoint.versions.items()},
            "shadows": [name for name, handler in endpoint.versions.items() if handler.shadow],
        },
    }
    if rest.strip():
        operation["description"] = rest.strip()
    return {"post": operation}


def schema_of(adapter: TypeAdapter[Any], mode: Any, *, closed: bool = False) -> Schema:
    """The JSON schema of a type, without references to elsewhere; `closed`: unknown fields are refused."""
    schema = adapter.json_schema(mode=mode)
    named: Schema = schema.pop("$defs", {})
    inlined = cast("Schema", _inline(schema, named, ()))
    return cast("Schema", _close(inlined)) if closed else inlined


def _inline(schema: Any, named: Schema, within: tuple[str, ...]) -> Any:
    """References as what they name. What holds itself is told as anything: one level more says nothing new."""
    if isinstance(schema, list):
        return [_inline(one, named, within) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = cast("Schema", schema)
    reference = found.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix("#/$defs/")
        more = {key: value for key, value in found.items() if key != "$ref"}
        if name in within:
            return {"description": f"another {name}", **more}
        return {**cast("Schema", _inline(named[name], named, (*within, name))), **more}
    if _maps(found.get("discriminator")):
        # It maps to schemas that are not there any more; and beside "another" of itself, not just one of them fits.
        found = {"anyOf" if key == "oneOf" else key: value for key, value in found.items() if key != "discriminator"}
    return {key: _inline(value, named, within) for key, value in found.items()}


def _maps(discriminator: Any) -> bool:
    """Whether it is one of a union, and not a field of that name."""
    return isinstance(discriminator, dict) and isinstance(discriminator.get("propertyName"), str)  # pyright: ignore


def _close(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_close(one) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = {key: _close(value) for key, value in cast("Schema", schema).items()}
    if found.get("type") == "object" and isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found


def _header(words: str) -> Schema:
    return {"description": words, "schema": {"type": "string"}}
