"""Closed-loop GETs where `wrk` is not installed. Prints one line of JSON.

    hammer.py <port> <connections> <seconds> <path> ...

This client costs about as much as the server that it measures: with `wrk` figures are higher.
"""

from __future__ import annotations

import asyncio
import json
import sys

from harness.figures import quantiles
from harness.http_client import get, hammer

if __name__ == "__main__":
    port, connections, seconds = map(int, sys.argv[1:4])
    shots = asyncio.run(hammer(port, [get(path) for path in sys.argv[4:]], connections=connections, seconds=seconds))
    good = [shot.seconds * 1000 for shot in shots if shot.status == 200]
    span = max(shot.ended for shot in shots) - min(shot.due for shot in shots)
    bad = len(shots) - len(good)
    print(json.dumps({"per_second": len(good) / span, "errors": bad, "ms": quantiles(good)}))
