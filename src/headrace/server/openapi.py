"""The OpenAPI 3.1 document of one app: its own views, tables and records, with their types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headrace.core.schema import Column, TableKind
from headrace.server import schemas
from headrace.server.catalog import Catalog, TableInfo, ViewInfo, json_schema
from headrace.server.rows import MOST_KEYS
from headrace.server.schemas import Schema
from headrace.server.settings import Settings

_POLICY: Schema = {
    "type": "string",
    "pattern": r"^(serve|flag|refuse|wait [1-9][0-9]{0,3}ms( else (serve|flag|refuse))?)$",
    "examples": ["flag", "wait 200ms else refuse"],
}
_MAX_AGE: Schema = {"type": "string", "pattern": r"^[1-9][0-9]{0,5}(ms|s|m|h|d)$", "examples": ["2s"]}
_AGE_HEADERS: Schema = {
    "Headrace-Status": {"schema": schemas.STATUS},
    "Headrace-Age-Ms": {"schema": {"type": "number", "minimum": 0}, "description": "absent when nobody knows"},
}
_SETTLED: Schema = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
_NAMES: Schema = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]*$"}


def build(catalog: Catalog, settings: Settings) -> Schema:
    """The document."""
    paths: Schema = {}
    for view in catalog.views.values():
        paths[f"/context/{view.name}"] = {"get": _view(view)}
    paths["/context"] = {"post": _many(catalog, settings)}
    paths["/validate"] = {"post": _validate(settings)}
    for table in catalog.tables.values():
        if table.kind is TableKind.TABLE:
            paths[f"/tables/{table.name}/{{key}}"] = {"get": _row(table)}
            paths[f"/tables/{table.name}"] = {"post": _rows(table)}
        if table.push:
            paths[f"/push/{table.name}"] = {"post": _push(table)}
    paths |= _quarantine(catalog) | _probes()
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": catalog.app,
            "version": catalog.version,
            "description": catalog.description or f"Live, dated context of {catalog.app}.",
        },
        "paths": paths,
        "components": {"schemas": {"Problem": schemas.PROBLEM, "Input": schemas.INPUT}},
    }
    if settings.api_keys:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"key": []}]
    return document


def _view(view: ViewInfo) -> Schema:
    return {
        "operationId": f"read_{view.name}",
        "summary": view.description or f"Read the view {view.name}",
        "tags": ["context"],
        "parameters": [*(_query(column) for column in view.params), *_controls()],
        "responses": _answers(schemas.answer(view.columns), 400, 404, 414, 503, headers=_AGE_HEADERS),
    }


def _many(catalog: Catalog, settings: Settings) -> Schema:
    reads = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.max_reads,
        "items": {"anyOf": [_read(view) for view in catalog.views.values()] or [{"type": "object"}]},
    }
    one = schemas.answer(())
    one["properties"] = {"view": {"type": "string"}} | one["properties"]
    answers: Schema = {
        "type": "object",
        "properties": {"answers": {"type": "array", "items": one}},
        "required": ["answers"],
    }
    return {
        "operationId": "read_many",
        "summary": "Many reads in one snapshot",
        "tags": ["context"],
        "parameters": _controls(),
        "requestBody": _body(_closed({"reads": reads, **_ask_members()}, "reads")),
        "responses": _answers(answers, 400, 404, 408, 413, 415, 503),
    }


def _read(view: ViewInfo) -> Schema:
    params = _closed({c.name: json_schema(c) for c in view.params}, *(c.name for c in view.params if not c.nullable))
    required = ["view", "params"] if "required" in params else ["view"]
    return _closed({"view": {"const": view.name}, "params": params}, *required)


def _validate(settings: Settings) -> Schema:
    tokens = {"type": "array", "minItems": 1, "maxItems": settings.max_reads, "items": {"type": "string"}}
    changed = {"type": "object", "properties": {"name": {"type": "string"}, "reason": {"type": "string"}}}
    verdict = {
        "type": "object",
        "properties": {
            "holds": {"type": "boolean"},
            "as_of": schemas.AS_OF,
            "changed": {"type": "array", "items": changed},
        },
        "required": ["holds", "as_of", "changed"],
    }
    return {
        "operationId": "validate",
        "summary": "Whether what answers were built on still holds",
        "tags": ["context"],
        "requestBody": _body(_closed({"readsets": tokens}, "readsets")),
        "responses": _answers(verdict, 400, 408, 413, 415),
    }


def _row(table: TableInfo) -> Schema:
    columns = [column for name in table.key for column in table.columns if column.name == name]
    several: Schema = {"type": "string", "pattern": "^[^,]+" + ",[^,]+" * (len(columns) - 1) + "$"}
    key: Schema = {
        "name": "key",
        "in": "path",
        "required": True,
        "schema": {"minLength": 1} | json_schema(columns[0]) if len(columns) == 1 else several,
        "description": "comma-separated, each part URL-encoded: " + ", ".join(table.key),
    }
    return {
        "operationId": f"get_{table.name}",
        "summary": f"One row of {table.name} by its key",
        "tags": ["tables"],
        "parameters": [key, *_controls()],
        "responses": _answers(schemas.answer(table.columns), 400, 404, 414, 503, headers=_AGE_HEADERS),
    }


def _rows(table: TableInfo) -> Schema:
    parts = [json_schema(column) for name in table.key for column in table.columns if column.name == name]
    count = len(parts)
    several: Schema = {"type": "array", "prefixItems": parts, "minItems": count, "maxItems": count}
    one: Schema = parts[0] if count == 1 else several
    keys = {"type": "array", "minItems": 1, "maxItems": MOST_KEYS, "items": one}
    return {
        "operationId": f"get_many_{table.name}",
        "summary": f"Rows of {table.name} by their keys, in one snapshot",
        "tags": ["tables"],
        "parameters": _controls(),
        "requestBody": _body(_closed({"keys": keys, **_ask_members()}, "keys")),
        "responses": _answers(schemas.answer(table.columns), 400, 404, 408, 413, 415, 503, headers=_AGE_HEADERS),
    }


def _push(table: TableInfo) -> Schema:
    """A record that breaks its contract is no error: it is quarantined, so the schema lets any object through."""
    record: Schema = {
        "anyOf": [
            dict(table.record),
            {"type": "object", "description": "what does not fit the record is quarantined, and counted in the answer"},
        ]
    }
    deletion = {
        "type": "object",
        "properties": {"op": {"const": "delete"}, "key": {}},
        "required": ["op", "key"],
        "description": "the row of this key is gone",
    }
    one = {"anyOf": [record, deletion]}
    body = _body({"anyOf": [one, {"type": "array", "items": one}]})
    body["content"]["application/x-ndjson"] = {
        "schema": {"type": "string", "description": "one JSON object a line"},
        "example": "{}\n{}\n",
    }
    idempotency: Schema = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "description": "the same key answers the same again and applies nothing",
    }
    return {
        "operationId": f"push_{table.name}",
        "summary": f"Push records to {table.name}; answered once they are on disk",
        "tags": ["push"],
        "parameters": [idempotency],
        "requestBody": body,
        "responses": _answers(schemas.RECEIPT, 400, 408, 409, 413, 415, 422, 429, 503, 507),
    }


def _quarantine(catalog: Catalog) -> Schema:
    table: Schema = {"type": "string", "enum": sorted(catalog.tables)}
    number: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    chosen = {
        "anyOf": [
            _closed({"ids": {"type": "array", "items": number, "maxItems": 10_000}}, "ids"),
            _closed({"table": table}, "table"),
            _closed({"all": {"const": True}}, "all"),
        ]
    }
    page = {
        "type": "object",
        "properties": {
            "records": {"type": "array", "items": schemas.RECORD},
            "next": {"type": ["integer", "null"], "description": "`after` of the next page"},
        },
        "required": ["records", "next"],
    }
    filters = [
        {"name": "table", "in": "query", "schema": table},
        {"name": "rule", "in": "query", "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
        {"name": "after", "in": "query", "schema": number | {"default": 0}},
    ]
    shown = {"name": "number", "in": "path", "required": True, "schema": number}
    found: Schema = {
        "/quarantine": _operation("get", "list_quarantine", "Waiting records, oldest first", page, 400, 404),
        "/quarantine/{number}": _operation("get", "show_quarantined", "One record", schemas.RECORD, 400, 404),
    }
    found["/quarantine"]["get"]["parameters"] = filters
    found["/quarantine/{number}"]["get"]["parameters"] = [shown]
    for verb, words in (("replay", "Judge records again"), ("drop", "Drop records for good")):
        operation = _operation("post", f"{verb}_quarantined", words, _SETTLED, 400, 404, 408, 413, 415, 503)
        operation["post"]["requestBody"] = _body(chosen)
        found[f"/quarantine/{verb}"] = operation
    return found


def _probes() -> Schema:
    anything: Schema = {"type": "object"}
    reasons: Schema = {"type": "array", "items": {"type": "string"}}
    ready = {
        "type": "object",
        "properties": {"ready": {"type": "boolean"}, "reasons": reasons, "degraded": reasons},
        "required": ["ready", "reasons", "degraded"],
    }
    found: Schema = {
        "/freshness": _operation("get", "freshness", "How old every table and view is", anything, 503),
        "/healthz": _operation("get", "healthz", "Whether the process is alive", anything),
        "/readyz": _operation("get", "readyz", "Whether it can serve", ready),
        "/metrics": _operation("get", "metrics", "Everything countable, for Prometheus", anything),
    }
    found["/healthz"]["get"]["security"] = []
    found["/readyz"]["get"]["responses"]["503"] = {"description": "not ready", "content": _json(ready)}
    found["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return found


def _operation(method: str, name: str, summary: str, answer: Schema, *problems: int) -> Schema:
    return {method: {"operationId": name, "summary": summary, "responses": _answers(answer, *problems)}}


def _query(column: Column) -> Schema:
    schema = json_schema(column)
    if column.nullable and isinstance(schema.get("type"), list):
        schema["type"] = schema["type"][0]  # A query has no null: the parameter is left out.
    found: Schema = {"name": column.name, "in": "query", "required": not column.nullable, "schema": schema}
    return found | ({"description": column.description} if column.description else {})


def _controls() -> list[Schema]:
    policy = "what to do when the context is not fresh"
    return [
        {"name": "_policy", "in": "query", "schema": _POLICY, "description": policy},
        {"name": "_max_age", "in": "query", "schema": _MAX_AGE, "description": "the promise for this call"},
        {"name": "_readset", "in": "query", "schema": {"type": "string", "enum": ["1"]}},
        {"name": "Headrace-Policy", "in": "header", "schema": _POLICY, "description": policy},
        {"name": "Headrace-Max-Age", "in": "header", "schema": _MAX_AGE},
    ]


def _ask_members() -> Schema:
    return {"policy": _POLICY, "max_age": _MAX_AGE, "readset": {"type": "boolean"}}


def _closed(properties: Mapping[str, Any], *required: str) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {})


def _body(schema: Schema) -> Schema:
    return {"required": True, "content": _json(schema)}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _answers(schema: Schema, *problems: int, headers: Schema | None = None) -> Schema:
    good: Schema = {"description": "the answer", "content": _json(schema)}
    if headers:
        good["headers"] = headers
    return {"200": good} | {str(status): _problem(status) for status in _everywhere(problems)}


def _everywhere(problems: Iterable[int]) -> list[int]:
    """What any path may answer besides: no key, a foreign page or host, headers too large, a surprise, too busy."""
    return sorted({400, 401, 403, 405, 421, 431, 500, 503, *problems})


_WORDS = {
    400: "the request does not fit",
    401: "an API key is needed",
    403: "requests from that web page are refused",
    404: "there is nothing of that name or key",
    405: "that method is not allowed here",
    408: "the body did not arrive in time",
    409: "the idempotency key was used with another body",
    413: "the body is too large",
    414: "the URL is too long",
    415: "the body is not sent as JSON",
    421: "this server is not that host",
    422: "a rule rejects the body; nothing was applied",
    429: "the engine is behind: Retry-After says when to come back",
    431: "the headers are too large",
    500: "something went wrong in the server",
    503: "not fresh enough for the policy, too busy, or the engine cannot be reached",
    507: "the disk is full",
}


def _problem(status: int) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _WORDS[status], "content": content}
