"""The bodies of requests: setting fields without touching the rest, and looking at what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from headrace.models.dialects.untranslatable import Untranslatable
from headrace.models.request import ModelRequest

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def set_fields(body: bytes, **values: Any) -> bytes:
    """The document with these fields set; every other value keeps its bytes, numbers and escapes included.

    >>> set_fields(b'{"model": "a", "top_p":1.0,"n": 1e0}', model="b", stream=True)
    b'{"model":"b","top_p":1.0,"n":1e0,"stream":true}'
    """
    fields: dict[str, Any] = _FIELDS.decode(body)
    fields.update(values)
    return _ENCODER.encode(fields)


def asks_usage(request: ModelRequest) -> bool:
    """Whether a stream of chat is to tell its usage."""
    return bool(stream_options(request).get("include_usage"))


def stream_options(request: ModelRequest) -> dict[str, Any]:
    """The options of a stream of chat."""
    options = request.document.get("stream_options")
    return cast("dict[str, Any]", options) if isinstance(options, dict) else {}


def why_not(translate: Callable[[Mapping[str, Any]], object], request: ModelRequest) -> str:
    """Why a request cannot be translated; empty: it can."""
    try:
        translate(request.document)
    except Untranslatable as error:
        return str(error)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # The request is not of the form that its dialect has: a translation cannot send it on to be refused.
        return f"a request that is not as its dialect says ({type(error).__name__}: {error})"
    return ""
