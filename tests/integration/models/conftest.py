"""Upstreams that misbehave as they are told."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from model_servers import Upstream

Start = Callable[[Any], Awaitable[Upstream]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start upstreams; all of them are stopped at the end."""
    started: list[Upstream] = []

    async def one(behave: Any) -> Upstream:
        upstream = Upstream(behave)
        await upstream.server.start()
        started.append(upstream)
        return upstream

    yield one
    for upstream in started:
        await upstream.server.drain(0.05)
