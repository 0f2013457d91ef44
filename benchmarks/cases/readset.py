"""Comparing a read set of 20 reads with the present, among a million rows."""

from __future__ import annotations

from harness.figures import Result
from harness.process import measure
from harness.setting import Setting

KINDS = {
    "keys_idle": "20 keys, no commit since",
    "keys_busy": "20 keys, commits since",
    "menus_busy": "20 predicates, commits since",
}


def run(setting: Setting) -> Result:
    """Also: a changed row, a phantom and a vanished row must be noticed."""
    result = Result("readset")
    rows, rounds = setting.pick((50_000, 100), (1_000_000, 1_000))
    found = measure("workers/readset.py", setting.folder("readset"), rows, rounds, core=setting.core)
    for kind, label in KINDS.items():
        target = 1.0 if kind.startswith("keys") else None
        result.add(f"{label}: p50", found[kind]["p50"], "ms", target=target, better="less", detail=found[kind])
        result.add(f"{label}: p99", found[kind]["p99"], "ms", target=target, better="less")
    noticed = sum(found["noticed"].values())
    result.add("noticed of: changed, phantom, vanished", float(noticed), "of 3", target=3.0, detail=found["noticed"])
    result.notes.append(f"{rows:,} rows; a predicate is a menu of up to 10 rows; one core for engine and reader.")
    return result
