"""Open-loop pushes, one HTTP request each, stamped right before they are sent. Prints one line of JSON.

ping_sender.py <port> <pings a second> <pings a request> <seconds> <connections>
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from harness.figures import quantiles
from harness.http_client import Attack, post


def ping(number: int, sent: int) -> str:
    """A record of six columns."""
    return (
        f'{{"ping_id":{number},"sent":{sent},"courier_id":"courier-{number % 500}","x":12.25,"y":{number % 90}.5,'
        f'"free":true}}'
    )


async def main(port: int, rate: float, size: int, seconds: float, connections: int) -> dict[str, object]:
    """`sent` is on the monotonic clock of the machine, nanoseconds, which all its processes share."""

    def stamp(number: int, _: bytes) -> bytes:
        now = time.monotonic_ns()
        lines = "\n".join(ping(number * size + n + 1, now) for n in range(size))
        return post("/push/pings", lines.encode(), kind="application/x-ndjson")

    attack = Attack(port, [b""] * int(rate / size * seconds), rate=rate / size, connections=connections, timeout=10)
    began = time.monotonic()
    shots = await attack.run(stamp)
    lasted = time.monotonic() - began
    answered = [shot.seconds * 1000 for shot in shots if shot.status == 200]
    return {
        "requests": len(shots),
        "answered": len(answered),
        "statuses": {str(s): sum(shot.status == s for shot in shots) for s in {shot.status for shot in shots}},
        "rate": len(answered) * size / lasted,
        "ack_ms": quantiles(answered),
    }


if __name__ == "__main__":
    port, rate, size, seconds, connections = map(int, sys.argv[1:6])
    print(json.dumps(asyncio.run(main(port, rate, size, seconds, connections))))
