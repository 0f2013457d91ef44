"""What is written together within a turn of the loop."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from headrace.http1.limits import ServerLimits
from headrace.http1.outbox import Outbox
from headrace.http1.request import Request
from headrace.http1.response import Response
from headrace.http1.server import Server

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import Wire

from headrace.http1.connection import Connection

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


async def turn() -> None:
    """Let what is due in this turn of the loop run."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done


async def turns() -> None:
    for _ in range(5):
        await turn()


async def test_it_goes_out_at_the_end_of_the_turn_in_order_for_each() -> None:
    outbox, one, two = Outbox(asyncio.get_running_loop()), Wire(), Wire()
    for number in range(3):
        outbox.put(one, b"a%d" % number)
        outbox.put(two, b"b%d" % number)
    assert (one.written, two.written) == (b"", b"")
    await turn()
    assert (one.written, two.written) == (b"a0a1a2", b"b0b1b2")
    outbox.put(one, b"c")
    await turn()
    assert one.written == b"a0a1a2c"


async def test_many_do_not_wait_for_the_end_of_the_turn() -> None:
    outbox, wire = Outbox(asyncio.get_running_loop()), Wire()
    for number in range(40):
        outbox.put(wire, b"%d " % number)
    assert wire.written == b"".join(b"%d " % number for number in range(32))
    outbox.flush()
    assert wire.written == b"".join(b"%d " % number for number in range(40))
    await turn()
    assert wire.written.count(b" ") == 40


async def test_what_is_for_a_connection_that_is_closed_is_dropped_and_nothing_else() -> None:
    outbox, one, two = Outbox(asyncio.get_running_loop()), Wire(), Wire()
    outbox.put(one, b"a")
    outbox.put(two, b"b")
    one.close()
    await turn()
    assert (one.written, two.written) == (b"", b"b")


def connected(wire: Wire) -> Connection:
    """A connection of a server that answers with the path."""

    def handler(request: Request) -> Response:
        return Response(200, (), request.path)

    server = Server(handler, ServerLimits())
    connection = Connection(server, asyncio.get_running_loop())
    connection.connection_made(wire)
    return connection


async def test_answers_stay_in_order_with_what_is_written_at_once() -> None:
    wire = Wire()
    connection = connected(wire)
    connection.data_received(GET % 1 + GET % 2 + b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await turns()
    found = [wire.written.index(b"\r\n\r\n/%d" % number) for number in (1, 2, 3)]
    assert found == sorted(found)
    assert wire.closed


async def test_a_refusal_does_not_overtake_the_answer_before_it() -> None:
    wire = Wire()
    connected(wire).data_received(GET % 1 + b"nonsense\r\n\r\n")
    await turns()
    assert wire.written.index(b"200 OK") < wire.written.index(b"400 Bad Request")


async def test_the_end_of_a_client_and_of_the_server_lose_no_answer() -> None:
    for end in (lambda connection: connection.eof_received(), lambda connection: connection.drain()):
        wire = Wire()
        connection = connected(wire)
        connection.data_received(GET % 1)
        assert wire.written == b""
        end(connection)
        await turns()
        assert wire.written.endswith(b"/1")
