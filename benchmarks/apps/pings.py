"""Rows that say when they were sent, and a view of those after a number: for freshness."""

from __future__ import annotations

import headrace as hr


class Ping(hr.Record):
    ping_id: int
    sent: int
    courier_id: str
    x: float
    y: float
    free: bool


app = hr.App("pings")
app.table(Ping, name="pings", key="ping_id", freshness="5s")
app.view("after", "SELECT ping_id, sent FROM pings WHERE ping_id > :ping_id ORDER BY ping_id LIMIT 5000")
