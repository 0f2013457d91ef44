"""A whole server of an app, gate and all, in the loop of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import headrace as hr
from headrace.composition import composition
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings


@asynccontextmanager
async def whole_server(app: hr.App, folder: Path, **settings: Any) -> AsyncGenerator[str]:
    """Its URL."""
    chosen, stop, data = Settings(port=0, **settings), asyncio.Event(), str(folder / "data")
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(composition.engine(app, data))
        reader = await stack.enter_async_context(composition.reader(app, data, chosen))
        front = create_app(reader.reads, engine.writes, reader.catalog, chosen, handlers=reader.handlers)
        bound, ready = stack.enter_context(bind(chosen)), asyncio.Event()
        task = asyncio.create_task(serve(front, chosen, bound, stop, direct=front.direct, ready=ready.set))
        await ready.wait()
        try:
            yield address(bound)
        finally:
            stop.set()
            await task
