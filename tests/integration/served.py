"""A server in a thread of this process, for tests that talk over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings
from headrace.testing.ports import CATALOG, MemoryPorts


@contextlib.contextmanager
def serving(ports: MemoryPorts, **settings: Any) -> Iterator[str]:
    """The URL of a server over `ports`."""
    chosen = Settings(port=0, **settings)
    listening = bind(chosen)
    url = address(listening)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        app = create_app(ports, ports, CATALOG, chosen, health=ports)
        loop.run_until_complete(serve(app, chosen, listening, stop, direct=app.direct, ready=ready.set))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if not ready.wait(10):
            raise AssertionError("the server did not start")
        yield url
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        listening.close()
