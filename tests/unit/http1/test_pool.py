"""What happens to connections that are handed on in the very turn in which something else happens to them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from headrace.core.errors import Interrupted
from headrace.http1.answer import Answer
from headrace.http1.client import Client
from headrace.http1.limits import ClientLimits
from headrace.http1.link import Link
from headrace.http1.origin import Origin
from headrace.http1.outbox import Outbox
from headrace.http1.pool import Pool

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import Wire

INF = float("inf")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Dialled(Pool):
    """A pool whose connections have no network."""

    made: list[Link]

    async def _dial(self, deadline: float) -> Link:
        link = Link(self._loop, self._limits, released=self._released, lost=self._lost)
        link.connection_made(Wire())
        self.made.append(link)
        return link


def pool(most: int) -> Dialled:
    made = Dialled(Origin("http", "a", 1), ClientLimits(max_connections=most), asyncio.get_running_loop(), None)
    made.made = []
    return made


async def turns() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done


async def test_a_connection_that_ends_while_it_is_handed_on_is_given_to_nobody() -> None:
    one = pool(1)
    link = await one.acquire(INF)
    first, second = (asyncio.ensure_future(one.acquire(INF)) for _ in range(2))
    await turns()
    asked = link.head(b"", False, True, INF, INF, INF)
    link.data_received(OK)  # it is free, and handed to the first
    first.cancel()
    link.abort()
    link.connection_lost(None)
    assert (await asked).status == 200
    await turns()
    assert second.result() is one.made[1]
    assert (one.open, one.waiting, first.cancelled()) == (1, 0, True)


async def test_a_request_on_a_connection_that_has_ended_is_told_so() -> None:
    one = pool(1)
    link = await one.acquire(INF)
    link.connection_lost(None)
    with pytest.raises(Interrupted) as caught:
        await link.head(b"", False, True, INF, INF, INF)
    assert (caught.value.sent, caught.value.received) == (False, 0)


@pytest.mark.parametrize("whole", [True, False])
async def test_who_is_cancelled_when_its_answer_is_there_does_not_end_the_request_of_another(whole: bool) -> None:
    client, origin = Client(), Origin("http", "a", 1)
    one = client._pools[origin] = pool(4)
    one._outbox = client._outbox = Outbox(asyncio.get_running_loop())
    asking = asyncio.ensure_future(client.request(b"GET", origin, b"/"))
    await turns()
    [link] = one.made
    others: list[object] = []
    link.data_received(OK if whole else OK[:-1])
    other = client.post(origin, b"/", (), b"", others.append, None)
    assert (other is link) is whole
    asking.cancel()
    await turns()
    assert asking.cancelled()
    assert link.usable is whole  # where a part is missing, the other side is told to stop
    if whole:
        link.data_received(OK)
        [answer] = others
        assert isinstance(answer, Answer)
        assert answer.take() == b"ok"
    for each in one.made:
        each.connection_lost(None)
    await client.aclose()
