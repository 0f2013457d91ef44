"""The cases, as data: which API is asked, what the upstream does, and what the gateway's client may see of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Expected = Literal["whole", "broken", "refused", "cancelled"]


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes
    ----------
    api
        `chat`, `responses` or `messages`.
    stream
        Whether the answer is streamed.
    fault
        What the upstream does (see `faults.py`); `none`: a whole answer.
    expects
        `whole`     the upstream's bytes, all of them, once, each when it came
        `broken`    what came before the failure; then a broken connection, or an error event and nothing after it;
                    and no mark of a finished answer
        `refused`   an error status (5xx where the upstream's answer was no answer)
        `cancelled` the client leaves, and every call of the upstream ends within 100 ms
    """

    api: str
    stream: bool
    fault: str
    expects: Expected

    @property
    def name(self) -> str:
        """A name that is unique."""
        return f"{self.api}-{'stream' if self.stream else 'whole'}-{self.expects}-{self.fault}"

    def __str__(self) -> str:
        return self.name


PATHS: Final = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}

_MIDDLE = ("reset-mid-stream", "cut", "truncate", "stall", "error-event", "garbage")
_BEFORE = ("429", "500", "503", "529", "reset", "hang")
_HALF = ("reset-mid-stream", "cut", "stall", "garbage")


def _cases() -> tuple[Case, ...]:
    found: list[Case] = []
    for api in PATHS:
        found += [Case(api, stream, "none", "whole") for stream in (True, False)]
        found += [Case(api, True, fault, "broken") for fault in _MIDDLE]
        found += [Case(api, stream, fault, "refused") for stream in (True, False) for fault in _BEFORE]
        found += [Case(api, False, fault, "refused") for fault in _HALF]
        found += [Case(api, True, fault, "cancelled") for fault in ("none", "stall", "hang")]
        found.append(Case(api, False, "hang", "cancelled"))
    return tuple(found)


CASES: Final = _cases()
"""All cases; pick some by their attributes."""


def body_of(case: Case, model: str, prompt: str) -> dict[str, Any]:
    """The request of a case."""
    if case.api == "responses":
        return {"model": model, "input": prompt, "max_output_tokens": 200, "stream": case.stream}
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "max_tokens": 200, "stream": case.stream}
