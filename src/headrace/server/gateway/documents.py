"""The paths of the gateway in `/openapi.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WORDS = {
    "/v1/chat/completions": ("chat_completions", "Chat completions, as OpenAI's API has them"),
    "/v1/responses": ("responses", "Responses, as OpenAI's API has them"),
    "/v1/embeddings": ("embeddings", "Embeddings, as OpenAI's API has them"),
    "/v1/messages": ("messages", "Messages, as Anthropic's API has them"),
}
_REQUIRED = {
    "/v1/chat/completions": ["model", "messages"],
    "/v1/responses": ["model"],
    "/v1/embeddings": ["model", "input"],
    "/v1/messages": ["model", "messages", "max_tokens"],
}
_STATUSES = {
    400: "the body does not fit, or the upstream says so",
    401: "no key, or an unknown one",
    403: "the key may not use this model, or not read this view",
    404: "there is no such model",
    413: "the body is too large",
    415: "the body is compressed",
    429: "over a limit of the key or of the upstream, or no money left",
    502: "an upstream failed",
    503: "too busy, or the context is not fresh",
    504: "out of time",
}
_OBJECT = {"type": "object", "additionalProperties": True}
_CONTEXT: dict[str, Any] = {
    "type": "object",
    "description": "context to read into the prompt; taken out before an upstream sees the body",
    "additionalProperties": False,
    "properties": {
        "context": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["view"],
                "properties": {
                    "view": {"type": "string"},
                    "params": _OBJECT,
                    "policy": {"type": "string"},
                    "max_age": {"type": ["string", "number"]},
                },
            },
        },
        "as": {"enum": ["system", "user"], "default": "system"},
        "on_stale": {"enum": ["flag", "retry", "refuse"], "default": "flag"},
    },
}
_HEADERS = {
    "x-request-timeout-ms": "milliseconds that the client waits; the smaller of it and the model's deadline counts",
    "x-request-id": "what the client calls the request: it stands in the log where that fails",
    "x-headrace-session": "requests of one session prefer one upstream",
    "x-headrace-priority": "critical, normal or sheddable; never above that of the key",
    "x-headrace-context": "view?parameter=value, several with commas between them",
    "x-headrace-context-as": "system or user: whose words the rows of the context are",
    "x-headrace-on-stale": "flag, retry or refuse",
}


def paths(models: Sequence[str]) -> dict[str, Any]:
    """The paths, for models of these names."""
    found: dict[str, Any] = {path: {"post": _operation(path, models)} for path in _WORDS}
    listed = {"200": _answer("the models"), "401": _error(401)}
    found["/v1/models"] = {"get": {"operationId": "list_models", "tags": ["models"], "responses": listed}}
    one = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "enum": list(models)}}
    found["/v1/models/{id}"] = {
        "get": {
            "operationId": "get_model",
            "tags": ["models"],
            "parameters": [one],
            "responses": {"200": _answer("the model"), "401": _error(401), "404": _error(404)},
        }
    }
    return found


def _operation(path: str, models: Sequence[str]) -> dict[str, Any]:
    name, summary = _WORDS[path]
    properties: dict[str, Any] = {
        "model": {"type": "string", "enum": list(models)},
        "stream": {"type": ["boolean", "null"]},
        "headrace": _CONTEXT,
    }
    body = {"type": "object", "required": _REQUIRED[path], "properties": properties, "additionalProperties": True}
    answer = _answer("the answer of the model; with `stream`, server-sent events")
    answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["models"],
        "parameters": [
            {"name": header, "in": "header", "schema": {"type": "string"}, "description": words}
            for header, words in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": answer} | {str(status): _error(status) for status in _STATUSES},
    }


def _answer(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": _OBJECT}}}


def _error(status: int) -> dict[str, Any]:
    return _answer(_STATUSES[status])
