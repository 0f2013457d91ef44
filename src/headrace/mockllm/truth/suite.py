"""Runs the cases against a gateway whose upstream is a mock that this suite commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from headrace.core.clock import SECOND, Clock, SystemClock
from headrace.mockllm.api import encode
from headrace.mockllm.handle import Mock
from headrace.mockllm.truth.cases import CASES, PATHS, Case, body_of
from headrace.mockllm.truth.exchange import Exchange, ask
from headrace.mockllm.truth.reading import read_stream, read_whole, without_usage

_AFTER = 3
"""Tokens before a failure in the middle."""

_TRIES = 10.0
"""Seconds that a refusal may take at least: a gateway may try again first, as late as the mock's `retry-after` says."""

_SILENT = ("hang", "stall")
"""Failures that nobody is told of: a gateway may wait longer for more than this suite does."""

_MISTAKES = frozenset({400, 401, 403, 404, 405, 422})
"""Statuses that say that the request is wrong, whatever the upstream does."""

_PROMPT = "Say something, so that it can be compared."


class Untrue(AssertionError):
    """A gateway did not keep a case."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """What is tested.

    Attributes
    ----------
    base_url
        Where it is, with or without `/v1`.
    model
        The model that leads to the mock.
    headers
        Sent with each request: a key.
    exact
        Whether it relays the upstream's bytes; otherwise only the texts are compared, as where it asks the upstream in
        another API.
    patience
        Seconds after which an answer that does not go on is called open; a refusal has ten at least.
    cancel_within
        Seconds in which a client's leaving must reach the upstream.
    recover
        Seconds that it may need after a failure until it asks the upstream again.
    """

    base_url: str
    model: str = "mock-model"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    exact: bool = True
    patience: float = 2.0
    cancel_within: float = 0.1
    recover: float = 30.0

    @property
    def root(self) -> str:
        """Its URL without `/v1`."""
        return self.base_url.rstrip("/").removesuffix("/v1")


@dataclass(slots=True)
class Outcome:
    """What one case showed: what is wrong (nothing: kept), and what should be known besides."""

    case: Case
    problems: list[str]
    notes: list[str]

    @property
    def kept(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def hold(self) -> None:
        """Raise `Untrue` if something is wrong."""
        if self.problems:
            raise Untrue(f"{self.case.name}: " + "; ".join(self.problems))


async def check_all(
    gateway: Gateway, mock: Mock, cases: Sequence[Case] = CASES, *, clock: Clock | None = None
) -> AsyncIterator[Outcome]:
    """Run cases one after the other."""
    for case in cases:
        yield await check(case, gateway, mock, clock=clock)


async def check(case: Case, gateway: Gateway, mock: Mock, *, clock: Clock | None = None) -> Outcome:
    """Run one case. The gateway must have no other upstream and nobody else's requests."""
    clock = clock or SystemClock()
    outcome = Outcome(case, [], [])
    wrong = await _recovered(case, gateway, mock, clock)
    if wrong:
        outcome.problems.append(wrong)
        return outcome
    await asyncio.to_thread(mock.clear)
    await asyncio.to_thread(mock.force, case.fault, after=_AFTER, record=True)
    try:
        found = await _ask(case, gateway, clock)
        calls = await _calls(mock, clock, gateway)
    finally:
        await asyncio.to_thread(mock.relax)
    if not calls:
        outcome.problems.append("the upstream was not asked")
        return outcome
    _once(found, outcome)
    _CHECKS[case.expects](found, calls, gateway, outcome)
    return outcome


async def _recovered(case: Case, gateway: Gateway, mock: Mock, clock: Clock) -> str:
    """Wait until a whole answer comes: breakers that the case before has opened are closed again. Else what is wrong.

    What the gateway refuses as a mistake of the request (a model that it has not, a key) no waiting mends.
    """
    await asyncio.to_thread(mock.relax)
    until = clock.monotonic() + gateway.recover
    plain = Case(case.api, False, "none", "whole")
    while True:
        found = await _ask(plain, gateway, clock)
        if found.status == 200 and read_whole(bytes(found.body)) is not None:
            return ""
        if found.status in _MISTAKES:
            return f"a plain request is refused with {_said(found)}"
        if clock.monotonic() > until:
            last = f"; the last was {_said(found)}" if found.status >= 400 else ""
            return f"no whole answer within {gateway.recover:g} s of the case before{last}"
        await clock.sleep(0.25)


def _said(found: Exchange) -> str:
    """What a refusal says: its message in either dialect, or the beginning of its body."""
    text = bytes(found.body[:2000]).decode(errors="replace")
    with suppress(ValueError, LookupError, TypeError):
        text = str(json.loads(text)["error"]["message"])
    return f"{found.status}: {' '.join(text.split())[:300]}"


async def _ask(case: Case, gateway: Gateway, clock: Clock) -> Exchange:
    headers = dict(gateway.headers)
    if case.api == "messages":
        headers.setdefault("anthropic-version", "2023-06-01")
    leaves = case.expects == "cancelled"
    waits = leaves and (case.fault == "hang" or not case.stream)
    return await ask(
        gateway.root, PATHS[case.api], headers, encode(body_of(case, gateway.model, _PROMPT)), clock,
        patience=_patience(case, gateway),
        leave=(lambda body: bool(read_stream(body).text)) if leaves and not waits else None,
        leave_after=min(0.3, gateway.patience) if waits else None,
    )  # fmt: skip


def _patience(case: Case, gateway: Gateway) -> float:
    tries = case.expects == "refused" and case.fault not in _SILENT
    return max(gateway.patience, _TRIES) if tries else gateway.patience


async def _calls(mock: Mock, clock: Clock, gateway: Gateway) -> list[dict[str, Any]]:
    """What the upstream was asked, once all of it is over (or does not end)."""
    until = clock.monotonic() + gateway.cancel_within + 1.0
    while True:
        calls = await asyncio.to_thread(mock.requests)
        if all(call["outcome"] for call in calls) or clock.monotonic() > until:
            return calls
        await clock.sleep(0.01)


def _once(found: Exchange, outcome: Outcome) -> None:
    if found.surplus:
        outcome.problems.append(f"{len(found.surplus)} bytes came after the end of the answer: {found.surplus[:60]!r}")
    if b"HTTP/1.1 " in found.body:
        outcome.problems.append("a second answer stands inside of the first one")


def _check_whole(found: Exchange, calls: list[dict[str, Any]], gateway: Gateway, outcome: Outcome) -> None:
    case, problems, asked = outcome.case, outcome.problems, calls[-1]["api"]
    if found.status != 200 or found.end != "complete":
        problems.append(f"status {found.status} and {found.end}, not a whole answer")
        return
    sent = "".join(calls[-1].get("sent", ())).encode()
    body = bytes(found.body)
    if asked != case.api:
        outcome.notes.append(f"the upstream was asked in another API ({asked}): the texts are compared, not the bytes")
    elif case.stream and body == without_usage(sent) != sent:
        outcome.notes.append("the gateway asked the upstream for the usage, and kept it back as the client had not")
    elif gateway.exact and body != sent:
        problems.append(f"the answer's bytes differ from the upstream's at byte {_differ(body, sent)}")
    if case.stream:
        told, meant = read_stream(body), read_stream(sent)
        if told.text != meant.text:
            problems.append(f"the text differs from the upstream's at character {_differ(told.text, meant.text)}")
        if told.finished == 0 or told.failed:
            problems.append("a whole answer is not told as one")
        if calls[-1]["ended"] - calls[-1]["first"] > SECOND // 10 and found.first > calls[-1]["ended"]:
            problems.append("the first byte came when the upstream had sent the last: the stream is buffered")
    elif read_whole(body) != read_whole(sent):
        problems.append("the text differs from the upstream's")
    if len(calls) > 1:
        outcome.notes.append(f"the upstream was asked {len(calls)} times")


def _check_broken(found: Exchange, calls: list[dict[str, Any]], gateway: Gateway, outcome: Outcome) -> None:
    problems, case = outcome.problems, outcome.case
    if found.status >= 400:
        outcome.notes.append(f"refused with {found.status} instead of a broken stream")
        return
    told = read_stream(bytes(found.body))
    if told.finished:
        problems.append("a broken answer is marked as finished")
    if found.end == "complete" and not told.failed:
        problems.append("a broken answer ends as if it were complete, and no event says an error")
    if told.after_error:
        problems.append("something comes after the error")
    if found.end == "open":
        after = f"after {_patience(case, gateway):g} s"
        if case.fault == "stall":
            outcome.notes.append(f"still open {after}")
        else:
            problems.append(f"the upstream's answer is over, and the client still waits {after}")
    texts = [read_stream("".join(call.get("sent", ())).encode()).text for call in calls]
    if not any(text.startswith(told.text) for text in texts):
        problems.append("what came is not the beginning of what the upstream sent")


def _check_refused(found: Exchange, calls: list[dict[str, Any]], gateway: Gateway, outcome: Outcome) -> None:
    problems, case = outcome.problems, outcome.case
    if found.status == 0 and found.end == "open" and case.fault in _SILENT:
        outcome.notes.append(f"no answer within {gateway.patience:g} s")
        return
    if found.status == 200 and case.stream:
        _check_broken(found, calls, gateway, outcome)
        return
    least = 500 if not case.fault.isdecimal() else 400
    if found.status < least:
        late = f" within {_patience(case, gateway):g} s" if found.end == "open" else ""
        shown = f"status {found.status}" if found.status else f"no answer{late}"
        problems.append(f"{shown} ({found.end}) where {least} or more is due")
    elif found.end != "complete":
        problems.append(f"the refusal is {found.end}")
    elif read_whole(bytes(found.body)) is not None:
        problems.append("the refusal holds an answer")


def _check_cancelled(found: Exchange, calls: list[dict[str, Any]], gateway: Gateway, outcome: Outcome) -> None:
    problems = outcome.problems
    if found.end != "left":
        problems.append(f"the answer was {found.end} (status {found.status}) before the client could leave")
        return
    for call in calls:
        late = (call["ended"] - found.left) / SECOND
        if not call["outcome"]:
            problems.append("the upstream still works a second after the client has left")
        elif late > gateway.cancel_within:
            problems.append(f"the upstream worked on for {late * 1000:.0f} ms after the client had left")
        elif call["outcome"] == "answered":
            when = "after the client had left" if late > 0 else "before the client could leave"
            problems.append(f"the upstream was read to its end {when}: it was not cancelled")


_CHECKS = {
    "whole": _check_whole,
    "broken": _check_broken,
    "refused": _check_refused,
    "cancelled": _check_cancelled,
}


def _differ(one: Sequence[object], two: Sequence[object]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
