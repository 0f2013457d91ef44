"""JSON events into count and sum by key and minute."""

from __future__ import annotations

import time
from pathlib import Path

import workload
from harness import peers
from harness.figures import Result
from harness.process import measure
from harness.rates import Rates
from harness.setting import Setting

KEYS = 1_000
BATCH = 20_000
WAYS = {"drop": "keep=None: tiles only", "keep": "raw events kept too"}
PATHWAY = {
    "groupby, native JSON reader": ("jsonlines", "groupby"),
    "groupby, Python connector": ("connector", "groupby"),
    "windowby, native JSON reader": ("jsonlines", "windowby"),
}


def run(setting: Setting) -> Result:
    """Ours and Pathway's in turn, each alone on one core, over the same bytes."""
    result = Result("rollup")
    rows = setting.pick(200_000, 2_000_000)
    events = _events(setting, rows)
    pathway = peers.python("pathway", setting)
    rates = Rates()
    for _ in range(setting.repeats):
        for way in WAYS:
            folder = setting.folder("rollup")
            rates.add(way, measure("workers/rollup.py", folder, events, KEYS, BATCH, way, core=setting.core))
        for name, (reader, how) in PATHWAY.items() if pathway is not None else ():
            found = measure("peers/pathway_rollup.py", events, reader, how, python=pathway, core=setting.core)
            rates.add(name, found)
            result.peers["pathway"] = found["version"]
    best = rates.best(list(PATHWAY))
    shown = {"peer": rates.median(best) if best else None, "peer_name": "Pathway"}
    for way, label in WAYS.items():
        rate, more = rates.median(way) or 0.0, {"runs": rates.runs(way), "detail": rates.detail(way), **shown}
        result.add(f"events, {label}", rate, "events/s", target=400_000 if way == "drop" else None, **more)
    for name in PATHWAY if best else ():
        rate = rates.median(name) or 0.0
        result.add(f"Pathway: {name}", rate, "events/s", runs=rates.runs(name), detail=rates.detail(name))
    if best:
        rates.compare(result, "drop", best, "times Pathway (its fastest way)", 1.0)
    result.notes += [
        f"{rows:,} events, {KEYS:,} keys, 30 minutes; one core; ours: event times parsed and checked, durable.",
        "Pathway's groupby takes the minute as a slice of the text; its windowby parses the time as ours does. It"
        " stores no raw events, so keep=None is the like-for-like figure; its state is in memory and not durable.",
    ]
    return result


def _events(setting: Setting, rows: int) -> Path:
    path = setting.folder("events") / "sales.jsonl"
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in workload.sales(rows, KEYS, end=time.time_ns() // 1000))
    return path
