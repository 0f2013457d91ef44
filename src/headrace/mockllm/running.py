"""Running a mock: until a signal ends it, in a thread beside a test, or as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from headrace.core.errors import HeadraceError
from headrace.http1 import run
from headrace.mockllm.handle import Mock
from headrace.mockllm.serving import MockServer
from headrace.mockllm.settings import MockSettings, parse_settings

_PATIENCE = 15.0
"""Seconds for a process to start or to end."""


async def serve(settings: MockSettings, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the URL once connections are accepted."""
    server = MockServer(settings)
    await server.start(host, port)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C is a KeyboardInterrupt there
            loop.add_signal_handler(number, stop.set)
    shown = f"[{host}]" if ":" in host else host
    announce(f"http://{shown}:{server.port}")
    await stop.wait()
    await server.stop()


@contextmanager
def in_thread(settings: MockSettings, port: int = 0) -> Generator[Mock]:
    """A mock in a thread of this process, with an event loop of its own."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        server = MockServer(settings)
        await server.start(port=port)
        stop = asyncio.Event()
        started.set_result((f"http://127.0.0.1:{server.port}", asyncio.get_running_loop(), stop))
        await stop.wait()
        await server.stop(0)

    def body() -> None:
        try:
            run(main())
        # The boundary to the thread: what fails before it has started is raised where it was asked for.
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=body, name="headrace-mock-llm", daemon=True)
    thread.start()
    url, loop, stop = started.result()
    try:
        yield Mock(url)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextmanager
def in_process(settings: MockSettings, port: int = 0) -> Generator[Mock]:
    """A mock as a process of its own: what it takes of the machine is not this process's."""
    with tempfile.TemporaryDirectory(prefix="headrace-mock-") as folder:
        file = Path(folder) / "settings.yaml"
        file.write_text(yaml.safe_dump(_plain(settings)), encoding="utf-8")
        command = [sys.executable, "-m", "headrace", "mock-llm", "--port", str(port), "--settings", str(file)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            url = next((word for word in line.split() if word.startswith("http://")), "")
            if not url:
                raise HeadraceError("the mock's process ended at once", hint="its message is on standard error")
            yield Mock(url)
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def mock_llm(*, process: bool = False, port: int = 0, **settings: Any) -> Generator[Mock]:
    """Run a mock of a model provider for the time of a test.

    Parameters
    ----------
    process
        Whether it is a process of its own rather than a thread of this one.
    port
        Where it listens; any free one by default.
    settings
        Fields of `MockSettings`.

    Raises
    ------
    DeclarationError
        A setting does not hold.

    Examples
    --------
    >>> with mock_llm(output_tokens="3") as mock:
    ...     mock.stats()["requests"]
    0
    """
    parsed = parse_settings(settings)
    with in_process(parsed, port) if process else in_thread(parsed, port) as mock:
        yield mock


def _plain(settings: MockSettings) -> dict[str, Any]:
    """Settings as a file has them; paths are absolute, since the file is elsewhere."""
    data = settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for name in ("fit", "answers"):
        path = getattr(settings, name)
        if isinstance(path, Path):
            data[name] = str(path.absolute())
    return data
