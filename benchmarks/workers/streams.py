"""Reads many streams at once and times every chunk. Prints one line of JSON.

Plan: {"port", "path", "headers", "body", "streams"}

`transit`: ms from the instant that a chunk holds to its arrival; `gap`: ms between two chunks of one stream.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from harness.figures import quantiles
from harness.http_client import post

_STAMP = re.compile(rb'"@([0-9.]+) "')


class Reader(asyncio.Protocol):
    """One stream."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._tail = b""
        self._begun = False
        self.ended = asyncio.get_running_loop().create_future()
        self.seen: list[tuple[float, float]] = []
        self.done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self._begun and not data.startswith(b"HTTP/1.1 200"):
            # Refused: that is no stream, and it has no end mark to wait for.
            self._transport.close()
            return
        self._begun = True
        text = self._tail + data
        last = 0
        for found in _STAMP.finditer(text):
            self.seen.append((float(found[1]), now))
            last = found.end()
        self._tail = text[max(last, len(text) - 40) :]
        if b"[DONE]" in text:
            self.done = True
            self._transport.close()
            if not self.ended.done():
                self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Run the plan."""
    loop = asyncio.get_running_loop()
    request = post(plan["path"], plan["body"].encode(), headers=plan["headers"])
    readers: list[Reader] = []
    for number in range(plan["streams"]):
        _, reader = await loop.create_connection(lambda: Reader(request), "127.0.0.1", plan["port"])
        readers.append(reader)
        await asyncio.sleep(0.01 * (number % 5) / 5 + 0.001)
    await asyncio.wait_for(asyncio.gather(*(one.ended for one in readers)), 120)
    steady = [one.seen[5:] for one in readers]
    transit = [(now - stamp) * 1000 for seen in steady for stamp, now in seen]
    gaps = [(b - a) * 1000 for seen in steady for (_, a), (_, b) in itertools.pairwise(seen)]
    return {
        "chunks": sum(len(one.seen) for one in readers),
        "complete": sum(one.done for one in readers),
        "transit": quantiles(transit),
        "gap": quantiles(gaps),
    }


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(main(json.loads(Path(sys.argv[1]).read_text())))))
