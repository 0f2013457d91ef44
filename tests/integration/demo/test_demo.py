"""The demo with the real app: engine, store, contract, views, HTTP pushes on the loopback."""

import asyncio
import io
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from headrace.core.clock import SystemClock
from headrace.core.errors import HeadraceError
from headrace.demo.app import ORDER_STATUS, RECOMMEND
from headrace.demo.city import City
from headrace.demo.clock import CityClock
from headrace.demo.model import ModelChoice
from headrace.demo.plan import CityPlan
from headrace.demo.postgres import TemporaryPostgres
from headrace.demo.reading import Service
from headrace.demo.run import run_demo
from headrace.demo.service import open_service
from headrace.demo.twin import Twin
from headrace.demo.wire import records
from headrace.testing import Mock, mock_llm

PLAN = CityPlan(restaurants=12, dishes=8, couriers=60, warm_up=30)
PROBES = 10
"""Rows whose way to the reader a run of 4 s watches at least. A push is watched now and then, and a busy machine pushes
less often: ninety are watched on one at rest, twenty beside four busy processes for each core."""
SAYS_YES_FIRST = 16
"""A seed of the mock that fails 8 of 10 requests, and not the first, which is the demo's greeting."""


def test_a_short_run_follows_the_city(tmp_path: Path):
    path = tmp_path / "figures.json"
    run_demo(4.0, path, seed=3, batch="2m", plan=PLAN, console=Console(file=io.StringIO(), width=100))
    figures = json.loads(path.read_text())
    batch, live = figures["batch"], figures["live"]
    # Of the city's time, not of the machine's; at this speed a minute is a second.
    assert figures["events"]["total"] > 300 * figures["city_minutes"]
    assert min(figures["events"]["by_table"][table] for table in ("items", "orders", "couriers", "sales")) > 0
    assert figures["freshness_ms"]["unseen"] == 0
    assert figures["freshness_ms"]["count"] > PROBES
    assert live["wrong_answers"]["of"] == batch["wrong_answers"]["of"] > 10
    assert live["wrong_answers"]["count"] < batch["wrong_answers"]["count"]
    assert live["courier_position_error_m"]["p50"] < batch["courier_position_error_m"]["p50"]
    assert live["age_city_seconds"]["unknown"] == 0
    assert live["age_city_seconds"]["p50"] < batch["age_city_seconds"]["p50"]


def test_both_sides_ask_the_model_and_the_figures_say_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "figures.json"
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with mock_llm(api_key="secret") as mock:
        run = {"seed": 3, "batch": "2m", "speed": 60.0, "plan": PLAN, "openai_url": mock.base_url}
        run_demo(4.0, path, openai_model="small", console=Console(file=io.StringIO(), width=100), **run)
        stats, models = mock.stats(), {request["model"] for request in mock.requests()}
    figures = json.loads(path.read_text())
    live, batch = figures["live"]["answers"], figures["batch"]["answers"]
    assert figures["model"] == f"small at {mock.base_url}"
    assert models == {"small"}
    assert (figures["unanswered"], live["without_model"], batch["without_model"]) == (0, 0, 0)
    assert live["answer_ms"]["count"] >= figures["live"]["wrong_answers"]["of"] > 10
    # One call for each answer of each side, more where an order went on meanwhile, and the greeting.
    calls = live["answer_ms"]["count"] + batch["answer_ms"]["count"] + 1
    assert stats["answered"] >= calls
    assert stats["refused"] == stats["failed"] == 0
    assert 0 < live["model_ms"]["p50"] < live["answer_ms"]["p50"]
    # A copy cannot tell that anything changed.
    assert (batch["corrected"], batch["flagged"]) == (0, 0)


def test_without_a_model_the_fallbacks_answer_and_one_that_is_not_there_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    quiet, path = Console(file=io.StringIO(), width=100), tmp_path / "figures.json"
    with pytest.raises(HeadraceError, match="gives no answer"):
        run_demo(60.0, openai_url="http://127.0.0.1:9/v1", console=quiet, plan=PLAN)
    with pytest.raises(HeadraceError, match="no server was named"):
        run_demo(60.0, openai_model="small", console=quiet, plan=PLAN)
    with mock_llm(api_key="secret") as mock, pytest.raises(HeadraceError, match="401"):
        run_demo(60.0, openai_url=mock.base_url, console=quiet, plan=PLAN)
    with mock_llm(failures={"500": 0.8}, seed=SAYS_YES_FIRST) as mock:
        run_demo(4.0, path, seed=3, speed=60.0, openai_url=mock.base_url, console=quiet, plan=PLAN)
    figures = json.loads(path.read_text())
    live, batch = figures["live"], figures["batch"]
    assert live["answers"]["without_model"] > 5
    assert batch["answers"]["without_model"] > 5
    assert figures["unanswered"] == 0
    assert live["wrong_answers"]["count"] < batch["wrong_answers"]["count"]


async def test_a_row_that_changes_between_the_read_and_the_answer_is_noticed(tmp_path: Path):
    city = City(PLAN, random.Random(3))
    clock = CityClock(city.now, 60.0)
    twin = Twin({"recommend": RECOMMEND, "order_status": ORDER_STATUS}, clock.now)
    twin.reload(city.tables, city.now)
    with mock_llm(first_token="500ms") as mock:
        choice = ModelChoice(mock.base_url, "small")
        async with open_service(tmp_path, clock, city, twin, choice) as live:
            for table in ("items", "orders", "couriers"):
                await live.push(table, records(table, list(city.tables[table].values())))
            items = list(city.tables["items"].values())
            await until_readable(live, "items", items[-1]["item_id"])
            zone = city.tables["restaurants"][items[0]["restaurant_id"]]["zone"]
            first, *others = (await live.ask("/recommend", {"zone": zone})).value["dishes"]

            # It sells out while the model is at it: the answer is put right, and the model is not asked again.
            before = mock.stats()["requests"]
            asking = asyncio.create_task(live.ask("/recommend", {"zone": zone}))
            await until_asked(mock, before + 1)
            gone = city.tables["items"][first["item_id"]] | {"stock": 0, "changed_at": city.now + 1}
            await live.push("items", records("items", [gone]))
            answer = await asking
            assert (answer.retries, answer.stale, answer.fallback) == (1, "unchanged", None)
            assert answer.value["dishes"][: len(others)] == others
            assert first not in answer.value["dishes"]
            assert mock.stats()["requests"] == before + 1
            assert answer.stages["model"] >= 0.5

            # A portion less is no other answer.
            other = city.tables["items"][others[0]["item_id"]]
            asking = asyncio.create_task(live.ask("/recommend", {"zone": zone}))
            await until_asked(mock, before + 2)
            less = other | {"stock": other["stock"] + 1, "changed_at": city.now + 2}
            await live.push("items", records("items", [less]))
            assert (await asking).retries == 0

            # A courier who moved on by a few meters is where it was; an order that was delivered meanwhile is not.
            riding = next(o for o in city.tables["orders"].values() if o["state"] == "picked_up")
            courier = city.tables["couriers"][riding["courier_id"]]
            asking = asyncio.create_task(live.ask("/where-is-my-order", {"order_id": riding["order_id"]}))
            await until_asked(mock, before + 3)
            moved = courier | {"x": courier["x"] + 9.0, "seen_at": city.now + 3}
            await live.push("couriers", records("couriers", [moved]))
            assert (await asking).retries == 0
            asking = asyncio.create_task(live.ask("/where-is-my-order", {"order_id": riding["order_id"]}))
            await until_asked(mock, before + 4)
            await live.push("orders", records("orders", [riding | {"state": "delivered", "changed_at": city.now + 4}]))
            answer = await asking
            assert (answer.retries, answer.value["state"], answer.value["courier"]) == (1, "delivered", None)
            assert answer.stages["model"] >= 1.0  # it was asked twice, half a second each

            # The batch side says what it was told, and is asked for nothing twice.
            copied = await live.copy.ask("/where-is-my-order", {"order_id": riding["order_id"]})
            assert (copied.retries, copied.stale, copied.value["state"]) == (0, "unchecked", "picked_up")


async def until_readable(live: Service, table: str, key: str) -> None:
    async with asyncio.timeout(20):
        while not (await live.get(table, key)).rows:
            await SystemClock().sleep(0.01)


async def until_asked(mock: Mock, requests: int) -> None:
    """Until the mock, which is in another thread, has that many requests: what was read was read before."""
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(mock.stats))["requests"] < requests:
            await SystemClock().sleep(0.01)


def test_the_city_can_write_into_a_database_that_the_app_follows(tmp_path: Path):
    path = tmp_path / "figures.json"
    with TemporaryPostgres() as server:
        run = {"seed": 3, "batch": "2m", "plan": PLAN, "dsn": server.dsn}
        run_demo(4.0, path, console=Console(file=io.StringIO(), width=100), **run)
        figures = json.loads(path.read_text())
        with psycopg.connect(server.dsn) as database:
            left = "SELECT count(*) FROM pg_replication_slots UNION ALL SELECT count(*) FROM pg_publication"
            assert database.execute(left).fetchall() == [(0,), (0,)]
            assert database.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'headrace_demo'").fetchall() == []
    batch, live = figures["batch"], figures["live"]
    assert figures["fed_by"] == "postgres"
    assert figures["freshness_ms"]["unseen"] == 0
    assert figures["freshness_ms"]["count"] > PROBES
    assert live["wrong_answers"]["of"] == batch["wrong_answers"]["of"] > 10
    assert live["wrong_answers"]["count"] < batch["wrong_answers"]["count"]
    assert live["age_city_seconds"]["unknown"] == 0


def test_somebody_elses_schema_and_a_server_that_cannot_be_followed_are_refused(tmp_path: Path):
    quiet = Console(file=io.StringIO())
    with TemporaryPostgres() as server:
        with psycopg.connect(server.dsn) as database:
            database.execute("CREATE SCHEMA headrace_demo")
        with pytest.raises(HeadraceError, match="not the demo's"):
            run_demo(1.0, dsn=server.dsn, console=quiet, plan=PLAN)
        with psycopg.connect(server.dsn) as database:
            assert database.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'headrace_demo'").fetchall() == [(1,)]
    with TemporaryPostgres({"wal_level": "replica"}) as server, pytest.raises(HeadraceError, match="wal_level"):
        run_demo(1.0, dsn=server.dsn, console=quiet, plan=PLAN)
    with pytest.raises(HeadraceError, match="cannot be reached"):
        run_demo(1.0, dsn="postgresql://127.0.0.1:1/none", console=quiet, plan=PLAN)


def test_nothing_of_the_city_is_quarantined_or_lost(tmp_path: Path):
    import apsw

    run_demo(2.0, seed=3, plan=PLAN, data=tmp_path, console=Console(file=io.StringIO()))
    (database,) = (tmp_path / "live").glob("*.db")
    store = apsw.Connection(str(database))
    assert store.execute("SELECT COUNT(*) FROM _hr_quarantine").get == 0
    assert store.execute("SELECT COUNT(*) FROM restaurants").get == 12
    assert store.execute("SELECT COUNT(*) FROM items").get == 12 * 8
    assert store.execute("SELECT COUNT(*) FROM couriers").get == 60
    store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_ends_with_the_summary_and_leaves_nothing(tmp_path: Path):
    code = "from headrace.demo.run import run_demo; run_demo(120)"
    demo = subprocess.Popen(
        [sys.executable, "-c", code],
        env={"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if "events/s" in line:  # it runs
                break
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=20)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0, err
    assert "95 % intervals" in out
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
