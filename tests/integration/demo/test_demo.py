"""The demo with the real app: engine, store, contract, views, HTTP pushes on the loopback."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from headrace.core.errors import HeadraceError
from headrace.demo.plan import CityPlan
from headrace.demo.postgres import TemporaryPostgres
from headrace.demo.run import run_demo

PLAN = CityPlan(restaurants=12, dishes=8, couriers=60, warm_up=30)


def test_a_short_run_follows_the_city(tmp_path: Path):
    path = tmp_path / "figures.json"
    run_demo(4.0, path, seed=3, batch="2m", plan=PLAN, console=Console(file=io.StringIO(), width=100))
    figures = json.loads(path.read_text())
    batch, live = figures["batch"], figures["live"]
    assert figures["events"]["per_second"] > 300
    assert figures["freshness_ms"]["unseen"] == 0
    assert figures["freshness_ms"]["count"] > 30
    assert live["wrong_answers"]["of"] == batch["wrong_answers"]["of"] > 10
    assert live["wrong_answers"]["count"] < batch["wrong_answers"]["count"]
    assert live["courier_position_error_m"]["p50"] < batch["courier_position_error_m"]["p50"]
    assert live["age_city_seconds"]["unknown"] == 0
    assert live["age_city_seconds"]["p50"] < 60


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
    assert figures["freshness_ms"]["count"] > 30
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
