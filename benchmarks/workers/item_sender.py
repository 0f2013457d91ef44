"""Pushes of items at a steady rate, as a background load. Prints one line of JSON.

item_sender.py <port> <rows a second> <rows a request> <seconds>
"""

from __future__ import annotations

import asyncio
import json
import sys

import workload
from harness.figures import quantiles
from harness.http_client import Attack, post


async def main(port: int, rate: int, size: int, seconds: int) -> dict[str, object]:
    """Open loop over two connections."""
    bodies = workload.ndjson(workload.items(rate * seconds, 9_970, seed=9), size)
    requests = [post("/push/items", body, kind="application/x-ndjson") for body in bodies]
    shots = await Attack(port, requests, rate=rate / size, connections=2, timeout=10).run()
    good = [shot.seconds * 1000 for shot in shots if shot.status == 200]
    return {"requests": len(shots), "answered": len(good), "ack_ms": quantiles(good)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*map(int, sys.argv[1:5])))))
