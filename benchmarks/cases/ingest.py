"""JSON bytes -> validated -> committed, durable and readable; a 6-column record with key and one secondary index."""

from __future__ import annotations

from harness import peers
from harness.figures import Result, median
from harness.process import measure
from harness.setting import Setting

BATCH = 5_000
WAYS = {"memory": "from memory, in a running app", "files": "from a file (source Files)", "push": "pushes, 8 in flight"}


def run(setting: Setting) -> Result:
    """Ours and Pathway's in turn, each alone on one core."""
    result = Result("ingest")
    rows, keys = setting.pick((100_000, 30_000), (1_000_000, 200_000))
    pathway = peers.python("pathway", setting)
    rates: dict[str, list[float]] = {way: [] for way in (*WAYS, "small", "pathway")}
    for _ in range(setting.repeats):
        for way in WAYS:
            rates[way].append(_ours(setting, rows, keys, BATCH, way))
        rates["small"].append(_ours(setting, rows, keys, 1_000, "memory"))
        if pathway is not None:
            found = measure("peers/pathway_ingest.py", rows, keys, python=pathway, core=setting.core)
            rates["pathway"].append(found["rows"] / found["seconds"])
            result.peers["pathway"] = found["version"]
    peer = median(rates["pathway"]) if rates["pathway"] else None
    shown = {"peer": peer, "peer_name": "Pathway"}
    for way, label in WAYS.items():
        target = 150_000 if way == "memory" else None
        result.add(f"rows {label}", median(rates[way]), "rows/s", target=target, runs=rates[way], **shown)
    result.add("rows from memory, batches of 1,000", median(rates["small"]), "rows/s", runs=rates["small"], **shown)
    if peer:
        result.add("times Pathway", median(rates["memory"]) / peer, "x", target=2.0)
    result.notes += [
        f"{rows:,} upserts over {keys:,} keys, batches of {BATCH:,}; one core; until fsynced and counted by a reader.",
        "Pathway 0.33: next(**json.loads(line)) in an upsert session, commits every 5 s (its fastest), null sink; its"
        " state is in memory and not durable, and types are checked but constraints are not.",
    ]
    return result


def _ours(setting: Setting, rows: int, keys: int, batch: int, way: str) -> float:
    folder = setting.folder("ingest")
    found = measure("workers/ingest.py", folder, rows, keys, batch, way, core=setting.core)
    return found["rows"] / found["seconds"]
