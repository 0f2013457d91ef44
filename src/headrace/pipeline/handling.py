"""Running a handler inside one error boundary, and checking what its answer was built on before it goes out."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pydantic import ValidationError

from headrace.context.readset import Changed, Present, Read, ReadSet, Validity
from headrace.core.errors import (
    AnswerStale,
    BadInput,
    DeadlinePassed,
    EndpointError,
    HeadraceError,
    ModelError,
    ModelRefused,
    Overloaded,
    StaleContext,
    Unavailable,
    UserCodeError,
)
from headrace.core.failurelog import FailureLog
from headrace.core.finite import misread
from headrace.core.problems import PREFIX, to_problem
from headrace.pipeline.answer import Facts
from headrace.pipeline.ask import Ask
from headrace.pipeline.context import Context
from headrace.pipeline.endpoint import Endpoint, Handler
from headrace.pipeline.fallbacks import OtherModel, Rule
from headrace.pipeline.model import ChatReply
from headrace.pipeline.running import Means, Run
from headrace.pipeline.shape import named
from headrace.pipeline.stages import Stages
from headrace.pipeline.stale import Then
from headrace.pipeline.strict import settle

log = logging.getLogger("headrace.pipeline")

Relax = Callable[[Validity], Validity]

_MARGIN = 0.005
"""Seconds before the deadline at which a strict answer stops waiting, so that it can still say why."""

OURS = (ModelError, EndpointError, StaleContext, Unavailable)
"""What a handler may let pass: everything else that leaves it is a fault of its code."""
RESCUED = (ModelError, DeadlinePassed, Overloaded)
"""What a fallback answers for."""


@dataclass(slots=True)
class Work:
    """One request on its way.

    Attributes
    ----------
    label
        The version as the answer says it.
    began
        When it came (seconds, monotonic).
    deadline
        Until when its main path may take.
    end
        Until when its caller waits.
    asked
        The hash of its input as it came; None where nobody needs it, or where it cannot be compared.
    spare
        A copy of its input that no code of the app has had; empty until a run begins, and where no second one may.
    """

    ask: Ask
    handler: Handler
    label: str
    began: float
    deadline: float
    end: float
    facts: Facts
    asked: str | None = None
    spare: list[Any] = field(default_factory=list[Any])
    runs: list[Run] = field(default_factory=list[Run])
    instead: str | None = None
    failure: HeadraceError | None = None
    shadow: bool = False

    def stage(self) -> str:
        """Where it is now."""
        return self.runs[-1].stages.last if self.runs else "queue"

    def settle(self, now: float) -> Facts:
        """The facts with what all runs did."""
        facts = self.facts
        facts.stages, facts.models = {}, []
        for run in self.runs:
            for name, seconds in run.stages.end(now).items():
                facts.stages[name] = facts.stages.get(name, 0.0) + seconds
            facts.models.extend(run.calls)
        if self.runs:
            facts.reads = self.runs[-1].ages
        facts.seconds = now - self.began
        return facts


@dataclass(frozen=True, slots=True)
class Check:
    """What became of a read set: the reads that no longer hold, and as of when the others are known to."""

    changed: list[Changed]
    as_of: int | None


class Handling:
    """Runs the handlers of one endpoint.

    Parameters
    ----------
    relax
        Takes away the changes that do not matter.
    """

    def __init__(self, endpoint: Endpoint, means: Means, relax: Relax | None = None) -> None:
        self.endpoint = endpoint
        self.means = means
        self._relax = relax
        self._failures = FailureLog(log)
        self._again = (endpoint.on_stale.tries > 0 and endpoint.on_stale.fix is None) or any(
            isinstance(one, Rule | OtherModel) for one in endpoint.fallbacks
        )
        self._uncopied = False

    def unanswered(self, work: Work, error: HeadraceError) -> dict[str, Any]:
        """The problem of a request that gets no answer; where a model or the time failed it, the log has its id."""
        problem = to_problem(error, request=work.ask.id)
        if isinstance(error, ModelError | DeadlinePassed) and not work.shadow:  # that is counted: nobody waited for it
            why, kind = f"version {work.label} gives no answer: {error.message}", problem["type"].removeprefix(PREFIX)
            self._warn(work, why, kind)
            error.logged = True
        return problem

    def rescued(self, work: Work, failure: HeadraceError, fallback: str) -> None:
        """A fallback answers: the log says why, since a model that is never asked well would not show otherwise."""
        if isinstance(failure, ModelError | DeadlinePassed):
            kind = to_problem(failure)["type"].removeprefix(PREFIX)
            self._warn(
                work, f"version {work.label} gives no answer: {failure.message}", f"{kind}, {fallback!r} answers"
            )

    def failed(self, work: Work, error: HeadraceError, fallback: str) -> None:
        """A fallback gave no answer either."""
        self._warn(work, f"the fallback {fallback!r} failed: {error.message}", f"fallback {fallback!r}")

    def _warn(self, work: Work, why: str, kind: str) -> None:
        self._failures.tell(self.means.clock.monotonic(), work.ask.id, self.endpoint.path, kind, why)

    def start(self, work: Work) -> Run:
        """A fresh run."""
        endpoint = self.endpoint
        now = self.means.clock.monotonic()
        if work.runs:
            work.runs[-1].stages.close(now)
        run = Run(
            self.means,
            work.ask,
            endpoint.path,
            work.handler.name,
            work.deadline,
            work.end if work.handler.shape.streams else work.deadline,
            Stages(now),
            policy=endpoint.policy,
            reask=endpoint.reask,
            account=endpoint.shadow_account if work.shadow else endpoint.account,
            instead=work.instead,
            failure=work.failure,
            shadow=work.shadow,
        )
        work.runs.append(run)
        return run

    def given(self, work: Work) -> Any:
        """The input for a run that begins, as it came: what a run before did to its own is not seen.

        The first has the input itself. The copy for others is made before it runs, and only where there may be others:
        to read the body again instead would draw the defaults that are made anew (ids, times) a second time.
        """
        if work.spare:
            return self._copied(work, work.spare[0])
        if self._again:
            work.spare.append(self._copied(work, work.ask.input))
        return work.ask.input

    def _copied(self, work: Work, value: Any) -> Any:
        try:
            return deepcopy(value)
        # The boundary to user code: the input's type is the app's, and may refuse it. There is an answer all the same.
        except Exception as error:
            if not self._uncopied:
                self._uncopied = True
                why = f"{type(error).__name__}: {error}"
                log.warning("inputs of %s cannot be copied, so all tries share one: %s", self.endpoint.path, why)
            return value

    async def answer(self, work: Work) -> Any:
        """The checked answer of a handler that gives one: run, check, and whatever `on_stale` says.

        Raises
        ------
        ModelError, StaleContext, UserCodeError, AnswerStale
        """
        on_stale, clock, tries = self.endpoint.on_stale, self.means.clock, 0
        while True:
            run, began = self.start(work), clock.monotonic()
            try:
                value = self.fit(run, await self.call(run, work.handler.function, self.given(work), Context(run)))
            finally:
                await run.let_go()
            check = await self.validate(run.reads, run.deadline)
            while check.changed and on_stale.fix is not None and tries < on_stale.tries:
                tries += 1
                work.facts.retries += 1
                value, check = await self._repair(run, value, check)
            if not check.changed or tries >= on_stale.tries or run.remaining < clock.monotonic() - began:
                self.settle(work, check)
                return value
            tries += 1
            work.facts.retries += 1

    async def call(self, run: Run, function: Any, *arguments: Any) -> Any:
        """Code of the app, inside the boundary."""
        try:
            return await function(*arguments)
        # The boundary to user code: whatever it raises is told with its place, and its traceback is logged.
        except BaseException as error:
            seen = self._seen(run, error)
            if seen is error:
                raise
            raise seen from error

    async def open(self, run: Run, work: Work) -> AsyncIterator[Any]:
        """The stream of a handler that gives one, inside the boundary."""
        result = work.handler.function(self.given(work), Context(run))
        if not work.handler.shape.generator:
            result = await self.call(run, _given, result)
        try:
            return cast("AsyncIterator[Any]", aiter(result))
        except TypeError as error:
            raise self.blame(run, error, f"it answers {result!r:.80}, which is no stream") from error

    async def next(self, run: Run, items: AsyncIterator[Any]) -> Any:
        """The next item of a handler's stream, inside the boundary; `StopAsyncIteration` at its end."""
        try:
            item = await anext(items)
        except StopAsyncIteration:
            raise
        # The boundary to user code, as in `call`.
        except BaseException as error:
            seen = self._seen(run, error)
            if seen is error:
                raise
            raise seen from error
        return self.fit(run, item)

    def fit(self, run: Run, value: Any) -> Any:
        """The answer as the declared type. Raises `UserCodeError`."""
        shape = self.endpoint.shape
        try:
            return shape.gives.validate_python(value)
        except ValidationError as error:
            what = f"it answers {value!r:.80}, which is no {named(shape.answer_type)}{_perhaps(value)}"
            raise self.blame(run, error, what) from error

    def write(self, run: Run, value: Any) -> bytes:
        """The JSON of an answer that fits, inside the boundary. Raises `UserCodeError`."""
        try:
            body = self.endpoint.shape.gives.dump_json(value, by_alias=True)
            where = misread(value, body, self.endpoint.shape.answer_type)
        # The boundary to user code, as in `call`: `Any` may hold anything, and a serializer of the app's may raise it.
        except Exception as error:
            what = f"it answers {value!r:.80}, which cannot be written as JSON{_perhaps(value)}"
            raise self.blame(run, error, what) from error
        if where is not None:
            what = f"it answers NaN or an infinity at {where or '/'}, which JSON cannot hold"
            raise self.blame(run, ValueError(what), what)
        return body

    def _seen(self, run: Run, error: BaseException) -> BaseException:
        """What an exception that leaves a handler counts as. `asyncio.TaskGroup` raises a group: one of it is told."""
        if _not_its_own(error):
            return error
        ours = [_as_input(one) for one in _ours(error)]
        # One for which no fallback answers goes first: the request was wrong, say, and a model failed beside that.
        return next((one for one in ours if not isinstance(one, RESCUED)), ours[0]) if ours else self.blame(run, error)

    def blame(self, run: Run, error: BaseException, what: str = "") -> UserCodeError:
        """Log what the app's code raised, and say where."""
        stage = run.stages.last
        if run.failed is not None and run.failed[0] is error:
            stage = run.failed[1]
        place = f"{run.endpoint} version {run.version} failed in its stage {stage!r}"
        log.error("request %s: %s%s", run.ask.id, place, f": {what}" if what else "", exc_info=error)
        blamed = UserCodeError(
            f"{place}: {what or type(error).__name__}",
            endpoint=run.endpoint,
            stage=stage,
            version=run.version,
            request=run.ask.id,
            hint=f"look for request {run.ask.id} in the server's log",
        )
        blamed.logged = True
        return blamed

    def check(self, reads: list[Read]) -> Check:
        """Whether what was read still holds."""
        if not reads or not self.endpoint.on_stale.check:
            return Check([], None)
        validity = self._compare(ReadSet(tuple(reads)))
        return Check(validity.changed, validity.as_of)

    def _compare(self, readset: ReadSet) -> Validity:
        """What changed since these reads, and matters."""
        validity = self.means.reads.validate(readset)
        return self._relax(validity) if self._relax is not None and validity.changed else validity

    def again(self, readset: ReadSet) -> Present:
        """What became of an answer of before: its reads made now, and those of them that matter for it.

        Raises
        ------
        StaleContext
            The policy of a read refuses what is not fresh, and it is not fresh now.
        """
        present = self.means.reads.again(readset)
        if self._relax is None or not present.changed:
            return present
        return replace(present, changed=self._relax(Validity(present.changed, present.as_of)).changed)

    async def validate(self, reads: list[Read], deadline: float) -> Check:
        """The same at the end of a run; of a strict endpoint once its sources are complete up to now.

        Raises
        ------
        StaleContext
            They did not become so in time.
        """
        if not self.endpoint.strict or not reads:
            return self.check(reads)
        means, at = self.means, self.means.clock.now()
        readset, until = ReadSet(tuple(reads)), deadline - _MARGIN
        settled = await settle(means.reads, readset, compare=self._compare, at=at, deadline=until, clock=means.clock)
        validity = settled.validity
        if settled.lagging and not validity.changed:
            raise StaleContext(
                f"the answer of {self.endpoint.path} is {settled.why(at)}",
                hint="give the source an `expect`, or the request more time; or declare the endpoint without strict",
            )
        return Check(validity.changed, validity.as_of)

    def settle(self, work: Work, check: Check) -> None:
        """Write down what became of the read set.

        Raises
        ------
        AnswerStale
            It changed, and `on_stale` says to refuse.
        """
        facts, on_stale = work.facts, self.endpoint.on_stale
        if not on_stale.check or not work.runs[-1].reads:
            return
        facts.stale = "changed" if check.changed else "unchanged"
        facts.unchanged_as_of = None if check.changed else check.as_of
        facts.changed = sorted({changed.read.name for changed in check.changed})
        facts.stale_detail = [changed.reason for changed in check.changed]
        if check.changed and on_stale.then is Then.REFUSE:
            raise AnswerStale(
                f"what the answer was built on changed before it was returned: {facts.stale_detail[0]}",
                changed=facts.stale_detail,
                hint="ask again" + ("" if on_stale.tries else ", or declare the endpoint with on_stale='retry'"),
            )

    async def _repair(self, run: Run, value: Any, check: Check) -> tuple[Any, Check]:
        """The answer made right, and what became of what it is built on now.

        The repair is told what is there now instead of what was read, so that is what its answer is built on: it stays
        in the read set. Without it, an answer would be called unchanged, and kept, whatever became of those rows.
        """
        instead = {id(changed.read): changed.again or changed.read for changed in check.changed}
        run.reads[:] = [instead.get(id(read), read) for read in run.reads]
        repaired = await self.call(run, self.endpoint.on_stale.fix, value, check.changed, Context(run))
        return self.fit(run, repaired), await self.validate(run.reads, run.deadline)


def _ours(error: BaseException) -> list[HeadraceError]:
    """The errors in a group that holds nothing but what a handler may let pass; else none.

    >>> _ours(ExceptionGroup("", [ModelError("no"), ExceptionGroup("", [ModelError("no more")])]))
    [ModelError('no'), ModelError('no more')]
    >>> _ours(ExceptionGroup("", [ModelError("no"), KeyError("x")]))
    []
    """
    if isinstance(error, OURS):
        return [error]
    if not isinstance(error, BaseExceptionGroup):
        return []
    inner = [_ours(one) for one in cast("BaseExceptionGroup[BaseException]", error).exceptions]
    return [one for found in inner for one in found] if all(inner) else []


def _as_input(error: HeadraceError) -> HeadraceError:
    """The same, but where a model of the app's own says that the request is wrong: it is, and no fallback mends it."""
    if not isinstance(error, ModelRefused) or not error.unfit:
        return error
    problems = [{"pointer": "", "kind": "model", "message": error.unfit}]
    return BadInput(f"a model does not take what it is asked: {error.unfit}", problems=problems)


def _perhaps(value: Any) -> str:
    """What is probably wrong with an answer that is none."""
    if inspect.isawaitable(value):
        return "; perhaps an `await` is missing"
    return "; its text is `.text`" if isinstance(value, ChatReply) else ""


def _not_its_own(error: BaseException) -> bool:
    """Whether it comes from outside the app's code: the request is cancelled, or the process is to end.

    `sys.exit()` in a handler would end the server with all that it does; and where something that a handler waits for
    was cancelled, the request is not: its client is there. `GeneratorExit` is Python's own where it closes what no task
    runs any more.
    """
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        task = _task()
        return task is None or (isinstance(error, asyncio.CancelledError) and task.cancelling() > 0)
    return isinstance(error, KeyboardInterrupt)


def _task() -> asyncio.Task[Any] | None:
    """The task that runs now; None where no event loop runs, either."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def _given(result: Awaitable[Any]) -> Any:
    return await result
