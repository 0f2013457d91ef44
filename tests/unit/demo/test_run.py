import io
import json
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from headrace.core.errors import DeclarationError, HeadraceError
from headrace.demo.plan import CityPlan
from headrace.demo.run import Opener, run_demo

PLAN = CityPlan(restaurants=12, dishes=8, couriers=30, warm_up=20)


def test_a_short_run_without_a_terminal_writes_its_figures(tmp_path: Path, stand_in: Opener):
    console = Console(file=io.StringIO(), width=100)
    path = tmp_path / "figures.json"
    run_demo(2.0, path, seed=3, batch="30s", speed=60.0, plan=PLAN, console=console, opener=stand_in)
    figures = json.loads(path.read_text())
    assert figures["seed"] == 3
    assert figures["batch_window"] == "30s"
    assert figures["events"]["total"] > 200
    assert figures["events"]["total"] == sum(figures["events"]["by_table"].values())
    assert figures["freshness_ms"]["count"] > 5
    assert figures["freshness_ms"]["unseen"] == 0
    assert figures["batch"]["wrong_answers"]["of"] == figures["live"]["wrong_answers"]["of"] > 0
    assert figures["live"]["sold_out_recommendations"]["of"] > 0
    assert (
        figures["batch"]["age_city_seconds"]["p99"] < 33
    )  # the window, and what passes between two looks at the clock
    assert figures["hardware"]["cores"] >= 1
    assert set(figures["definitions"]) >= {"failed_orders", "wrong_answers", "freshness_ms"}
    assert isinstance(console.file, io.StringIO)
    assert "95 % intervals" in console.file.getvalue()


def test_the_temporary_folder_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stand_in: Opener):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_demo(0.2, plan=PLAN, console=Console(file=io.StringIO()), opener=stand_in)
    assert list(tmp_path.iterdir()) == []


def test_a_given_folder_is_kept(tmp_path: Path, stand_in: Opener):
    run_demo(0.2, data=tmp_path / "city", plan=PLAN, console=Console(file=io.StringIO()), opener=stand_in)
    assert (tmp_path / "city" / "promotions.jsonl").is_file()


def test_a_window_that_is_no_duration_is_refused():
    with pytest.raises(DeclarationError, match="five minutes"):
        run_demo(0.1, batch="five minutes", console=Console(file=io.StringIO()))


def test_what_would_fail_after_the_run_is_refused_before_it(tmp_path: Path, stand_in: Opener):
    console = Console(file=io.StringIO())
    with pytest.raises(HeadraceError, match="there is no folder"):
        run_demo(0.1, tmp_path / "nowhere" / "figures.json", console=console)
    run_demo(0.1, data=tmp_path / "city", plan=PLAN, console=console, opener=stand_in)
    with pytest.raises(HeadraceError, match="holds an earlier run"):
        run_demo(0.1, data=tmp_path / "city", plan=PLAN, console=console, opener=stand_in)
