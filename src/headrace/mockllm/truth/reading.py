"""What the bytes of an answer say: its events, whether they claim that it is whole, and whether they say an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec

_FINISHED = {"response.completed", "response.incomplete", "message_stop"}
_FAILED = {"error", "response.failed"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a stream says.

    Attributes
    ----------
    finished
        How often it says that the answer is whole: a finish reason, `[DONE]`, or the API's last event.
    failed
        Whether it says an error.
    after_error
        Whether anything comes after that.
    text
        The text of the answer.
    """

    finished: int
    failed: bool
    after_error: bool
    text: str


def read_stream(body: bytes) -> Told:
    """What a stream says, of any of the APIs; only whole events count.

    >>> read_stream(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\\n\\ndata: [DONE]\\n\\n')
    Told(finished=2, failed=False, after_error=False, text='a')
    """
    finished, failed, after = 0, False, False
    texts: list[str] = []
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        data = b"\n".join(line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:"))
        if not data:
            continue
        after = after or failed
        if data == b"[DONE]":
            finished += 1
            continue
        value = _decode(data)
        finished += _finishes(value)
        failed = failed or value.get("type") in _FAILED or bool(value.get("error")) or b"event: error" in block
        texts.append(_text(value))
    return Told(finished, failed, after, "".join(texts))


def read_whole(body: bytes) -> str | None:
    """The text of an answer in one piece; None where it is no answer."""
    value = _decode(body)
    for choice in _dicts(value.get("choices")):
        return str(_dict(choice.get("message")).get("content"))
    for item in _dicts(value.get("output")):
        for part in _dicts(item.get("content")):
            return str(part.get("text"))
    for part in _dicts(value.get("content")):
        return str(part.get("text"))
    return None


def without_usage(body: bytes) -> bytes:
    """A stream of chat without the event that has only the usage: a client gets that if it asks for it.

    >>> without_usage(b'data: {"choices":[],"usage":{}}\\n\\ndata: [DONE]\\n\\n')
    b'data: [DONE]\\n\\n'
    """
    *events, rest = body.split(b"\n\n")
    return b"".join(event + b"\n\n" for event in events if not _only_usage(event)) + rest


def _only_usage(event: bytes) -> bool:
    value = _decode(event.removeprefix(b"data: "))
    return value.get("choices") == [] and isinstance(value.get("usage"), dict)


def _decode(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _finishes(value: dict[str, Any]) -> int:
    if value.get("type") in _FINISHED or _dict(value.get("delta")).get("stop_reason"):
        return 1
    return int(any(choice.get("finish_reason") for choice in _dicts(value.get("choices"))))


def _text(value: dict[str, Any]) -> str:
    for choice in _dicts(value.get("choices")):
        return str(_dict(choice.get("delta")).get("content") or "")
    delta: Any = value.get("delta")
    if value.get("type") == "response.output_text.delta":
        return str(delta)
    return str(_dict(delta).get("text") or "")


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [_dict(item) for item in cast("list[Any]", value)] if isinstance(value, list) else []
