"""Requests to local models and their answers, in the dialects that they can speak.

| dialect    | request                                   | inputs of the model | answer                  |
|------------|-------------------------------------------|---------------------|-------------------------|
| json       | `{"input": X}`, also with a `model`       | X                   | `{"output": Y}`         |
| json       | any other JSON                            | it                  | Y as it is              |
| embeddings | OpenAI's: text, tokens, or a list of them | each by itself      | OpenAI's: their vectors |
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from headrace.models.call import Usage
from headrace.models.estimate import Tokens
from headrace.models.failure import Failure
from headrace.models.local.failure import LocalFailure
from headrace.models.request import ModelRequest

_ESTIMATE = Tokens()
_VECTOR = msgspec.json.Decoder(list[float])
_WRAPPED = frozenset({"input", "model"})
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def json_input(request: ModelRequest) -> bytes:
    """What the model is given, as JSON: of the body, since a handler's document may hold arrays."""
    return bytes(_FIELDS.decode(request.body)["input"]) if _wrapped(request) else request.body


def json_answer(request: ModelRequest, output: bytes) -> bytes:
    """The body of the answer."""
    return b'{"output":' + output + b"}" if _wrapped(request) else output


def _wrapped(request: ModelRequest) -> bool:
    document = cast("object", request.document)  # any JSON: also a list, a text or a number
    return isinstance(document, Mapping) and "input" in document and _WRAPPED.issuperset(request.document)


def texts(document: Mapping[str, Any]) -> list[bytes]:
    """The inputs of a request for embeddings, each as JSON.

    Raises
    ------
    LocalFailure
        There is none, or it is none of OpenAI's four kinds.

    Examples
    --------
    >>> texts({"input": ["a", "b"]}), texts({"input": [1, 2]})
    ([b'"a"', b'"b"'], [b'[1,2]'])
    """
    given = document.get("input")
    if isinstance(given, str) and given:
        return [_encode(given)]
    if isinstance(given, list):
        items = cast("list[Any]", given)
        if _tokens(items):
            return [_encode(items)]
        if items and all(isinstance(item, str) or _tokens(item) for item in items):
            return [_encode(item) for item in items]
    raise LocalFailure(
        Failure.BAD_REQUEST, f"`input` is {given!r:.80}; it must be text, a list of texts, tokens, or a list of tokens"
    )


def embeddings(request: ModelRequest, outputs: Sequence[bytes], model: str) -> tuple[bytes, Usage]:
    """OpenAI's answer, with vectors as lists, or as base64 of float32 where the request says so.

    Raises
    ------
    LocalFailure
        An output of the model is no vector.
    """
    form = request.document.get("encoding_format", "float")
    vectors = [_vector(output) for output in outputs]
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if form == "base64" else vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = request.prompt_tokens or _reckoned(request.document["input"])
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})
    return body, Usage(tokens, 0)


def _reckoned(given: Any) -> int:
    """Tokens of an input that nobody has counted: of text about as many as are usual."""
    if isinstance(given, str):
        return _ESTIMATE.prompt(given)
    return sum(1 if isinstance(item, int) else _reckoned(item) for item in cast("list[Any]", given))


def _tokens(value: Any) -> bool:
    return isinstance(value, list) and set(map(type, cast("list[Any]", value))) == {int}


def _vector(output: bytes) -> list[float]:
    try:
        return _VECTOR.decode(output)
    except msgspec.DecodeError:
        text = (
            f"the model gave {output[:60].decode(errors='replace')!r} for an embedding: it must give a list of numbers"
        )
        raise LocalFailure(Failure.SERVER_ERROR, text) from None


def _packed(vector: list[float]) -> bytes:
    """As msgspec writes bytes: in base64."""
    try:
        return struct.pack(f"<{len(vector)}f", *vector)
    except OverflowError:
        raise LocalFailure(Failure.SERVER_ERROR, "a number of an embedding is too large for float32") from None


def _encode(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (OverflowError, ValueError, UnicodeError) as error:
        raise LocalFailure(Failure.BAD_REQUEST, f"the input cannot be written as JSON: {error}") from None
