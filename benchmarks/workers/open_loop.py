"""Open-loop load from a process of its own. Reads a plan (JSON) from a file, prints one line of JSON.

Plan: {"port", "rate", "connections", "timeout", "path", "bodies": [...]}; bodies are sent as POST in turn (with the
lines of "headers"), or {"paths": [...]} as GET.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from harness.figures import quantiles
from harness.http_client import Attack, get, post


def requests(plan: dict[str, Any]) -> list[bytes]:
    """The raw requests of a plan."""
    if "paths" in plan:
        return [get(path) for path in plan["paths"]]
    return [post(plan["path"], body.encode(), headers=plan.get("headers", "")) for body in plan["bodies"]]


async def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Run the plan."""
    attack = Attack(
        plan["port"],
        requests(plan),
        rate=plan["rate"],
        connections=plan["connections"],
        timeout=plan["timeout"],
    )
    shots = await attack.run()
    answered = [shot.seconds * 1000 for shot in shots if shot.status == 200]
    return {
        "sent": len(shots),
        "answered": len(answered),
        "share": len(answered) / len(shots),
        "statuses": {str(s): sum(shot.status == s for shot in shots) for s in {shot.status for shot in shots}},
        "ms": quantiles(answered),
        "bytes": max((shot.size for shot in shots), default=0),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))))
