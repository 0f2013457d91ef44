"""JSON schemas of what the server answers, shared by OpenAPI and the MCP tools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.core.frontier import SourceState, Status
from headrace.core.schema import Column
from headrace.server.catalog import object_schema

Schema = dict[str, Any]

STATUS: Schema = {
    "type": "string",
    "enum": [status.value for status in Status],
    "description": "fresh: within its promise; stale: known to be behind; unknown: the source is silent",
}
AS_OF: Schema = {
    "type": ["string", "null"],
    "format": "date-time",
    "description": "everything the sources had committed up to this instant is in here; null when nobody knows",
}
AGE_MS: Schema = {"type": ["number", "null"], "minimum": 0, "description": "now minus as_of, milliseconds"}
ERROR_MS: Schema = {
    "type": ["number", "null"],
    "minimum": 0,
    "description": "how far off value ages may be, as the source's clock differs from ours; null when not measured",
}
INPUT: Schema = {
    "type": "object",
    "properties": {
        "as_of": AS_OF,
        "age_ms": AGE_MS,
        "status": STATUS,
        "state": {"type": "string", "description": ", ".join(state.name.lower() for state in SourceState)},
        "value_age_error_ms": ERROR_MS,
    },
    "required": ["as_of", "age_ms", "status", "state", "value_age_error_ms"],
}
INPUTS: Schema = {
    "type": "object",
    "additionalProperties": INPUT,
    "description": "each table, rollup or view that the answer stands on, with its own age",
}


def answer(columns: Iterable[Column], *, readset: bool = True) -> Schema:
    """The schema of an answer whose rows have these columns."""
    properties: Schema = {
        "rows": {"type": "array", "items": object_schema(columns)},
        "as_of": AS_OF,
        "age_ms": AGE_MS,
        "status": STATUS,
        "value_age_ms": {
            "type": "array",
            "items": {"type": ["number", "null"], "minimum": 0},
            "description": "per row: milliseconds since the oldest change that it is made of",
        },
        "value_age_error_ms": ERROR_MS,
        "inputs": INPUTS,
    }
    required = list(properties)
    if readset:
        properties["readset"] = {"type": "string", "description": "what the answer depended on, when asked for"}
    return {"type": "object", "properties": properties, "required": required}


RECEIPT: Schema = {
    "type": "object",
    "properties": {
        "accepted": {"type": "integer", "minimum": 0, "description": "rows upserted, keys deleted, events appended"},
        "quarantined": {"type": "integer", "minimum": 0, "description": "records that broke their contract"},
        "duplicates": {"type": "integer", "minimum": 0, "description": "what was already there, or older"},
        "txn": {"type": "integer", "description": "the commit stamp"},
        "replayed": {"type": "boolean", "description": "the idempotency key was seen before: nothing was applied"},
    },
    "required": ["accepted", "quarantined", "duplicates", "txn", "replayed"],
}
PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "what to do next"},
        "request": {"type": "string", "description": "of an endpoint: the id under which the server's log has it"},
    },
    "required": ["type", "title", "status", "detail"],
}
RECORD: Schema = {
    "type": "object",
    "description": "a quarantined record",
    "properties": {"id": {"type": "integer"}, "table": {"type": "string"}, "rule": {"type": "string"}},
}
