"""Models in worker processes; each test here runs twice: on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headrace.models.local.loading import Loader
from headrace.models.local.pool import LocalPool
from headrace.models.local.settings import LocalSettings

sys.path.insert(0, str(Path(__file__).parent))
import local_models
from local_pools import CLOCK, Start, alive


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts pools, and closes them at the end."""
    pools: list[LocalPool] = []

    async def begin(load: str = "load", **settings: Any) -> LocalPool:
        loader = Loader.of(getattr(local_models, load))
        pools.append(LocalPool("m", loader, LocalSettings.of(**settings), clock=CLOCK))
        await pools[-1].start()
        return pools[-1]

    yield begin
    for pool in pools:
        pids = pool.pids
        await pool.aclose()
        assert not any(map(alive, pids)), "a worker was left behind"
