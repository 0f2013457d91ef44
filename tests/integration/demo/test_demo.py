"""The demo with the real app: engine, store, contract, views, HTTP pushes on the loopback."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from headrace.demo.plan import CityPlan
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
