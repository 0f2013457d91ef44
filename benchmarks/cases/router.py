"""What one call through the router costs, and through the shell around it; no sockets."""

from __future__ import annotations

from harness.figures import Result
from harness.process import measure
from harness.setting import Setting

KINDS = {
    "router": "router: submit, first token, end",
    "send": "a declared model: send and read a whole answer",
}


def run(setting: Setting) -> Result:
    """Processor time on one core."""
    result = Result("router")
    calls, repeats = setting.pick((2_000, 3), (10_000, 15))
    found = measure("workers/router.py", calls, repeats, core=setting.core)
    for kind, label in KINDS.items():
        result.add(label, found[kind]["best"], "us/call", better="less", detail=found[kind])
    result.notes.append(
        "Four healthy upstreams, policies at their defaults, limits told with every answer, a price and a budget of the"
        f" key; 64 calls in flight. Processor time, the best of {repeats} runs of {calls:,} calls."
    )
    return result
