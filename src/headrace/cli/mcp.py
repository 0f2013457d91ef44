"""`headrace mcp`: the views of an app as tools of a Model Context Protocol client, over standard input and output."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.target import app_argument, data_folder, data_option, load
from headrace.core.errors import StoreLocked

if TYPE_CHECKING:
    from headrace.app import App


@click.command
@app_argument
@data_option
def mcp(target: str, data: Path | None) -> None:
    """Offer the views of APP as tools to the program that started this command (stdio).

    Each view is a tool with typed parameters; each answer says how old it is. If a server runs on the same data, its
    live store is read; if none does, this command runs the app itself. A server offers the same tools over HTTP at
    /mcp.

    \b
    In a client's configuration:
      {"mcpServers": {"shop": {"command": "headrace", "args": ["mcp", "/srv/shop/app.py"]}}}
    """
    asyncio.run(_serve(load(target), data_folder(target, data)))


async def _serve(app: App, folder: Path) -> None:
    from headrace.composition import catalog
    from headrace.core.clock import SystemClock
    from headrace.runtime.engine import Engine
    from headrace.runtime.reads import LocalReads
    from headrace.server.mcp import run_stdio

    clock = SystemClock()
    async with AsyncExitStack() as stack:
        engine = Engine(app, data=folder, clock=clock)
        try:
            await engine.start()
            stack.push_async_callback(engine.stop)
        except StoreLocked:
            click.echo(f"reading beside the server that runs on {folder}", err=True)
        reads = LocalReads(app, data=folder, clock=clock)
        stack.callback(reads.close)
        await run_stdio(reads, catalog(app))
