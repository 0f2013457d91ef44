"""The workers of the benchmarks that run by themselves still fit what they measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("worker", "figures"),
    [("router.py", {"router", "send"}), ("hot_path.py", {"relay", "shell", "router", "whole"})],
)
def test_a_worker_gives_its_figures(worker: str, figures: set[str]) -> None:
    command = [sys.executable, BENCHMARKS / "workers" / worker, "100", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == figures
    assert all(one["best"] > 0 for one in found.values())
