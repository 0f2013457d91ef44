"""Resident memory of engine and reader, and the cost of a row, from 100,000 to 10 million rows."""

from __future__ import annotations

import workload
from harness.figures import Result
from harness.process import measure
from harness.setting import Setting

PART = 1_000_000


def run(setting: Setting) -> Result:
    """10 million rows over 1 million keys from files, then steady reads; the quick size is a tenth of that."""
    result = Result("memory")
    rows, seconds = setting.pick((400_000, 5), (10_000_000, 60), (10_000_000, 300))
    keys = rows // 10
    source = setting.folder("rows")
    _write(source, rows, keys)
    found = measure(
        "workers/memory.py", setting.folder("memory"), source / "*.jsonl", rows, keys, seconds, timeout=3_600
    )
    setting.folder("rows")
    setting.folder("memory")
    label = f"{rows:,} rows over {keys:,} keys"
    result.add(f"peak resident memory, {label}", found["peak_mib"], "MiB", target=400, better="less", detail=found)
    result.add("peak without file pages", found["peak_private_mib"], "MiB", better="less")
    result.add(f"growth over {seconds} s of reads", found["growth_mib"], "MiB", target=8.0, better="less")
    ratio = found["cost_last"] / found["cost_first"]
    result.add("cost of a row: last tenth to first 100,000", ratio, "x", target=1.5, better="less")
    ratio = found["processor_last"] / found["processor_first"]
    result.add("the same in processor time, which other load disturbs less", ratio, "x", better="less")
    result.add("cost of a row, whole run", found["cost"], "us", better="less")
    result.notes.append(
        f"Source Files, engine and reader in one process, {found['reads']:,} reads; the database is"
        f" {found['database_mib']:,.0f} MiB. 'No growth' is judged as under 8 MiB between first and last fifth."
    )
    return result


def _write(folder, rows: int, keys: int) -> None:
    part, number = None, 0
    for number, line in enumerate(workload.items(rows, keys)):
        if number % PART == 0:
            if part is not None:
                part.close()
            part = (folder / f"rows-{number // PART:02d}.jsonl").open("wb")
        part.write(line + b"\n")
    if part is not None:
        part.close()
