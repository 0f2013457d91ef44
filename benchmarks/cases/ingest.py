"""JSON bytes -> validated -> committed, durable and readable; a 6-column record with key and one secondary index."""

from __future__ import annotations

from typing import Any

from harness import peers
from harness.figures import Result
from harness.process import measure
from harness.rates import Rates
from harness.setting import Setting

BATCH = 5_000
WAYS = {
    "memory": "from memory, in a running app",
    "files": "from a file (source Files)",
    "push": "from pushes, 8 in flight",
}


def run(setting: Setting) -> Result:
    """Ours and Pathway's in turn, each alone on one core."""
    result = Result("ingest")
    rows, keys = setting.pick((100_000, 30_000), (1_000_000, 200_000))
    pathway = peers.python("pathway", setting)
    rates = Rates()
    for _ in range(setting.repeats):
        for way in WAYS:
            rates.add(way, _ours(setting, rows, keys, BATCH, way))
        rates.add("small", _ours(setting, rows, keys, 1_000, "memory"))
        if pathway is not None:
            found = measure("peers/pathway_ingest.py", rows, keys, python=pathway, core=setting.core)
            rates.add("pathway", found)
            result.peers["pathway"] = found["version"]
    shown = {"peer": rates.median("pathway"), "peer_name": "Pathway"}
    for way, label in {**WAYS, "small": "from memory, batches of 1,000"}.items():
        rate, more = rates.median(way) or 0.0, {"runs": rates.runs(way), "detail": rates.detail(way), **shown}
        result.add(f"rows {label}", rate, "rows/s", target=150_000 if way == "memory" else None, **more)
    if pathway is not None:
        rates.compare(result, "memory", "pathway", "times Pathway", 2.0)
    result.notes += [
        f"{rows:,} upserts over {keys:,} keys, batches of {BATCH:,}; one core; until fsynced and counted by a reader.",
        "Pathway 0.33: next(**json.loads(line)) in an upsert session, commits every 5 s (its fastest), null sink; its"
        " state is in memory and not durable, and types are checked but constraints are not.",
    ]
    return result


def _ours(setting: Setting, rows: int, keys: int, batch: int, way: str) -> dict[str, Any]:
    folder = setting.folder("ingest")
    return measure("workers/ingest.py", folder, rows, keys, batch, way, core=setting.core)
