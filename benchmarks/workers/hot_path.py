"""Ours: what each layer adds to one relayed request, in one process and without a kernel. Prints one line of JSON.

hot_path.py <requests> <repeats>

Bytes are handed to the connections as a transport would hand them, with 64 requests in flight,
and what is written goes nowhere. So sockets, wake-ups and cold caches are left out: this says where Python's time goes,
not what a request costs on a machine (`run.py gateway` does). Processor time, the best of the repeats.

    relay    http1's server and client: the request is passed on, and so is the answer
    shell    `RoutedModel` and the upstream's dialect, over a router that always says yes
    router   the same with the real router: quotas, balancing, limits, budgets, prices
    whole    the same behind the gateway and the gate of `headrace serve`
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, cast

from headrace import http1
from headrace.core.clock import SystemClock
from headrace.declaration.modelling import Modelling
from headrace.http1.connection import Connection
from headrace.http1.headers import end_to_end
from headrace.http1.link import Link
from headrace.http1.origin import Origin
from headrace.http1.pool import Pool
from headrace.http1.server import Server
from headrace.models import OpenAI, Prices
from headrace.models.action import Action, Attempt, Deliver, Done, Start
from headrace.models.call import Call, Usage
from headrace.models.deadline import AttemptClock
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.running import Models
from headrace.server.direct import Direct
from headrace.server.failures import Failures
from headrace.server.gate import Gate
from headrace.server.gateway import Gateway, Offer
from headrace.server.gateway.accounts import KEYS, Accounts
from headrace.server.gateway.keys import digest_of
from headrace.server.metrics import Meter
from headrace.server.settings import Settings

IN_FLIGHT = 64
KEY = "hr-hot-path"
BODY = (
    b'{"model":"llm","messages":[{"role":"system","content":"You answer briefly."},{"role":"user","content":'
    b'"Which dish of the menu sells best this evening, and can it still be had?"}],"max_tokens":64,"temperature":0}'
)
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (KEY.encode(), len(BODY), BODY)
)
_CONTENT = b"The noodles, and there are nine portions left. " * 8
_ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"mock","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"%b"},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":40,"completion_tokens":96,"total_tokens":136}}' % _CONTENT
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 19:46:14 GMT\r\nContent-Type: application/json"
    b"\r\nContent-Length: %d\r\nConnection: keep-alive\r\nx-ratelimit-limit-requests: 1000000\r\n"
    b"x-ratelimit-remaining-requests: 999999\r\nx-ratelimit-reset-requests: 1s\r\nx-ratelimit-limit-tokens: 900000000"
    b"\r\nx-ratelimit-remaining-tokens: 899999999\r\nx-ratelimit-reset-tokens: 1s\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
)
PRICES = 'models: {"*": {input: "1", output: "2"}}'
HANDLERS = dict[str, Callable[[http1.Request], "http1.Response | Awaitable[http1.Response]"]]


class Wire(asyncio.Transport):
    """A transport to nowhere: says when something was written."""

    def __init__(self, written: Callable[[bytes], None], protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.write = written  # type: ignore[method-assign]
        self._protocol = protocol

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class InstantPool(Pool):
    """Connections whose other side answers in the loop's next turn."""

    async def _dial(self, deadline: float) -> Link:
        loop = asyncio.get_running_loop()
        link = Link(
            loop, self._limits, released=self._released, lost=self._lost, forms=self._forms, answered=self._answered
        )
        link.connection_made(Wire(lambda _: cast(None, loop.call_soon(link.data_received, ANSWER)), link))
        return link


class InstantClient(http1.Client):
    """A client without a network."""

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools[origin] = InstantPool(
            origin, self.limits, asyncio.get_running_loop(), None, None, self._answered
        )
        return pool


class Straight:
    """A router that starts every call at once, at the upstreams in turn."""

    wake = None

    def __init__(self, real: Any) -> None:
        self.selection = real.selection
        self._names = itertools.cycle([one.spec.name for one in real.selection.upstreams])
        self._ids = itertools.count(1)
        self._open: dict[int, Attempt] = {}

    def submit(self, now: float, call: Call) -> list[Action]:
        clock = AttemptClock(call.deadline, call.deadline, call.deadline, call.deadline)
        attempt = Attempt(next(self._ids), call, next(self._names), None, now, clock)
        self._open[attempt.id] = attempt
        return [Start(attempt)]

    def on_end(self, now: float, attempt: int, usage: Usage | None, limits: object) -> list[Action]:
        ended = self._open.pop(attempt)
        return [Deliver(ended), Done(ended.call, ended, usage, Decimal(0))]


async def load(handler: http1.Handler, requests: int) -> float:
    """Microseconds for each of `requests`, with 64 in flight."""
    loop = asyncio.get_running_loop()
    server = Server(handler)
    left, answered, wrong = requests, 0, 0
    done = loop.create_future()

    def connect() -> Callable[[], None]:
        connection = Connection(server, loop)

        def ask() -> None:
            nonlocal left
            left -= 1
            loop.call_soon(connection.data_received, REQUEST)

        def written(data: bytes) -> None:
            nonlocal answered, wrong
            answered += 1
            wrong += not data.startswith(b"HTTP/1.1 200")
            if left > 0:
                ask()
            elif answered == requests:
                done.set_result(None)

        connection.connection_made(Wire(written, connection))
        return ask

    asks = [connect() for _ in range(IN_FLIGHT)]
    began = time.process_time()
    for ask in asks:
        ask()
    await done
    taken = time.process_time() - began
    if wrong:
        raise SystemExit(f"{wrong} of {requests} answers were wrong")
    return taken / requests * 1e6


@asynccontextmanager
async def layers(folder: Path) -> AsyncIterator[HANDLERS]:
    """A handler for each."""
    keys = folder / KEYS
    keys.write_text(
        f"keys: [{{id: k, name: k, sha256: {digest_of(KEY.encode())}, rpm: 100000000, tpm: 100000000000, "
        "budget: {day: 1000000}}]\n"
    )
    clock = SystemClock()
    declared = Modelling()
    upstreams = [
        OpenAI(f"http://127.0.0.1:{port}/v1", model="mock", name=f"u{port}", requests_per_minute=60_000_000)
        for port in range(1, 5)
    ]
    declared.model("llm", upstreams, prices=Prices.parse(PRICES), deadline="30s")
    with Accounts(folder) as accounts:
        async with (
            InstantClient() as client,
            Models(
                declared.models, client=client, clock=clock, random=Random(1), environment={}, spending=accounts.budgets
            ) as models,
            Models(declared.models, client=client, clock=clock, random=Random(1), environment={}) as stubbed,
        ):
            stubbed["llm"].router = cast(Any, Straight(stubbed["llm"].router))
            gateway = Gateway(
                [Offer.of(declared.models["llm"], models["llm"])], cast(Any, None),
                keyring=accounts.keyring, budgets=accounts.budgets, ledger=accounts.ledger, random=Random(1),
            )  # fmt: skip
            direct = Direct(Gate(Settings(), Meter(), clock), cast(Any, None), Failures(clock), [gateway])
            yield {
                "relay": _relay(client),
                "shell": _send(stubbed["llm"]),
                "router": _send(models["llm"]),
                "whole": cast(Any, direct),
            }


def _relay(client: http1.Client) -> http1.Handler:
    origin = Origin("http", "127.0.0.1", 1)

    async def first(request: http1.Request) -> http1.Response:
        body, headers = await request.read(), end_to_end(request.headers)
        answer = await client.request(b"POST", origin, request.target, headers, body)
        return http1.Response(answer.status, end_to_end(answer.headers), await answer.read())

    def relay(request: http1.Request) -> Any:
        later = http1.Later(lambda: None)

        def told(answer: Any) -> None:
            later.give(http1.Response(answer.status, end_to_end(answer.headers), answer.take()))

        headers = tuple(end_to_end(request.headers))
        sent = client.post(origin, request.target, headers, request.take(), told, None)
        return first(request) if sent is None else later

    return relay


def _send(model: Any) -> http1.Handler:
    numbers = itertools.count()

    def send(request: http1.Request) -> http1.Later:
        body = request.take()
        asked = ModelRequest(Dialect.CHAT, body, {"model": "llm"}, False, 40, 64)
        terms = Terms(str(next(numbers)), time.monotonic() + 30)
        later = http1.Later(lambda: None)

        def told(reply: Any) -> None:
            later.give(http1.Response(reply.status, reply.headers, reply.at_once()))

        model.ask(asked, terms, told)
        return later

    return send


async def main(requests: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with layers(Path(folder)) as handlers:
            found: dict[str, list[float]] = {name: [] for name in handlers}
            for handler in handlers.values():
                await load(handler, 2000)
            for _ in range(repeats):
                for name, handler in handlers.items():
                    found[name].append(await load(handler, requests))
    print(json.dumps({name: {"best": round(min(all_), 1), "all": all_} for name, all_ in found.items()}))


if __name__ == "__main__":
    http1.run(main(int(sys.argv[1]), int(sys.argv[2])))
