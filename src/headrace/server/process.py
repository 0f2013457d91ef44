"""The child processes of a server: the engine, an HTTP worker, or both in one.

A child is started as `python -m headrace.server.process`. Its standard input brings one line of JSON, its *charge*
(keys stay out of argument lists that way), and then stays open: its end says that the parent is gone. The child
answers with one line on the descriptor named in the charge once it serves, or with the problem that keeps it from it,
and whether the app file was loaded by then. Both say of which files, besides code, the app was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace import http1
from headrace.core.errors import DeclarationError, HeadraceError
from headrace.core.problems import to_problem
from headrace.pipeline.prompt import files_read
from headrace.server.composition import Composition, Reader, find
from headrace.server.settings import LOG_LEVELS, Settings

log = logging.getLogger("headrace.server")

Role = Literal["engine", "worker", "single"]
CANNOT_START = 78
"""Exit status of a child that was charged with something that cannot work (EX_CONFIG of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a child is told.

    Attributes
    ----------
    role
        "engine", "worker" or "single" (both in one process).
    app, data, composition
        The app file, the data folder (None: the app's own), and where the composition is.
    folder
        The private folder of this server: the engine's socket and the workers' counters.
    number
        Which worker.
    listen
        Descriptor of the listening socket; None for the engine.
    report
        Descriptor to report on.
    """

    role: Role
    app: str
    data: str | None
    composition: str
    settings: Settings
    folder: str
    number: int
    listen: int | None
    report: int


class _Unserved(Exception):
    """The app file was loaded, and what it declares cannot be served."""

    def __init__(self, error: HeadraceError) -> None:
        super().__init__(str(error))
        self.error = error


def engine_socket(folder: Path) -> Path:
    """Where the engine listens."""
    return folder / "engine.sock"


def main() -> int:
    """Run one child until it is told to stop; the exit status."""
    charge = msgspec.json.decode(sys.stdin.buffer.readline(), type=Charge)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    wanted = os.environ.get("HEADRACE_LOG", "").lower()
    logging.getLogger("headrace").setLevel(wanted.upper() if wanted in LOG_LEVELS else logging.INFO)
    logging.getLogger("mcp").setLevel(logging.WARNING)
    # Ctrl-C reaches the whole group; the parent says when it is time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _run(charge)
    except HeadraceError as error:
        _report(charge, to_problem(error))
        return CANNOT_START
    except _Unserved as unserved:
        _report(charge, to_problem(unserved.error) | {"loaded": True})
        return CANNOT_START
    return 0


def _run(charge: Charge) -> None:
    # The writer's thread takes the interpreter lock back after each step of SQLite; at the default of 5 ms every such
    # step could wait for the event loop that long.
    sys.setswitchinterval(0.0005)
    http1.run(_serve(charge))


async def _serve(charge: Charge) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loaded = threading.Event()
    threading.Thread(target=_watch_parent, args=(loop, loaded, stop), name="parent", daemon=True).start()
    composition = find(charge.composition)
    # The file may never end loading, and nothing is under way before: until then SIGTERM ends the process as it is.
    app = composition.load(charge.app)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loaded.set()
    try:
        await _ROLES[charge.role](charge, composition, app, stop)
    except HeadraceError as error:
        raise _Unserved(error) from error


def _watch_parent(loop: asyncio.AbstractEventLoop, loaded: threading.Event, stop: asyncio.Event) -> None:
    """Stop when the parent is gone; in a thread of its own, since the loop stands still while the file is loaded."""
    while os.read(0, 1024):
        pass
    if not loaded.is_set():
        os._exit(1)
    with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends anyway
        loop.call_soon_threadsafe(stop.set)


async def _engine(charge: Charge, composition: Composition, app: Any, stop: asyncio.Event) -> None:
    from headrace.server.wire import serve_writes

    path = engine_socket(Path(charge.folder))
    async with (
        composition.engine(app, charge.data) as engine,
        serve_writes(engine.writes, path, health=engine.health, max_frame=frame_limit(charge.settings)),
    ):
        _serving(charge)
        await stop.wait()


async def _worker(charge: Charge, composition: Composition, app: Any, stop: asyncio.Event) -> None:
    from headrace.server.http import create_app
    from headrace.server.listening import serve
    from headrace.server.metrics import Meter, worker_file
    from headrace.server.wire import RemoteWrites

    folder = Path(charge.folder)
    writes = RemoteWrites(engine_socket(folder), max_frame=frame_limit(charge.settings))
    meter = Meter(worker_file(folder, charge.number))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(writes.close)
        reader = await _opened(stack, composition.reader(app, charge.data, charge.settings), stop)
        if reader is None:
            return
        if charge.settings.workers > 1 and reader.handlers:
            raise DeclarationError(
                f"{charge.settings.workers} workers were asked for, and an app with models or endpoints has one",
                hint="leave --workers out: queues, limits and budgets of models are kept in that one process",
            )
        front = create_app(
            reader.reads, writes, reader.catalog, charge.settings, health=writes, meter=meter, handlers=reader.handlers
        )
        listening = _listen(charge)
        await serve(front, charge.settings, listening, stop, direct=front.direct, ready=lambda: _serving(charge))


async def _single(charge: Charge, composition: Composition, app: Any, stop: asyncio.Event) -> None:
    from headrace.server.http import create_app
    from headrace.server.listening import serve

    async with composition.engine(app, charge.data) as engine, AsyncExitStack() as stack:
        reader = await _opened(stack, composition.reader(app, charge.data, charge.settings), stop)
        if reader is None:
            return
        front = create_app(
            reader.reads,
            engine.writes,
            reader.catalog,
            charge.settings,
            health=engine.health,
            handlers=reader.handlers,
        )
        listening = _listen(charge)
        await serve(front, charge.settings, listening, stop, direct=front.direct, ready=lambda: _serving(charge))


async def _opened(
    stack: AsyncExitStack, opening: AbstractAsyncContextManager[Reader], stop: asyncio.Event
) -> Reader | None:
    """The reading side, open; None when told to stop meanwhile: a model may take minutes to load, and nobody waits."""
    patience = asyncio.timeout(None)
    try:
        async with patience:

            def give_up(_: object) -> None:
                patience.reschedule(0)

            stopping = asyncio.create_task(stop.wait())
            stopping.add_done_callback(give_up)
            try:
                return await stack.enter_async_context(opening)
            finally:
                stopping.remove_done_callback(give_up)
                stopping.cancel()
    except TimeoutError:
        if not patience.expired():
            raise
        return None


_Run = Callable[[Charge, Composition, Any, asyncio.Event], Awaitable[None]]
_ROLES: dict[Role, _Run] = {"engine": _engine, "worker": _worker, "single": _single}


def frame_limit(settings: Settings) -> int:
    """The largest frame between worker and engine: the largest body and some room."""
    return settings.max_body + 1024 * 1024


def _listen(charge: Charge) -> socket.socket:
    if charge.listen is None:
        raise HeadraceError("the worker was given no socket to listen on", hint="start it through the supervisor")
    return socket.socket(fileno=charge.listen)


def _serving(charge: Charge) -> None:
    """Tell the parent that this child serves."""
    # What was loaded so far stays: the collector need not walk through it again with every full collection.
    gc.collect()
    gc.freeze()
    # What a request makes lives as long as the request. At the default of 700, a worker with dozens of requests in
    # flight would look through all of theirs again and again.
    gc.set_threshold(20_000, 10, 10)
    _report(charge, {"ready": True})


def _report(charge: Charge, document: dict[str, Any]) -> None:
    """Tell the parent, who may be gone."""
    document = document | {"files": files_read()}
    try:
        with os.fdopen(charge.report, "wb") as pipe:
            pipe.write(msgspec.json.encode(document) + b"\n")
    except BrokenPipeError:
        log.debug("the parent process waits for no word any more: it was told to stop meanwhile")
    except OSError as error:
        log.warning("the parent process cannot be told %s: %s", document, error)


if __name__ == "__main__":
    sys.exit(main())
