"""Pathway: JSON bytes through its Python connector into an upserted table. Prints one line of JSON.

Fastest public way for bytes that Python holds: `next(**json.loads(line))` in an upsert session; a sink that throws
everything away keeps Pathway from paying for output. State lives in memory; nothing is written to disk.
"""

from __future__ import annotations

import json
import sys
import time

import pathway as pw
import workload


class Item(pw.Schema):
    item_id: str = pw.column_definition(primary_key=True)
    restaurant_id: str
    name: str
    price: float
    stock: int
    available: bool


class Feed(pw.io.python.ConnectorSubject):
    def __init__(self, lines: list[bytes]) -> None:
        super().__init__(session_type="upsert")
        self.lines = lines
        self.began = self.cpu = 0.0

    def run(self) -> None:
        self.began, self.cpu = time.perf_counter(), time.process_time()
        loads = json.loads
        for line in self.lines:
            self.next(**loads(line))


def main(rows: int, keys: int) -> None:
    feed = Feed(list(workload.items(rows, keys)))
    table = pw.io.python.read(feed, schema=Item, autocommit_duration_ms=5000)
    pw.io.null.write(table)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    seconds, cpu = time.perf_counter() - feed.began, time.process_time() - feed.cpu
    print(json.dumps({"rows": rows, "seconds": seconds, "cpu": cpu, "version": pw.__version__}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
