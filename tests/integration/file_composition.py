"""A composition for processes under test: the engine appends what is pushed to a file, readers read that file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.core.changes import Receipt
from headrace.core.errors import DeclarationError, StoreLocked
from headrace.server.composition import Engine, Reader
from headrace.server.settings import Settings
from headrace.testing.ports import CATALOG, MemoryPorts


class FilePorts(MemoryPorts):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.size = -1

    def refresh(self) -> None:
        if self.file.exists() and self.file.stat().st_size != self.size:
            self.size = self.file.stat().st_size
            for line in self.file.read_bytes().splitlines():
                self._apply(CATALOG.table("items"), [json.loads(line)], "file")

    async def read(self, view: str, params: Any, **how: Any) -> Any:
        if params.get("restaurant_id") == "slow":
            await self.clock.sleep(1.0)
        if params.get("restaurant_id") == "pid":
            self.rows["items"] = {("pid",): {"restaurant_id": "pid", "item_id": str(os.getpid())}}
        self.refresh()
        return await super().read(view, params, **how)

    async def push(self, table: str, body: bytes, **how: Any) -> Receipt:
        if b"crash" in body:
            os._exit(9)
        if b"slow" in body:
            await self.clock.sleep(0.7)
        receipt = await super().push(table, body, **how)
        with self.file.open("ab") as out:
            out.write(body.strip() + b"\n")
        return receipt


class FileComposition:
    def load(self, app_file: str) -> str:
        text = Path(app_file).read_text()
        if "slow" in text:
            Path(app_file).with_name("loading").write_text(str(os.getpid()))
            threading.Event().wait(1.0)
        if "endless" in text:
            Path(app_file).with_name("loading").write_text(str(os.getpid()))
            threading.Event().wait()
        if "broken" in text:
            raise DeclarationError("the app is broken", hint="mend it")
        return text

    @asynccontextmanager
    async def engine(self, app: str, data: str | None) -> AsyncIterator[Engine]:
        if (Path(data or "") / "taken").exists():
            raise StoreLocked("process 7 already writes here", hint="stop it first")
        ports = FilePorts(Path(data or "") / "rows")
        (Path(data or "") / "engine.pid").write_text(str(os.getpid()))
        yield Engine(ports, ports)
        with (Path(data or "") / "closed").open("a") as out:
            out.write("engine\n")

    @asynccontextmanager
    async def reader(self, app: str, data: str | None, settings: Settings) -> AsyncIterator[Reader]:
        if "unreadable" in app:
            raise DeclarationError("nobody can read it", hint="mend it")
        yield Reader(FilePorts(Path(data or "") / "rows"), replace(CATALOG, app=app.strip()))


composition = FileComposition()
