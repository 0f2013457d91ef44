"""What the heads of answers tell of limits, and what of them is passed on: the same whether they were parsed or not."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.clock import SimulatedClock
from headrace.core.errors import ExchangeError
from headrace.http1.answer import Answer
from headrace.http1.client import Client
from headrace.http1.forms import Forms
from headrace.http1.limits import ClientLimits
from headrace.http1.link import Link
from headrace.http1.origin import Origin
from headrace.models.call import Usage
from headrace.models.providers.exchange import HttpCarrier, Route
from headrace.models.request import Dialect, ModelRequest

NAMES = st.sampled_from(
    [
        "x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining", "x-ratelimit-limit-requests",
        "retry-after", "x-request-id", "content-type", "server",
    ]
)  # fmt: skip
HEADS = st.lists(st.tuples(NAMES, st.booleans(), st.integers(0, 9)), max_size=5)
"""Names, whether their values differ from answer to answer, and a value."""


class Wire(asyncio.Transport):
    """A transport to nowhere."""

    def write(self, data: object) -> None: ...

    def is_closing(self) -> bool:
        return False


def said(head: list[tuple[str, bool, int]], forms: Forms | None) -> tuple[list[object], int]:
    """What a carrier makes of five answers with such heads, and how many of them were recognised."""
    carrier = HttpCarrier("a", Client(), SimulatedClock(), Origin("http", "a", 1), (), {})
    route = Route(b"/", lambda request: b"", lambda body: Usage(1, 1), None)
    request = ModelRequest(Dialect.JSON, b"", {}, False, None)
    link = Link(asyncio.get_running_loop(), ClientLimits(), released=lambda _: None, lost=lambda _: None, forms=forms)
    link.connection_made(Wire())
    found: list[object] = []
    known = 0

    def told(answer: Answer | ExchangeError) -> None:
        nonlocal known
        assert isinstance(answer, Answer)
        known += bool(answer.values)
        whole = carrier.whole(request, route, answer, answer.take())
        found.append((list(whole.headers), whole.limits))

    for number in range(5):
        lines = [f"{name}: {value + number if differs else value}\r\n" for name, differs, value in head]
        link.ask(b"", 0.0, float("inf"), told)
        link.data_received(f"HTTP/1.1 200 OK\r\n{''.join(lines)}Content-Length: 2\r\n\r\n{{}}".encode())
    return found, known


@settings(max_examples=200, deadline=None)
@given(HEADS)
async def test_what_was_recognised_says_what_the_parser_would_have_said(head: list[tuple[str, bool, int]]) -> None:
    found, known = said(head, Forms())
    assert known == 3
    assert (found, 0) == said(head, None)
