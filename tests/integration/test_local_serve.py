"""A local model behind a served endpoint: its worker dies, the server is killed, the app file changes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from running import CLOCK, Running, eventually

APP = """
import os
import time

from pydantic import BaseModel

import headrace as hr

app = hr.App("shop")


class Order(hr.Record):
    order_id: str
    amount: float


app.table(Order, key="order_id")
app.view("orders_of", "SELECT amount FROM orders WHERE order_id = :order_id")


def load():
    def predict(batch):
        time.sleep(0.01)
        return [{"risk": value["amount"] / 100, "pid": os.getpid()} for value in batch]

    return predict


app.model("score", hr.models.Local(load, budget="1s"))
app.model("spare", hr.models.Local(load, max_batch=1))


class Ask(BaseModel):
    order_id: str


class Risk(BaseModel):
    risk: float
    pid: int


@app.endpoint("/risk", deadline="30s")
async def risk(ask: Ask, ctx: hr.Context) -> Risk:
    found = await ctx.orders_of(order_id=ask.order_id)
    return Risk.model_validate(await ctx.score.json({"amount": found.rows[0]["amount"]}))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Running] = []

    def make(*, text: str = APP, **options: Any) -> Running:
        started.append(
            Running(tmp_path, workers=1, text=text, composition="headrace.composition:composition", **options)
        )
        return started[-1]

    yield make
    for one in started:
        one.close()


@contextmanager
def client(server: Running) -> Iterator[httpx.Client]:
    """A client, of a server that has an order."""
    with httpx.Client(base_url=server.url(), timeout=30, trust_env=False) as http:
        http.post("/push/orders", json={"order_id": "o1", "amount": 40.0}).raise_for_status()
        yield http


def ask(http: httpx.Client) -> dict[str, Any]:
    """One answer."""
    answer = http.post("/risk", json={"order_id": "o1"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ended(*pids: int) -> None:
    """None of them runs."""
    assert not any(map(alive, pids))


def parent(pid: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_requests_outlive_the_worker_of_a_local_model(start: Any) -> None:
    with client(start()) as http, ThreadPoolExecutor(8) as pool:
        first = ask(http)
        assert first["risk"] == 0.4
        answers = [pool.submit(ask, http) for _ in range(100)]
        answers[10].result()
        os.kill(first["pid"], signal.SIGKILL)
        pids = {answer.result()["pid"] for answer in answers}  # none failed: what the worker had is tried again
        assert ask(http)["pid"] not in {first["pid"]}
        assert len(pids) == 2
        metrics = http.get("/metrics").text.splitlines()
        series = [line.rpartition(" ")[0] for line in metrics if not line.startswith("#")]
        assert len(series) == len(set(series))  # two models may load the same
        assert 'headrace_local_deaths_total{model="score",upstream="app:load"} 1' in metrics
        assert 'headrace_local_answered_total{model="score",upstream="app:load"} 102' in metrics
        assert 'headrace_local_workers{model="score",upstream="app:load"} 1' in metrics


@pytest.mark.parametrize("who", ["server", "process"])
def test_no_worker_is_left_when_a_server_is_killed(start: Any, who: str) -> None:
    server = start()
    with client(server) as http:
        pid = ask(http)["pid"]
    process = parent(pid)
    os.kill(server.process.pid if who == "server" else process, signal.SIGKILL)
    eventually(lambda: ended(pid, process), seconds=5)


def test_a_changed_app_has_a_new_worker_and_no_old_one(start: Any) -> None:
    server = start(reload=True)
    with client(server) as http:
        pid = ask(http)["pid"]
        server.app.write_text(APP.replace("/ 100", "/ 10"))

        def changed() -> None:
            assert ask(http)["risk"] == 4.0

        eventually(changed)
        eventually(lambda: ended(pid), seconds=5)


def test_a_server_whose_model_is_still_loading_says_so_and_stops_at_once(start: Any) -> None:
    server = start(text=APP.replace("def load():", "def load():\n    time.sleep(120)\n"))
    log = server.process.stderr
    assert any("loading the model app:load ..." in line for line in log)
    began = CLOCK.monotonic()
    server.process.send_signal(signal.SIGINT)
    rest = log.read()
    assert server.process.wait(20) == 0
    assert CLOCK.monotonic() - began < 4
    assert "killed" not in rest
    assert "Traceback" not in rest
