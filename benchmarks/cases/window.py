"""A window of 24 h over 200,000 events of one key, by tiles of 5 minutes, against a scan of the raw events."""

from __future__ import annotations

from harness.figures import Result
from harness.process import measure
from harness.setting import Setting


def run(setting: Setting) -> Result:
    """Count, sum, minimum and maximum through a view, compared to the last digit."""
    result = Result("window")
    events, reads = setting.pick((50_000, 300), (200_000, 5_000))
    found = measure("workers/window.py", setting.folder("window"), events, reads, core=setting.core)
    result.add(
        "24 h window by tiles, p50",
        found["ms"]["p50"],
        "ms",
        target=0.2,
        better="less",
        peer=found["scan_ms"]["p50"],
        peer_name="raw scan",
        detail=found,
    )
    result.add("24 h window by tiles, p99", found["ms"]["p99"], "ms", better="less")
    result.add("equal to the raw scan (1: yes)", float(found["equal"]), "", target=1.0)
    result.notes.append(
        f"{events:,} events of one key, 288 tiles; a whole read of the view: rows, ages and read set included."
    )
    return result
