"""The models of an app, running: their upstreams opened, their routers in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType

from headrace.core.clock import SECOND, Clock
from headrace.core.errors import DeclarationError
from headrace.core.events import Recorder
from headrace.http1.client import Client
from headrace.models.billing import Billing
from headrace.models.declared import DeclaredModel
from headrace.models.provider import Carrier, Opening, Provider
from headrace.models.reply import Caller
from headrace.models.routed import RoutedModel
from headrace.models.router import Router
from headrace.models.spending import Spending


class Models(Mapping[str, Caller]):
    """All models of an app by name; an async context manager, inside of which they can be called.

    An upstream that several models use is opened once; what is learnt of it (limits, latency, health) each model learns
    for itself.

    Parameters
    ----------
    declared
        By name, as `Declaration.models` has them.
    client
        Carries the HTTP of all upstreams; not closed here.
    clock, random
        As everywhere.
    environment
        Where keys are found.
    recorder
        Hears of every call.
    spending
        Budgets of keys, shared by all models; without them, nobody has a limit.

    Raises
    ------
    DeclarationError
        On entering: an upstream cannot be opened, because the variable of its key is not set, say.
    """

    def __init__(
        self,
        declared: Mapping[str, DeclaredModel],
        *,
        client: Client,
        clock: Clock,
        random: Random,
        environment: Mapping[str, str],
        recorder: Recorder | None = None,
        spending: Spending | None = None,
    ) -> None:
        self._declared = dict(declared)
        self._opening = Opening(client, clock, random, environment)
        self._recorder = recorder
        self._spending = Spending({}) if spending is None else spending
        self._running: dict[str, RoutedModel] = {}
        self._carriers: dict[Provider, Carrier] = {}
        self._stack = AsyncExitStack()

    def __getitem__(self, name: str) -> RoutedModel:
        return self._running[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._running)

    def __len__(self) -> int:
        return len(self._running)

    async def __aenter__(self) -> Models:
        async with AsyncExitStack() as stack:
            await self._open(stack)
            for name, model in self._declared.items():
                running = self._running[name] = self._run(model)
                stack.push_async_callback(running.aclose)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.clear()
        self._carriers.clear()
        await self._stack.aclose()

    @property
    def carriers(self) -> Mapping[Provider, Carrier]:
        """What runs, by what was declared."""
        return self._carriers

    async def _open(self, stack: AsyncExitStack) -> None:
        carriers = self._carriers
        for model in self._declared.values():
            for provider in model.upstreams:
                if provider not in carriers:
                    carriers[provider] = await self._opened(provider, model)
                    stack.push_async_callback(carriers[provider].aclose)

    async def _opened(self, provider: Provider, model: DeclaredModel) -> Carrier:
        try:
            return await provider.open(self._opening)
        except DeclarationError as error:
            error.where = error.where or model.where
            raise

    def _run(self, model: DeclaredModel) -> RoutedModel:
        opening = self._opening
        epoch = opening.clock.now() / SECOND - opening.clock.monotonic()
        named = model.named()
        router = Router(
            [spec for spec, _ in named.values()],
            model.policies,
            Random(opening.random.getrandbits(64)),
            billing=Billing(model.all_prices(), self._spending, epoch=epoch),
        )
        return RoutedModel(
            model.name,
            router,
            {name: self._carriers[provider] for name, (_, provider) in named.items()},
            clock=opening.clock,
            deadline=model.deadline,
            recorder=self._recorder,
        )
