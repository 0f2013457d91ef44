"""What a hostile or broken client can do to a connection."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.ports import MemoryPorts

sys.path.insert(0, str(Path(__file__).parent))
from served import serving

LIMITS = {"max_headers": 4096, "max_url": 2048, "max_body": 100_000, "header_timeout": 0.3, "body_timeout": 0.3}


@pytest.fixture
def ports() -> MemoryPorts:
    return MemoryPorts()


@pytest.fixture
def address(ports: MemoryPorts) -> Iterator[tuple[str, int]]:
    with serving(ports, keep_alive=1, **LIMITS) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def talk(address: tuple[str, int], *parts: bytes) -> bytes:
    """Everything that comes back until the server closes or is silent for two seconds."""
    with socket.create_connection(address, timeout=2) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionError):
            pass
        return answer


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
POST = b"POST /push/items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([HEAD, b"\r\n"], 200),
        ([HEAD, b"X: " + b"x" * 10_000 + b"\r\n\r\n"], 431),
        ([HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n"], 431),
        ([b"GET /healthz?" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"], 414),
        ([b"GET /healthz?" + b"x" * 2100 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"], 414),
        ([b"NONSENSE\r\n\r\n"], 400),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01"], 400),
        ([b"GET /heal"], 408),
        ([HEAD], 408),
        ([b"GET /healthz HTTP/1.1\r\n\r\n"], 400),
        ([b"GET /healthz HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"], 421),
        ([POST + b"Content-Length: 10\r\n\r\n{"], 408),
        ([POST + b"Content-Length: 1000000\r\nConnection: close\r\n\r\n", b"x" * 50_000], 413),
        ([POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n", b"30d40\r\n", b" " * 150_000], 413),
        ([POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 400),
    ],
)
def test_each_is_answered_and_ended(address: tuple[str, int], parts: list[bytes], status: int) -> None:
    answer = talk(address, *parts)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    if status != 200:
        assert b"application/problem+json" in answer
        assert b"Traceback" not in answer


def test_a_connection_that_says_nothing_is_closed(address: tuple[str, int]) -> None:
    assert talk(address) == b""


def test_a_body_nobody_wants_is_not_read_for_ever(address: tuple[str, int]) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    sent = 0
    with socket.create_connection(address, timeout=2) as connection:
        connection.sendall(head)
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                connection.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
                sent += 10_000
    assert sent < 20_000_000


def test_pipelined_requests_are_answered_in_order(address: tuple[str, int]) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = talk(address, first + first + HEAD + b"\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 3


def test_an_upgrade_to_websockets_is_only_a_request(address: tuple[str, int]) -> None:
    upgrade = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    assert talk(address, upgrade).startswith(b"HTTP/1.1 ")
