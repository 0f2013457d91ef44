"""Answers that are no streams: whether they are what was asked for, and what they took.

The bytes are passed on as they came; they are parsed only as far as that needs.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.models.call import Usage
from headrace.models.dialects.errors import read_error
from headrace.models.dialects.usage import Counts, read_usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed
from headrace.models.request import Dialect

_NONE = msgspec.Raw()


class _Answer(msgspec.Struct):
    choices: msgspec.Raw = _NONE
    output: msgspec.Raw = _NONE
    content: msgspec.Raw = _NONE
    data: msgspec.Raw = _NONE
    usage: Counts | None = None
    error: Any = None
    status: Any = None


class _Lenient(msgspec.Struct):
    choices: msgspec.Raw = _NONE
    output: msgspec.Raw = _NONE
    content: msgspec.Raw = _NONE
    data: msgspec.Raw = _NONE
    error: Any = None
    status: Any = None


_DECODE = msgspec.json.Decoder(_Answer).decode
_DECODE_LENIENT = msgspec.json.Decoder(_Lenient).decode
_NOTHING = (_NONE, msgspec.Raw(b"null"))
_EMPTY = msgspec.Raw(b"[]")
"""A list of choices without any; answers of other dialects may well be empty."""
_FIELDS = {
    Dialect.CHAT: "choices",
    Dialect.RESPONSES: "output",
    Dialect.MESSAGES: "content",
    Dialect.EMBEDDINGS: "data",
}
"""What an answer of each dialect has; without it, it is no answer."""


def check_whole(dialect: Dialect, body: bytes) -> Usage | None:
    """What an answer with a status of success says that it took.

    Raises
    ------
    Failed
        It is no answer: no JSON, cut off, an error, or something else.

    Examples
    --------
    >>> check_whole(Dialect.CHAT, b'{"choices":[{}],"usage":{"prompt_tokens":3,"completion_tokens":2}}')
    Usage(prompt_tokens=3, output_tokens=2)
    >>> check_whole(Dialect.CHAT, b'{"choices":[{')
    Traceback (most recent call last):
    headrace.models.provider.Failed: the answer is no JSON: ...
    """
    usage = None
    try:
        found = _DECODE(body)
        usage = found.usage
    except msgspec.ValidationError:
        # A strange `usage` must not fail an answer that is good.
        found = _lenient(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(error, body) from None
    if found.error is not None and (found.error or found.error == ""):
        failure, message = read_error(found.error)
        raise Failed(failure, f"the answer is an error with the status 200: {message:.200}", body=body, said=message)
    if found.status == "failed":
        raise Failed(Failure.SERVER_ERROR, "the answer says that it failed", body=body)
    field = _FIELDS[dialect]
    said = getattr(found, field)
    if said in _NOTHING or (dialect is Dialect.CHAT and said == _EMPTY):
        raise Failed(Failure.SERVER_ERROR, f"the answer has no {field!r}: {body[:100]!r}", body=body)
    return read_usage(usage)


def _lenient(body: bytes) -> _Lenient:
    try:
        return _DECODE_LENIENT(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(error, body) from None


def _no_json(error: Exception, body: bytes) -> Failed:
    return Failed(Failure.SERVER_ERROR, f"the answer is no JSON: {error}: {body[:100]!r}", body=body)
