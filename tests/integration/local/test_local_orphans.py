"""Worker processes never outlive the process that started them, however it ends and whatever they do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_pools import alive, until

APP = """
import asyncio
import ctypes
import sys

from headrace.models.local.loading import Loader
from headrace.models.local.pool import LocalPool
from headrace.models.local.settings import LocalSettings


def load():
    def model(batch):
        if batch == ["hang"]:
            ctypes.PyDLL(None).sleep(600)  # with the interpreter's lock: no other thread runs
        return [__name__ for _ in batch]

    return model


async def main():
    pool = LocalPool("m", Loader.of(load), LocalSettings(workers=2))
    await pool.start()
    hanging = asyncio.create_task(pool.call("hang"))
    while not pool.counters.batches:
        await asyncio.sleep(0.01)
    print(await pool.call(1), *pool.pids, flush=True)
    await hanging


if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program with two workers, of which one hangs; its file is run, so the workers read it as another module."""
    file = tmp_path / "its_app.py"
    file.write_text(APP)
    process = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_no_worker_is_left_when_the_program_is_killed(app: subprocess.Popen[str], number: signal.Signals) -> None:
    assert app.stdout is not None
    name, *pids = (await asyncio.to_thread(app.stdout.readline)).split()
    assert name == "its_app"
    assert len(pids) == 2
    assert all(alive(int(pid)) for pid in pids)
    os.kill(app.pid, number)
    await until(lambda: not any(alive(int(pid)) for pid in pids))
    await asyncio.to_thread(app.wait, 10)
