"""A source that needs an extra which is not installed: the log says how to install it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import headrace as hr
from headrace.core.clock import SystemClock
from headrace.core.errors import MissingExtra
from headrace.testing import Scripted

CLOCK = SystemClock()


class Needy(Scripted):
    async def open(self, opening: Any) -> Any:
        raise MissingExtra("reading from PostgreSQL", extra="postgres")


async def test_the_log_says_how_to_install_what_is_missing(tmp_path: Path, caplog: Any) -> None:
    app = hr.App("shop")

    class Item(hr.Record):
        item_id: str

    app.table(Item, key="item_id", source=Needy([]))
    async with app.run(data=tmp_path):
        for _ in range(100):
            await CLOCK.sleep(0)
    assert "needs the extra 'postgres'; pip install \"headrace[postgres]\"" in caplog.text
