"""A hostile client at the gateway: what reaches upstreams, who pays for slowness, what is left when clients vanish."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headrace.core.clock import SystemClock
from headrace.declaration.modelling import Modelling
from headrace.http1.client import Client
from headrace.http1.request import Request
from headrace.http1.response import Response
from headrace.http1.server import Server
from headrace.models import OpenAI, Prices
from headrace.models.periods import Budgets
from headrace.models.running import Models
from headrace.server.gateway import Gateway, Offer
from headrace.server.gateway.keyring import Keyring
from headrace.server.gateway.keys import digest_of
from headrace.testing.ports import MemoryPorts

SECRET = "hr-very-secret"
CLOCK = SystemClock()
SSE = [(b"content-type", b"text/event-stream")]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
WHOLE = json.dumps({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE})


def chunk(text: str) -> bytes:
    document = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: %b\n\n" % json.dumps(document).encode()


class Place:
    """An upstream that does what the prompt says: `slow`, `hang`, `drip`, `flood`, or answers."""

    def __init__(self) -> None:
        self.headers: list[Any] = []
        self.sent = 0
        self.running = 0
        self.gone = asyncio.Event()
        self.server = Server(self._answer, failed=lambda error, request: None)

    async def _answer(self, request: Request) -> Response:
        self.headers.append(request.headers)
        document = json.loads(await request.read())
        how = document["messages"][-1]["content"]
        self.running += 1
        request.when_done(self._done)
        if how == "slow":
            await CLOCK.sleep(0.05)
        if how == "hang":
            await asyncio.Event().wait()
        if document.get("stream"):
            return Response(200, SSE, self._stream(how))
        return Response(200, [(b"content-type", b"application/json")], WHOLE.encode())

    def _done(self, request: Any) -> None:
        self.running -= 1
        self.gone.set()

    async def _stream(self, how: str) -> AsyncIterator[bytes]:
        many, size = {"flood": (3200, 65_536), "drip": (10_000, 10)}.get(how, (5, 10))
        for _ in range(many):
            piece = chunk("x" * size)
            self.sent += len(piece)
            yield piece
            if how != "flood":
                await CLOCK.sleep(0.01)
        yield b"data: [DONE]\n\n"


class Hostile:
    """A gateway on a socket, an upstream behind it, and raw connections to it."""

    def __init__(self) -> None:
        self.place = Place()
        self.ports = MemoryPorts()
        self.budgets = Budgets()
        self.models: Any = None
        self.client = Client()
        self.gateway: Any = None
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def model(self) -> Any:
        return self.models["llm"]

    async def open(self, head: str = "", body: dict[str, Any] | None = None, how: str = "hi") -> Any:
        """A request on a connection of its own."""
        document = {"model": "llm", "messages": [{"role": "user", "content": how}]} | (body or {})
        data = json.dumps(document).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        self.writers.append(writer)
        lines = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
        key = f"authorization: Bearer {SECRET}\r\n"
        writer.write((lines + key + head + "\r\n").encode("latin-1") + data)
        return reader, writer

    def left(self) -> tuple[Any, ...]:
        """All that can be left behind: calls, attempts, who waits, places at upstreams, money, connections."""
        router = self.model.router
        [(there, idle, waiting)] = self.client.connections().values()
        held = [account.reserved for lane in self.budgets.lanes.values() for account in lane._accounts.values()]
        return (
            self.model.open, router.in_flight, len(router.admission), [one.in_flight for one in
            router.selection.upstreams], sum(held), there - idle, waiting, self.place.running,
        )  # fmt: skip


NOTHING = (0, 0, 0, [0], Decimal(0), 0, 0, 0)


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[Hostile]:
    world = Hostile()
    await world.place.server.start()
    keys = tmp_path / "keys.yaml"
    key = {"id": "k1", "name": "shop", "sha256": digest_of(SECRET.encode()), "views": ["*"]}
    keys.write_text(json.dumps({"keys": [key | {"budget": {"day": "1000000"}}]}))
    keyring = Keyring(keys)
    keyring.start()
    declared = Modelling()
    url = f"http://127.0.0.1:{world.place.server.port}/v1"
    upstream = OpenAI(url, model="m", name="one", key="SOME_KEY", headers={"x-team": "ours"})
    prices = Prices.parse('models: {"*": {input: "1000", output: "1000"}}')
    declared.model("llm", upstream, prices=prices, deadline="20s")
    environment = {"SOME_KEY": "sk-upstream"}
    async with Models(
        declared.models, client=world.client, clock=CLOCK, random=Random(1), environment=environment,
        spending=world.budgets,
    ) as world.models:  # fmt: skip
        offers = [Offer.of(one, world.models[name]) for name, one in declared.models.items()]
        gateway = world.gateway = Gateway(
            offers, world.ports, keyring=keyring, budgets=world.budgets, clock=CLOCK, random=Random(1)
        )
        handler: Callable[[Request], Any] = lambda request: gateway.find(request)(request)  # type: ignore[misc]  # noqa: E731
        server = Server(handler, failed=lambda error, request: None)
        await server.start()
        world.port = server.port
        yield world
        for writer in world.writers:
            writer.transport.abort()
        await server.drain(1)
    await world.client.aclose()
    await world.place.server.drain(0.05)
    keyring.close()


async def until(seen: Callable[[], bool], seconds: float) -> float:
    """Wait until something is so; how long it took."""
    began = time.monotonic()
    while not seen():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not so after {seconds} s")
        await CLOCK.sleep(0.002)
    return time.monotonic() - began


async def test_nothing_of_a_clients_headers_reaches_an_upstream(hostile: Hostile) -> None:
    head = (
        "cookie: session=1\r\nx-foo: 1\r\nconnection: x-foo, keep-alive\r\nte: trailers\r\nopenai-organization: x\r\n"
        "x-team: theirs\r\napi-key: theirs\r\nproxy-authorization: theirs\r\nx-forwarded-for: 1.2.3.4\r\n"
    )
    reader, writer = await hostile.open(head)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    [sent] = hostile.place.headers
    ours = {b"host", b"content-type", b"accept-encoding", b"authorization", b"x-team", b"content-length"}
    assert {name for name, _ in sent} == ours
    assert dict(sent)[b"authorization"] == b"Bearer sk-upstream"
    assert dict(sent)[b"x-team"] == b"ours"
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        "content-length: 5\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "x-a: b\x00c\r\n",
        "x-a: b\rx-b: c\r\n",
        " folded: 1\r\n",
        "host: other\r\n",
        "x y: 1\r\n",
    ],
)
async def test_a_request_of_two_meanings_reaches_no_upstream(hostile: Hostile, head: str) -> None:
    reader, writer = await hostile.open(head)
    assert (await reader.readline())[9:12] in (b"400", b"431", b"501")
    assert hostile.place.headers == []
    writer.close()


@pytest.mark.parametrize("name", ["x-headrace-session", "x-headrace-context", "x-request-id", "x-headrace-priority"])
async def test_what_a_client_writes_in_headers_forges_none_of_the_answer(hostile: Hostile, name: str) -> None:
    reader, writer = await hostile.open(f'{name}: a\xe9"%0d%0aset-cookie: evil=1\r\nconnection: close\r\n')
    answer = (await reader.read()).lower()
    assert b"\r\nset-cookie" not in answer
    writer.close()


@pytest.mark.parametrize("stage", ["first byte", "stream", "context", "queue", "body"])
async def test_a_client_that_goes_away_is_noticed_within_a_tenth_of_a_second(hostile: Hostile, stage: str) -> None:
    held: list[Any] = []
    reading = 0

    async def hang(*_: Any, **__: Any) -> Any:
        nonlocal reading
        reading += 1
        try:
            await asyncio.Event().wait()
        finally:
            reading -= 1

    if stage == "queue":
        many = int(hostile.model.router.selection.upstreams[0].limit.current)
        held = [(await hostile.open(how="hang"))[1] for _ in range(many)]
        await until(lambda: hostile.place.running == many, 2)
        _, writer = await hostile.open()
        await until(lambda: len(hostile.model.router.admission) == 1, 2)
    elif stage == "context":
        hostile.ports.read_many = hang  # type: ignore[method-assign]
        _, writer = await hostile.open(body={"headrace": {"context": [{"view": "menu"}]}})
        await until(lambda: reading == 1, 2)
    elif stage == "body":
        _, writer = await asyncio.open_connection("127.0.0.1", hostile.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
        await CLOCK.sleep(0.05)
    else:
        _, writer = await hostile.open(how="hang" if stage == "first byte" else "drip", body={"stream": True})
        await until(lambda: hostile.place.running == 1, 2)
        await CLOCK.sleep(0.1 if stage == "stream" else 0.0)
    writer.transport.abort()
    open_before = len(held)
    took = await until(lambda: (hostile.model.open, hostile.place.running, reading) == (open_before, open_before, 0), 1)
    assert took < 0.3  # a tenth of a second on a machine that has nothing else to do
    for one in held:
        one.transport.abort()
    if stage not in ("context", "body"):
        await until(lambda: hostile.left() == NOTHING, 2)


async def test_a_slow_reader_holds_its_upstream_back_and_nothing_piles_up(hostile: Hostile) -> None:
    """The upstream has 200 MB to give, as fast as it can."""
    reader, writer = await hostile.open(how="flood", body={"stream": True})
    await until(lambda: hostile.place.sent > 65_536, 2)
    await CLOCK.sleep(1.0)
    stuck = hostile.place.sent
    assert stuck < 16 * 1024 * 1024  # the buffers of four sockets, and ours
    got = 0
    while got < 60 * 1024 * 1024:
        got += len(await reader.read(2**20))
        assert hostile.place.sent - got < 16 * 1024 * 1024
    writer.transport.abort()
    await until(lambda: hostile.left() == NOTHING, 2)


async def test_after_hundreds_of_clients_that_vanish_anywhere_nothing_is_left(hostile: Hostile) -> None:
    random = Random(4)

    async def vanish() -> None:
        await CLOCK.sleep(random.uniform(0, 2.0))
        how = random.choice(["hi", "slow", "hang", "drip", "drip"])
        body: dict[str, Any] = {"stream": random.random() < 0.6}
        if random.random() < 0.2:
            body["headrace"] = {"context": [{"view": "menu", "params": {"restaurant_id": "r7"}}]}
        with contextlib.suppress(OSError):
            reader, writer = await hostile.open(
                f"x-request-timeout-ms: {random.choice([1, 50, 400, 9999])}\r\n", body, how
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.choice([0, 0.001, 0.01, 0.05, 0.3])):
                    await reader.read()
            if random.random() < 0.7:
                writer.transport.abort()
            else:
                writer.close()

    await asyncio.gather(*[vanish() for _ in range(400)])
    await until(lambda: hostile.left() == NOTHING, 5)
