"""A local model as one more place where a model can be called: what the user declares, and its carrier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import msgspec

from headrace.core.durations import Duration
from headrace.core.errors import DeclarationError
from headrace.models.failure import Failure
from headrace.models.local.bodies import embeddings, json_answer, json_input, texts
from headrace.models.local.failure import LocalFailure
from headrace.models.local.loading import Loader
from headrace.models.local.pool import LocalPool
from headrace.models.local.settings import LocalSettings
from headrace.models.provider import Failed, Incoming, Opening, Provider, Unfit, Whole
from headrace.models.request import Dialect, ModelRequest

_DIALECTS = {"json": Dialect.JSON, "embeddings": Dialect.EMBEDDINGS}


class Local(Provider):
    """A Python model in worker processes of its own: scikit-learn, ONNX, torch, any callable.

    Inputs that come while a batch runs wait, and are the next batch; its size is kept so that a batch takes no longer
    than the budget. One bad input fails alone. A worker that dies or hangs fails its batch, and is started again.
    Values are JSON both ways; arrays of numpy and torch become lists. Nothing is pickled.

    Parameters
    ----------
    load
        Called once in each worker process, without arguments; returns the model. A function at the top level of a file
        (which each worker imports by itself), or `"package.module:function"`.
    batch
        Whether the model takes a list of inputs and returns a list of as many outputs (or an array, whose rows are
        they); else it takes one input and returns one output.
    workers
        Processes; each loads the model.
    max_batch
        Most inputs in a batch.
    max_wait
        How long a free worker waits for more inputs to come. None by default: waiting pays only under load, and then
        there is something to take anyway.
    budget
        How long a batch should take at most; its size follows from how long batches took.
    name
        Unique among the upstreams of a model; where it is loaded if not given.
    model
        The model's name, for prices; None: the name of the declared model.
    tier
        As in `Provider`.
    dialect
        "json": any JSON in and out; "embeddings": OpenAI's requests, where the model gives a vector for a text.
    threads
        How many threads the libraries of a worker may use (`OMP_NUM_THREADS` and its kin); a fair share of the cores if
        not given.
    memory
        Most memory of a worker, bytes or "2GiB"; allocations beyond it fail. Linux only; no limit if not given.
    queue
        Most inputs that wait; more are refused as overloaded.
    limit
        After how long a batch is taken to hang, and its worker is killed.
    load_within
        How long loading the model may take.

    Raises
    ------
    DeclarationError
        A value cannot be, or `load` cannot be found by its name in another process.

    Examples
    --------
    >>> Local("fraud.model:load", workers=2, budget="20ms")
    <Local fraud.model:load: fraud.model:load in 2 processes>
    """

    kind: ClassVar[str] = "local"

    def __init__(
        self,
        load: Callable[[], Any] | str,
        *,
        batch: bool = True,
        workers: int = 1,
        max_batch: int = 64,
        max_wait: Duration = 0,
        budget: Duration = "50ms",
        name: str | None = None,
        model: str | None = None,
        tier: int = 0,
        dialect: Literal["json", "embeddings"] = "json",
        threads: int | None = None,
        memory: int | str = 0,
        queue: int = 1000,
        limit: Duration = "30s",
        load_within: Duration = "5m",
    ) -> None:
        self.loader = Loader.of(load)
        self.settings = LocalSettings.of(
            batch=batch,
            workers=workers,
            max_batch=max_batch,
            max_wait=max_wait,
            budget=budget,
            queue=queue,
            limit=limit,
            load_within=load_within,
            threads=threads,
            memory=memory,
        )
        if dialect not in _DIALECTS:
            raise DeclarationError(
                f"a local model cannot speak {dialect!r:.40}", hint=f"it can speak {' and '.join(_DIALECTS)}"
            )
        self.dialect = _DIALECTS[dialect]
        super().__init__(name if name is not None else str(self.loader), model=model, tier=tier, local=True)

    def describe(self) -> str:
        """One line."""
        workers = self.settings.workers
        return f"{self.loader} in {workers} process{'es' if workers > 1 else ''}"

    async def open(self, opening: Opening) -> LocalCarrier:
        """Start the workers, and wait until each has loaded the model.

        Raises
        ------
        DeclarationError
            One could not: with the line of the user's code.
        """
        pool = LocalPool(self.name, self.loader, self.settings, clock=opening.clock)
        await pool.start()
        return LocalCarrier(pool, self.dialect)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[LocalPool]:
        """The model by itself, without router or policies: `async with local.run() as model: await model.call(value)`.

        Raises
        ------
        DeclarationError
            It could not be loaded: with the line of the user's code.
        """
        pool = LocalPool(self.name, self.loader, self.settings)
        await pool.start()
        try:
            yield pool
        finally:
            await pool.aclose()


class LocalCarrier:
    """A local model that runs, as the router's shell calls it."""

    def __init__(self, pool: LocalPool, dialect: Dialect) -> None:
        self.pool = pool
        self.dialect = dialect
        self.takes = frozenset({(dialect, False)})

    def refuses(self, request: ModelRequest) -> str:
        """Why it cannot take such a request; empty when it can."""
        if request.dialect is not self.dialect:
            return f"{self.pool.name} speaks {self.dialect.value}, not {request.dialect.value}"
        return f"{self.pool.name} has no streams" if request.stream else ""

    async def begin(self, request: ModelRequest, until: float) -> Incoming:
        """Have it answered. Cancelled, its inputs leave the queue; what a worker has begun cannot be stopped.

        What cannot be answered until then is taken out of the queue unanswered: it costs no worker anything.
        """
        try:
            if self.dialect is Dialect.EMBEDDINGS:
                body, usage = embeddings(
                    request, await self._each(texts(request.document), until), self._model(request)
                )
                return Whole(body, usage=usage)
            return Whole(json_answer(request, await self.pool.run(json_input(request), deadline=until)))
        except LocalFailure as error:
            raise _failed(error) from error

    async def aclose(self) -> None:
        """End the workers."""
        await self.pool.aclose()

    async def _each(self, inputs: list[bytes], until: float) -> list[bytes]:
        """The outputs of several inputs, in their order; with the first that fails, the others are let go.

        No more than a batch for each worker waits at a time: a large request neither fills the queue nor holds up the
        small ones behind it.
        """
        settings = self.pool.settings
        share = min(settings.max_batch * settings.workers, max(settings.queue // 2, 1))
        outputs: list[bytes] = []
        for first in range(0, len(inputs), share):
            tasks = [
                asyncio.ensure_future(self.pool.run(data, deadline=until)) for data in inputs[first : first + share]
            ]
            try:
                outputs += await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        return outputs

    def _model(self, request: ModelRequest) -> str:
        named = request.document.get("model")
        return named if isinstance(named, str) else self.pool.name


def _failed(error: LocalFailure) -> Failed:
    """What whoever asked is told: of a bad input, what the model said about it; of anything else, nothing of ours."""
    if error.failure is not Failure.BAD_REQUEST:
        return Failed(error.failure, error.message)
    said = {"error": {"message": error.message, "type": "invalid_request_error", "param": "input", "code": None}}
    return Unfit(error.failure, error.message, status=400, body=msgspec.json.encode(said))
