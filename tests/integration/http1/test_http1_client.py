"""The client over real sockets: against servers that others wrote, and against servers that break."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.core.clock import SystemClock, to_datetime
from headrace.core.errors import (
    BadAnswer,
    Interrupted,
    TimedOut,
    Truncated,
    Unreachable,
)
from headrace.http1.answer import Answer
from headrace.http1.origin import Origin
from headrace.http1.request import Request
from headrace.http1.response import Response

sys.path.insert(0, str(Path(__file__).parent))
from http1_raw import Raw, Serve, origin, scripted

CLOCK = SystemClock()
OK = b"HTTP/1.1 200 OK\r\n"
SHORT = OK + b"Content-Length: 2\r\n\r\nok"
DAY = 86_400_000_000


async def echo(request: Request) -> Response:
    """The method and the body."""
    return Response(200, [(b"content-type", b"text/plain")], request.method + b" " + await request.read())


async def answering(connection: Raw) -> None:
    """A server as it should be."""
    while True:
        await connection.head()
        connection.send(SHORT)


async def until_truncated(answer: Answer) -> bytes:
    """What came before the break."""
    got = b""
    try:
        async for piece in answer:
            got += piece
    except Truncated:
        return got
    raise AssertionError("the answer ended well")


# Servers that others wrote


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Streams the request's body back in pieces."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


@pytest.fixture
def uvicorn_origin() -> Iterator[Origin]:
    """A uvicorn in a thread of its own."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    config = uvicorn.Config(asgi, log_config=None, lifespan="off", timeout_keep_alive=1)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield Origin("http", "127.0.0.1", listening.getsockname()[1])
    server.should_exit = True
    thread.join(10)


async def test_uvicorn_answers(uvicorn_origin: Origin, connect: Any) -> None:
    client = connect()
    big = bytes(range(256)) * 8000

    async def upload() -> AsyncIterator[bytes]:
        for at in range(0, len(big), 50_000):
            yield big[at : at + 50_000]

    for body in (b"", b"abc", big):
        answer = await client.request(b"POST", uvicorn_origin, b"/p", (), body)
        assert answer.header(b"x-path") == b"/p"
        assert await answer.read() == body
    for length in (None, len(big)):
        answer = await client.request(b"POST", uvicorn_origin, b"/p", (), upload(), length=length)
        assert answer.delimited == "chunked"
        assert await answer.read() == big
    assert client.connections() == {str(uvicorn_origin): (1, 1, 0)}


async def test_a_server_that_closes_idle_connections_is_no_error(uvicorn_origin: Origin, connect: Any) -> None:
    client = connect()
    for _ in range(2):
        assert await (await client.request(b"POST", uvicorn_origin, b"/", (), b"a")).read() == b"a"
        await CLOCK.sleep(1.5)  # uvicorn's keep-alive here is 1 s
    assert client.connections()[str(uvicorn_origin)][1] == 0


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for `localhost`, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(to_datetime(CLOCK.now() - DAY))
        .not_valid_after(to_datetime(CLOCK.now() + DAY))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_tls_is_spoken_and_certificates_are_checked(serve: Serve, connect: Any, certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await serve(echo, tls=context)
    where = Origin("https", "localhost", server.port)
    trusting = connect(tls=ssl.create_default_context(cafile=certificate))
    big = b"a" * 3_000_000
    for _ in range(2):
        answer = await trusting.request(b"POST", where, b"/", (), big)
        assert await answer.read() == b"POST " + big
    assert trusting.connections()[str(where)] == (1, 1, 0)
    with pytest.raises(Unreachable, match="certificate"):
        await connect().request(b"GET", where, b"/")
    with pytest.raises(Unreachable, match="certificate"):
        await trusting.request(b"GET", Origin("https", "127.0.0.1", server.port), b"/")


async def test_an_authority_of_ones_own_is_named_in_the_environment(
    serve: Serve, connect: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await serve(echo, tls=context)
    with pytest.raises(Unreachable, match=r"not trusted: self-signed certificate; .* SSL_CERT_FILE"):
        await connect().request(b"GET", Origin("https", "localhost", server.port), b"/")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    answer = await connect().request(b"GET", Origin("https", "localhost", server.port), b"/")
    assert answer.status == 200
    with pytest.raises(Unreachable, match=r"not trusted: .*; call the server by a name"):
        await connect().request(b"GET", Origin("https", "127.0.0.1", server.port), b"/")


# What may be sent again


async def once_then_gone(connection: Raw) -> None:
    """Answers one request, and ends when the next one comes."""
    await connection.head()
    connection.send(SHORT)
    await connection.head()
    connection.reset()


@pytest.mark.parametrize(("method", "resend", "again"), [
    (b"GET", None, True), (b"PUT", None, True), (b"POST", None, False), (b"POST", True, True), (b"GET", False, False),
])  # fmt: skip
async def test_only_what_may_be_repeated_is_sent_again(
    connect: Any, method: bytes, resend: bool | None, again: bool
) -> None:
    async with scripted(once_then_gone, answering) as (where, heads):
        client = connect()
        await (await client.request(b"GET", where, b"/1")).read()
        asked = client.request(method, where, b"/2", (), b"", resend=resend)
        if again:
            assert await (await asked).read() == b"ok"
            assert len(heads) == 3
        else:
            with pytest.raises(Interrupted) as caught:
                await asked
            assert (caught.value.reused, caught.value.received) == (True, 0)
            assert len(heads) == 2


async def test_nothing_is_sent_again_on_a_fresh_connection(connect: Any) -> None:
    async def gone(connection: Raw) -> None:
        await connection.head()
        connection.reset()

    async with scripted(gone) as (where, heads):
        with pytest.raises(Interrupted) as caught:
            await connect().request(b"GET", where, b"/")
        assert not caught.value.reused
        assert len(heads) == 1


async def test_nothing_is_sent_again_once_a_byte_of_the_answer_came(connect: Any) -> None:
    async def half(connection: Raw) -> None:
        await connection.head()
        connection.send(SHORT)
        await connection.head()
        connection.send(b"HTTP/1.1 2")
        await connection.writer.drain()

    async with scripted(half) as (where, heads):
        client = connect()
        await (await client.request(b"GET", where, b"/1")).read()
        with pytest.raises(Interrupted) as caught:
            await client.request(b"GET", where, b"/2")
        assert caught.value.received == 10
        assert len(heads) == 2


# Broken answers


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
@pytest.mark.parametrize("reset", [True, False])
async def test_a_truncated_answer_is_an_error_after_its_bytes(connect: Any, framing: bytes, reset: bool) -> None:
    async def truncating(connection: Raw) -> None:
        await connection.head()
        connection.send(OK + framing)
        await CLOCK.sleep(0.05)
        if reset:
            connection.reset()

    async with scripted(truncating) as (where, _):
        client = connect()
        answer = await client.request(b"GET", where, b"/")
        assert await until_truncated(answer) == b"abc"
        with pytest.raises(Truncated):
            await (await client.request(b"GET", where, b"/")).read()
        assert client.connections()[str(where)][0] == 0


async def test_a_body_that_only_the_end_delimits_says_so(connect: Any) -> None:
    async def ending(connection: Raw) -> None:
        await connection.head()
        connection.send(OK + b"\r\nabc")
        await connection.writer.drain()

    async def resetting(connection: Raw) -> None:
        await connection.head()
        connection.send(OK + b"\r\nabc")
        await CLOCK.sleep(0.05)
        connection.reset()

    async with scripted(ending, resetting) as (where, _):
        client = connect()
        answer = await client.request(b"GET", where, b"/")
        assert await answer.read() == b"abc"
        assert answer.delimited == "close"
        with pytest.raises(Truncated):
            await (await client.request(b"GET", where, b"/")).read()


async def test_an_answer_over_the_limit_is_not_collected(serve: Serve, connect: Any) -> None:
    server = await serve(lambda request: Response(200, [], b"a" * 2000))
    client = connect(max_body=1000)
    answer = await client.request(b"GET", origin(server), b"/")
    with pytest.raises(BadAnswer, match="longer than 1000"):
        await answer.read()
    async with await client.request(b"GET", origin(server), b"/") as answer:
        assert len(b"".join([piece async for piece in answer])) == 2000


# Clocks


async def test_three_clocks(connect: Any) -> None:
    async def stalling(connection: Raw) -> None:
        head = await connection.head()
        if b"/head" not in head:
            connection.send(OK + b"Content-Length: 9\r\n\r\na")
            for _ in range(7 if b"/drip" in head else 0):
                await CLOCK.sleep(0.05)
                await connection.push(b"a")
        await CLOCK.sleep(30)

    async with scripted(stalling) as (where, _):
        client = connect()
        begun = CLOCK.monotonic()
        with pytest.raises(TimedOut, match="did not begin within") as head:
            await client.request(b"GET", where, b"/head", first_byte=0.1)
        with pytest.raises(TimedOut, match="paused for longer than") as gap:
            await (await client.request(b"GET", where, b"/body", first_byte=5, idle=0.1)).read()
        answer = await client.request(b"GET", where, b"/drip", timeout=0.2, idle=5)
        with pytest.raises(TimedOut, match="deadline") as deadline:
            await answer.read()
        assert [caught.value.clock for caught in (head, gap, deadline)] == ["first byte", "idle", "deadline"]
        answer = await client.request(b"GET", where, b"/drip", idle=0.2)
        with pytest.raises(TimedOut):
            await answer.read()
        assert answer.received == 8  # each pause was shorter than the clock, all together were not
        assert CLOCK.monotonic() - begun < 3
        await CLOCK.sleep(0.05)  # a transport tells its protocol in the loop's next turn
        assert client.connections()[str(where)][0] == 0


async def test_a_reader_that_takes_its_time_is_not_the_servers_fault(serve: Serve, connect: Any) -> None:
    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"a" * 65536

        return Response(200, [], body())

    client = connect(max_buffer=65536)
    answer = await client.request(b"GET", origin(await serve(handler)), b"/", idle=0.15)
    size = 0
    async for piece in answer:
        if size == 0:
            await CLOCK.sleep(0.4)
        size += len(piece)
    assert size == 6_553_600


async def test_connecting_has_a_clock(connect: Any) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        where = Origin("http", "127.0.0.1", full.getsockname()[1])
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", where.port))
        try:
            with pytest.raises(TimedOut) as caught:
                await connect(connect_timeout=0.2).request(b"GET", where, b"/")
            assert caught.value.clock == "connect"
            assert not caught.value.sent
        finally:
            for one in crowd:
                one.close()
    with pytest.raises(Unreachable) as refused:
        await connect().request(b"GET", where, b"/")
    assert not refused.value.sent


# Cancelling


@pytest.mark.parametrize("path", [b"/head", b"/body"])
async def test_cancelling_closes_the_connection_at_once(connect: Any, path: bytes) -> None:
    noticed = asyncio.Event()

    async def stalling(connection: Raw) -> None:
        if b"/body" in await connection.head():
            connection.send(OK + b"Content-Length: 9\r\n\r\na")
        await connection.closed()
        noticed.set()

    async with scripted(stalling) as (where, _):
        client = connect()

        async def ask() -> bytes:
            return await (await client.request(b"GET", where, path)).read()

        task = asyncio.create_task(ask())
        await CLOCK.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(0.1):
            await noticed.wait()
        assert client.connections()[str(where)][0] == 0


async def test_leaving_an_answer_early_closes_its_connection(serve: Serve, connect: Any) -> None:
    closed = asyncio.Event()

    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"tick"
                    await CLOCK.sleep(0.01)
            finally:
                closed.set()

        return Response(200, [], body())

    client = connect()
    async with await client.request(b"GET", origin(await serve(handler)), b"/") as answer:
        await anext(answer)
    async with asyncio.timeout(0.5):
        await closed.wait()
