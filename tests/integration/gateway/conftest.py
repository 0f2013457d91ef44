"""A gateway on a socket, over a running router, over a mock of a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headrace.core.clock import SystemClock
from headrace.core.errors import StreamBroken
from headrace.declaration.modelling import Modelling
from headrace.http1.client import Client
from headrace.http1.server import Server, log_failure
from headrace.models import Anthropic, OpenAI, Prices
from headrace.models.running import Models
from headrace.server.gateway import Gateway, Offer
from headrace.server.gateway.accounts import Accounts
from headrace.testing import Mock, mock_llm
from headrace.testing.ports import MemoryPorts

PRICES = 'models: {"*": {input: "1000", output: "1000"}}'


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    with mock_llm(tokens_per_second="200") as mock:
        yield mock


@pytest.fixture(autouse=True)
def _relaxed(mock: Mock) -> None:
    mock.relax()
    mock.clear()


class Serving:
    """What a test sees of it."""

    def __init__(self, url: str, ports: MemoryPorts, accounts: Accounts, gateway: Gateway) -> None:
        self.url = url
        self.base_url = url + "/v1"
        self.ports = ports
        self.accounts = accounts
        self.gateway = gateway


@pytest.fixture
async def serve(tmp_path: Path, mock: Mock) -> AsyncIterator[Callable[..., Any]]:
    """Start gateways; models are `llm` (OpenAI's dialects) and `claude` (Anthropic's)."""
    closers: list[Any] = []

    async def start(*, prices: str = PRICES, url: str = mock.url, api_keys: tuple[str, ...] = ()) -> Serving:
        accounts = Accounts(tmp_path)
        accounts.__enter__()
        declared = Modelling()
        table = Prices.parse(prices)
        declared.model("llm", OpenAI(url, model="mock-model", name="one"), prices=table, deadline="20s")
        declared.model("claude", Anthropic(url, model="mock-model", name="two"), prices=table, deadline="20s")
        client = Client()
        clock, random = SystemClock(), Random(1)
        models = Models(
            declared.models,
            client=client,
            clock=clock,
            random=random,
            environment={},
            spending=accounts.budgets,
        )
        await models.__aenter__()
        ports = MemoryPorts()
        gateway = Gateway(
            [Offer.of(one, models[name]) for name, one in declared.models.items()],
            ports,
            keyring=accounts.keyring,
            budgets=accounts.budgets,
            ledger=accounts.ledger,
            api_keys=api_keys,
            clock=clock,
            random=random,
        )

        def handle(request: Any) -> Any:
            handler = gateway.find(request)
            assert handler is not None
            return handler(request)

        def failed(error: Exception, request: Any) -> None:
            if not isinstance(error, StreamBroken):
                log_failure(error, request)

        server = Server(handle, failed=failed)
        await server.start()

        async def close() -> None:
            await server.drain(2)
            await models.__aexit__(None, None, None)
            await client.aclose()
            accounts.__exit__(None, None, None)

        closers.append(close)
        return Serving(f"http://127.0.0.1:{server.port}", ports, accounts, gateway)

    yield start
    for close in closers:
        await close()
