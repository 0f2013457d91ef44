"""The bodies of requests: setting fields without touching the rest, and looking at what they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from headrace.models.dialects.untranslatable import Malformed, Untranslatable
from headrace.models.provider import Unsendable
from headrace.models.request import ModelRequest

_DECODE = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_GUARDED = frozenset(
    {
        "model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "max_output_tokens", "store",
        "background", "tools",
    }
)  # fmt: skip
"""What keys, limits and prices are judged by. Each must mean to the upstream what it meant here."""
_HARMLESS: set[str] = set(_GUARDED)
_MANY = 1024
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHOWN = 20
DROPPED = b"x-headrace-dropped"
"""Header of an answer: which members of the request the upstream's dialect has no word for."""


def set_fields(body: bytes, values: Mapping[str, Any]) -> bytes:
    """The document with these fields set; every other value keeps its bytes, numbers and escapes included.

    A field that is there twice is written once, as it was read here: the last one counts, and some servers take the
    first. Some others (in Go, Ollama among them) take `Model` for `model`: such a twin is refused.

    Raises
    ------
    Unsendable
        A field differs from a known one in upper and lower case only.

    >>> set_fields(b'{"model": "a", "top_p":1.0,"n": 1e0}', {"model": "b", "stream": True})
    b'{"model":"b","top_p":1.0,"n":1e0,"stream":true}'
    """
    fields: dict[str, Any] = _DECODE(body)
    if not fields.keys() <= _HARMLESS:
        _check(fields)
    fields.update(values)
    return _ENCODE(fields)


def _check(names: Iterable[str]) -> None:
    """Judge names once; they repeat."""
    for name in names:
        known = name.casefold()
        if known in _GUARDED and name != known:
            raise Unsendable(f"the field {name!r} is not known here: write {known!r}")
        if len(_HARMLESS) < _MANY and len(name) < 64:
            _HARMLESS.add(name)


def listed(names: Iterable[str]) -> bytes:
    """Names of members in a header. They are a client's own words: what no name looks like is not told, nor very many.

    >>> listed(["seed", "a\\r\\nb: c"])
    b'seed'
    """
    found = [name for name in names if _NAME.fullmatch(name)]
    return ", ".join(found[:_SHOWN]).encode() or b"unknown members"


def asks_usage(request: ModelRequest) -> bool:
    """Whether a stream of chat is to tell its usage."""
    return bool(stream_options(request).get("include_usage"))


def stream_options(request: ModelRequest) -> dict[str, Any]:
    """The options of a stream of chat."""
    options = request.document.get("stream_options")
    return cast("dict[str, Any]", options) if isinstance(options, dict) else {}


def why_not(translate: Callable[[Mapping[str, Any]], object], request: ModelRequest) -> str:
    """Why a request cannot be translated, as what follows the name of its upstream; empty: it can."""
    try:
        translate(request.document)
    except Untranslatable as error:
        return f"cannot be asked for {error}"
    except Malformed as error:
        return f"cannot be asked that: {error}"
    return ""
