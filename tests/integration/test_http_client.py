from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.client import connect, connect_sync
from headrace.core.clock import SimulatedClock
from headrace.core.errors import (
    BadInput,
    BadParameter,
    HeadraceError,
    IdempotencyConflict,
    PushError,
    Rejected,
    StaleContext,
    Unavailable,
    UnknownName,
)
from headrace.core.frontier import Status
from headrace.core.records import Record
from headrace.testing.ports import MemoryPorts

sys.path.insert(0, str(Path(__file__).parent))
from served import serving

ITEM = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}


class Item(Record):
    item_id: str
    restaurant_id: str
    price: float
    stock: int


@pytest.fixture
def ports() -> MemoryPorts:
    ports = MemoryPorts(clock=SimulatedClock())
    ports.rows["items"] = {("i1",): ITEM, ("a/b c,ü",): ITEM | {"item_id": "a/b c,ü"}}
    ports.rows["stock"] = {("s 1", "i,1"): {"shop": "s 1", "item": "i,1", "count": 3}}
    return ports


@pytest.fixture
def url(ports: MemoryPorts) -> Iterator[str]:
    with serving(ports) as url:
        yield url


async def test_an_answer_is_the_one_the_server_gave(url: str, ports: MemoryPorts) -> None:
    ports.frontier = ports.clock.now() - 1_234_567
    expected = await ports.read("menu", {"restaurant_id": "r7"})
    async with connect(url) as live:
        answer = await live.menu(restaurant_id="r7")
    assert answer.to_dict() == expected.to_dict()
    assert (answer.now, answer.as_of, answer.changed) == (expected.now, expected.as_of, expected.changed)
    assert answer.first == ITEM
    assert len(answer) == 2
    assert answer.status is Status.FRESH


async def test_the_face_of_a_live_app(url: str) -> None:
    async with connect(url, readsets=True) as live:
        assert (await live.get("items", "a/b c,ü")).first["item_id"] == "a/b c,ü"
        assert (await live.get("stock", ("s 1", "i,1"))).first["count"] == 3
        assert (await live.get("stock", ("s 1", "i,2"))).rows == []
        absent = await live.get("items", "i9")
        assert (absent.rows, absent.status) == ([], Status.FRESH)
        assert len((await live.get_many("items", ["i1", "i9"])).rows) == 1
        assert len((await live.menu(restaurant_id="r7", most=None)).rows) == 2
        assert [v.name for v in await live.read_many([("menu", {"restaurant_id": "r7"})] * 2)] == ["menu", "menu"]
        assert "items" in (await live.freshness())["tables"]
        seen = await live.menu(restaurant_id="r7")
        assert await live.validate(seen)
        receipt = await live.push("items", [Item(**ITEM), ITEM | {"item_id": "i2"}], idempotency_key="k")
        assert receipt.accepted == 2
        assert (await live.validate(seen)).changed[0][0] == "menu"
        assert (await live.push("items", Item(**ITEM))).accepted == 1


async def test_errors_are_what_they_were(url: str, ports: MemoryPorts) -> None:
    async with connect(url) as live:
        with pytest.raises(UnknownName, match="menus") as unknown:
            await live.menus(restaurant_id="r7")
        assert "did you mean 'menu'" in unknown.value.hint
        with pytest.raises(BadParameter):
            await live.menu()
        with pytest.raises(BadParameter, match=r"the key of 'items' is \(item_id\)"):
            await live.get("items", ("a", "b"))
        await live.push("items", ITEM, idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            await live.push("items", [ITEM, ITEM], idempotency_key="k")
        ports.frontier = ports.clock.now() - 60_000_000
        with pytest.raises(StaleContext) as stale:
            await live.menu(restaurant_id="r7", _policy="refuse")
        assert stale.value.answer["status"] == "stale"
        fine = await live.menu(restaurant_id="r7", _policy="refuse", _max_age=timedelta(minutes=2))
        assert fine.status is Status.FRESH
        ports.failure = Rejected("no", violations=[{"rule": "gt"}])
        with pytest.raises(Rejected) as rejected:
            await live.push("items", ITEM)
        assert rejected.value.violations == [{"rule": "gt"}]
        with pytest.raises(HeadraceError, match="without its read set"):
            await live.validate()


@pytest.mark.parametrize("user", ["josé", "a\nb", 5, " ann", "ann ", "\tann", " "])
async def test_who_asks_is_what_a_header_can_carry(url: str, user: Any) -> None:
    async with connect(url) as live:
        with pytest.raises(BadInput, match=re.escape(f"user={user!r}")) as refused:
            await live.ask("/a", {}, user=user)
        assert refused.value.status == 400
        with pytest.raises(BadInput, match="x-kind="):
            live.stream("/a", {}, headers={"x-kind": user})


async def test_a_key_is_sent(ports: MemoryPorts) -> None:
    with serving(ports, api_keys=("one-key-that-is-long", "another-long-key")) as url:
        async with connect(url, api_key="another-long-key") as live:
            assert len(await live.menu(restaurant_id="r7")) == 2
        async with connect(url) as live:
            with pytest.raises(HeadraceError, match="no known API key"):
                await live.menu(restaurant_id="r7")


@pytest.mark.parametrize("key", ["clé-secrète", "secret\n", " secret", 7])
async def test_a_key_that_cannot_be_sent_is_told_and_not_shown(key: Any) -> None:
    with pytest.raises(HeadraceError, match="api_key= ") as raised:
        connect("http://127.0.0.1:9", api_key=key)
    assert "secr" not in str(raised.value)


@pytest.mark.parametrize("url", ["127.0.0.1:9", "localhost:9", "", "http://[x", "http://127.0.0.1:999999", None])
async def test_what_is_no_address_is_told(url: Any) -> None:
    with pytest.raises(HeadraceError, match="is not the address of a server"):
        connect(url)


@pytest.mark.parametrize("name", ["bad name", "é", "", "x:y"])
async def test_headers_have_names_that_can_be_sent(url: str, name: str) -> None:
    async with connect(url) as live:
        with pytest.raises(BadInput, match="is not the name of a header"):
            await live.ask("/x", {}, headers={name: "x"})


async def test_an_idempotency_key_is_what_a_header_can_carry(url: str) -> None:
    async with connect(url) as live:
        with pytest.raises(PushError, match="idempotency_key='é' cannot be sent"):
            await live.push("items", [{}], idempotency_key="é")


async def test_nobody_there() -> None:
    async with connect("http://127.0.0.1:9") as live:
        with pytest.raises(Unavailable, match="no Headrace answers"):
            await live.menu(restaurant_id="r7")
    with pytest.raises(HeadraceError, match="not connected"):
        await live.menu(restaurant_id="r7")


def test_the_synchronous_face(url: str) -> None:
    with connect_sync(url) as live:
        assert live.menu(restaurant_id="r7").first == ITEM
        assert live.push("items", ITEM).accepted == 1
        with pytest.raises(UnknownName):
            live.menus()
