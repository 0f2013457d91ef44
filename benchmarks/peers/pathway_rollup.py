"""Pathway: count and sum per key and minute over JSON events, in its two ways of reading. Prints one line of JSON.

`connector`: bytes that Python holds, through `ConnectorSubject`. `jsonlines`: a file, read natively in Rust.
Time is parsed to the minute by Pathway itself, as an event time must be. State lives in memory; nothing goes to disk.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import pathway as pw


class Sale(pw.Schema):
    item_id: str
    price: float
    sold_at: str


class Feed(pw.io.python.ConnectorSubject):
    deletions_enabled = False

    def __init__(self, lines: list[bytes]) -> None:
        super().__init__()
        self.lines = lines
        self.began = self.cpu = 0.0

    def run(self) -> None:
        self.began, self.cpu = time.perf_counter(), time.process_time()
        loads = json.loads
        for line in self.lines:
            self.next(**loads(line))


def tiles(table: pw.Table, how: str) -> pw.Table:
    """Count and sum by key and minute: as a plain groupby, or with the windows of its temporal library."""
    if how == "windowby":
        timed = table.with_columns(at=table.sold_at.dt.strptime("%Y-%m-%dT%H:%M:%S.%6fZ", contains_timezone=False))
        return timed.windowby(
            timed.at, window=pw.temporal.tumbling(duration=timedelta(minutes=1)), instance=timed.item_id
        ).reduce(
            item_id=pw.this._pw_instance,
            start=pw.this._pw_window_start,
            orders=pw.reducers.count(),
            spent=pw.reducers.sum(pw.this.price),
        )
    minutes = table.select(pw.this.item_id, pw.this.price, minute=pw.this.sold_at.str.slice(0, 16))
    return minutes.groupby(pw.this.item_id, pw.this.minute).reduce(
        pw.this.item_id, pw.this.minute, orders=pw.reducers.count(), spent=pw.reducers.sum(pw.this.price)
    )


def main(path: Path, reader: str, how: str) -> None:
    lines = path.read_bytes().splitlines()
    feed = Feed(lines)
    if reader == "connector":
        table = pw.io.python.read(feed, schema=Sale, autocommit_duration_ms=5000)
    else:
        table = pw.io.jsonlines.read(str(path), schema=Sale, mode="static")
    pw.io.null.write(tiles(table, how))
    began, cpu = time.perf_counter(), time.process_time()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    seconds, cpu = time.perf_counter() - (feed.began or began), time.process_time() - (feed.cpu or cpu)
    print(json.dumps({"rows": len(lines), "seconds": seconds, "cpu": cpu, "version": pw.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
