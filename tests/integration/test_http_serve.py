"""A declared app behind the whole server: engine, workers, store, and what survives their ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headrace.client import connect_sync
from headrace.core.errors import BadParameter, IdempotencyConflict, Rejected, StaleContext, Unavailable
from headrace.core.frontier import Status

sys.path.insert(0, str(Path(__file__).parent))
from running import Running, eventually

APP = """
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    shelf: int
    price: float = hr.Field(gt=0)
    stock: int = hr.Field(ge=0, on_violation="reject")


items = app.table(Item, key="item_id", index=["shelf"], freshness="1h")
on_shelf = app.view(
    "on_shelf", "SELECT item_id, price FROM items WHERE shelf = :shelf ORDER BY item_id", description="A shelf."
)
"""
ITEM = {"item_id": "i1", "shelf": 7, "price": 2.5, "stock": 3}


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    started: list[Running] = []

    def make(workers: int = 2) -> Running:
        started.append(Running(tmp_path, workers=workers, text=APP, composition="headrace.composition:composition"))
        return started[-1]

    yield make
    for one in started:
        one.close()


def engine_of(server: Running) -> int:
    """The process that holds the socket of the engine."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return int(children[0])


def test_what_was_answered_survives_kill_9_of_everything(start) -> None:
    server = start()
    with connect_sync(server.url()) as live:
        first = live.push("items", ITEM, idempotency_key="k1")
        assert (first.accepted, first.replayed) == (1, False)
        assert live.push("items", [ITEM | {"item_id": "i2"}, {"item_id": "bad", "stock": 1}]).quarantined == 1
    os.kill(server.process.pid, signal.SIGSTOP)
    family = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    for pid in [*family, str(server.process.pid)]:
        os.kill(int(pid), signal.SIGKILL)
    server.close()

    again = start()
    url = again.url()
    with connect_sync(url) as live:
        assert [row["item_id"] for row in live.on_shelf(shelf=7)] == ["i1", "i2"]
        repeated = live.push("items", ITEM, idempotency_key="k1")
        assert (repeated.txn, repeated.replayed) == (first.txn, True)
        with pytest.raises(IdempotencyConflict):
            live.push("items", ITEM | {"price": 3}, idempotency_key="k1")
    assert len(httpx.get(url + "/quarantine").json()["records"]) == 1
    assert again.stop() == 0


def test_reads_go_on_and_pushes_are_told_to_come_back_while_the_engine_restarts(start) -> None:
    server = start()
    with connect_sync(server.url()) as live:
        live.push("items", ITEM)
        os.kill(engine_of(server), signal.SIGKILL)
        assert live.on_shelf(shelf=7).first == {"item_id": "i1", "price": 2.5}

        def push() -> None:
            try:
                live.push("items", ITEM | {"item_id": "i2"}, idempotency_key="k")
            except Unavailable as error:
                raise AssertionError(error.hint) from error

        eventually(push)
        eventually(lambda: _is(len(live.on_shelf(shelf=7)), 2))
    assert server.stop() == 0


def test_many_pushing_while_the_server_stops_lose_nothing_that_was_answered(start) -> None:
    server = start()
    url = server.url()
    answered: list[str] = []
    stopping = threading.Event()

    def push(worker: int) -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            for number in range(10_000):
                key = f"{worker}-{number}"
                try:
                    answer = client.post("/push/items", json=ITEM | {"item_id": key})
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    answered.append(key)
                if len(answered) > 100:
                    stopping.set()

    threads = [threading.Thread(target=push, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    assert stopping.wait(20)
    assert server.stop() == 0
    for thread in threads:
        thread.join(20)
    again = start(workers=1)
    with connect_sync(again.url()) as live:
        found = live.get_many("items", answered[:500])
        assert len(found) == len(answered[:500])
    assert again.stop() == 0


def test_the_answers_and_errors_of_a_real_store(start) -> None:
    server = start(workers=1)
    url = server.url()
    with connect_sync(url, readsets=True) as live:
        live.push("items", ITEM)
        seen = live.on_shelf(shelf=7)
        assert seen.status is Status.FRESH
        assert seen.inputs["items"].state == "running"
        assert live.validate(seen)
        live.push("items", ITEM | {"price": 9.0})
        assert not live.validate(seen)
        assert live.get("items", "i1").first["price"] == 9.0
        assert live.get("items", "none").rows == []
        with pytest.raises(BadParameter):
            live.on_shelf(shelf="seven")
        with pytest.raises(Rejected):
            live.push("items", ITEM | {"stock": -1})
        with pytest.raises(StaleContext):
            live.on_shelf(shelf=7, _policy="refuse", _max_age="1us")
        assert live.push("items", {"op": "delete", "key": "i1"}).accepted == 1
        assert len(live.on_shelf(shelf=7)) == 0
    with httpx.Client(base_url=url) as client:
        nonsense = client.post("/push/items", content=b"nonsense", headers={"content-type": "application/json"})
        assert nonsense.status_code == 400
        client.post("/push/items", json={"item_id": "x", "shelf": 1, "price": -1, "stock": 1})
        (record,) = client.get("/quarantine?table=items").json()["records"]
        assert record["rule"] == "gt"
        assert "-1" in client.get(f"/quarantine/{record['id']}").json()["raw"]
        assert client.post("/quarantine/replay", json={"table": "items"}).json()["still_quarantined"] == 1
        assert client.post("/quarantine/drop", json={"all": True}).json() == {"dropped": 1}
        assert 'headrace_records_quarantined_total{table="items"} 1' in client.get("/metrics").text
    assert server.stop() == 0


def _is(one: object, other: object) -> None:
    assert one == other
