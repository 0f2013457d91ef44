"""One endpoint, running: from an ask to an answer. Pure of HTTP; time is the clock's, randomness the user's name.

    1. choose the version, and which others run beside it unseen
    2. the answer cache
    3. the gate: a place, or a wait for one
    4. the handler, and what became of what it read (`handling`)
    5. where 3 or 4 fail for want of a model or of time: the fallbacks
    6. tell the recorder

All of it under one deadline; the fallbacks have a share of their own at its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

from headrace.context.readset import ReadSet
from headrace.core.errors import HeadraceError, ModelRefused, Overloaded, UnknownName
from headrace.core.events import Answered, NullRecorder, Recorder
from headrace.core.failurelog import FailureLog
from headrace.core.problems import to_problem
from headrace.pipeline.answer import Answer, Facts
from headrace.pipeline.ask import Ask
from headrace.pipeline.context import Context
from headrace.pipeline.counters import Counters
from headrace.pipeline.endpoint import Endpoint, Handler
from headrace.pipeline.fallbacks import Cached, Constant, Fallback, OtherModel, Rule
from headrace.pipeline.gate import Gate
from headrace.pipeline.good import Good, GoodAnswers
from headrace.pipeline.handling import RESCUED, Handling, Relax, Work
from headrace.pipeline.kept import KeptAnswers
from headrace.pipeline.model import ShadowSkipped
from headrace.pipeline.question import Questions
from headrace.pipeline.running import Means, Run
from headrace.pipeline.split import Route, Split
from headrace.pipeline.stages import MODEL
from headrace.pipeline.stale import Then
from headrace.pipeline.stream import Events, Told, close
from headrace.pipeline.until import Until, passed

log = logging.getLogger("headrace.pipeline")

GONE = 499
"""The status that is noted where the client went away."""
BROKEN = 500
"""The status of a request that a fault of ours ends."""
_MOST_SHADOWS = 64
_MOMENT = 0.02


class Runner:
    """Answers the requests of one endpoint.

    Parameters
    ----------
    means
        Context, models, clock.
    labels
        Per version, what answers say: its name and the hash of its content.
    recorder
        Told of each request's end.
    relax
        Takes away the changes that do not matter; see `tolerance`.

    Attributes
    ----------
    split
        Who gets which version; replaced when rows change.
    counters
        For `/metrics`.
    kept
        The answer cache, if it has one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        means: Means,
        *,
        labels: Mapping[str, str] | None = None,
        recorder: Recorder | None = None,
        counters: Counters | None = None,
        relax: Relax | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.split = Split(endpoint.path, routes(endpoint))
        self.gate = Gate(endpoint.bounds, means.clock)
        self.counters = counters or Counters()
        self._labels = labels or {}
        self._means = means
        self._clock = means.clock
        self._handling = Handling(endpoint, means, relax)
        self.kept = KeptAnswers(endpoint.cache, means.reads) if endpoint.cache else None
        self._recorder = recorder or NullRecorder()
        self._good = GoodAnswers() if any(isinstance(one, Cached) for one in endpoint.fallbacks) else None
        self._questions = Questions(endpoint.path)
        self._failures = FailureLog(log)
        self._shadows: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Cancel what runs beside requests."""
        for task in list(self._shadows):
            task.cancel()
        await asyncio.gather(*self._shadows, return_exceptions=True)

    async def run(self, ask: Ask) -> Answer:
        """The answer.

        Raises
        ------
        ModelError, DeadlinePassed, Overloaded
            No answer, and no fallback.
        AnswerStale, StaleContext, Unavailable
            What it stands on is not as it should be.
        UserCodeError
            The app's code failed; its traceback is in the log.
        """
        work = self._work(ask)
        try:
            answer = await self._serve(work)
        except asyncio.CancelledError:
            self._record(work, GONE)
            raise
        except HeadraceError as error:
            self._record(work, self._handling.unanswered(work, error)["status"])
            raise
        except Exception:  # a fault of ours, which whoever serves logs: it counts as what it is answered with
            self._record(work, BROKEN)
            raise
        if answer.events is None:
            self._record(work, 200)
        return answer

    # The way of a request --------------------------------------------------------------------------------------------

    def _work(self, ask: Ask) -> Work:
        now = self._clock.monotonic()
        end = now + self.endpoint.deadline
        if ask.deadline is not None:
            end = min(end, ask.deadline)
        reserve = min(self.endpoint.reserve, max(end - now, 0.0) / 2)
        who = ask.user or ask.session or ask.id
        name = self.split.choose(who) if ask.version is None else ask.version
        handler = self._handler(name)
        label = self._labels.get(name, name)
        if ask.version is None and self.split.mirrored:
            for shadow in self.split.shadows(who):
                self._shadow(ask, self._handler(shadow), end)
        return Work(ask, handler, label, now, end - reserve, end, Facts(label, ask.id))

    def _handler(self, name: str) -> Handler:
        try:
            return self.endpoint.versions[name]
        except KeyError:
            known = ", ".join(self.endpoint.versions)
            raise UnknownName(f"{self.endpoint.path} has no version {name!r:.80}", hint=f"it has: {known}") from None

    async def _serve(self, work: Work) -> Answer:
        try:
            async with Until(self._clock, work.deadline, work.stage):
                return self._known(work) or await self._admitted(work)
        except RESCUED as failure:
            return await self._fall_back(work, self._named(work, failure))

    def _known(self, work: Work) -> Answer | None:
        """A kept answer that holds now."""
        if self.kept is not None or self._good is not None:
            self._questions.take(work)
        return None if self.kept is None else self.kept.find(work, self._questions.of(work))

    async def _admitted(self, work: Work) -> Answer:
        await self.gate.enter(work.ask, work.deadline)
        entered = self._clock.monotonic()

        def leave(answered: bool) -> None:
            tokens = sum((c.prompt_tokens or 0) + (c.output_tokens or 0) for run in work.runs for c in run.calls)
            self.gate.leave(work.ask, self._clock.monotonic() - entered if answered else None, tokens or None)

        held = answered = False
        try:
            if not work.handler.shape.streams:
                answer = self._whole(work, await self._handling.answer(work))
                self._keep(work, answer.body, self._clock.monotonic() - entered)
                answered = True
                return answer
            answer = await self._stream(work, leave)
            held = True
            return answer
        finally:
            if not held:
                leave(answered)

    def _whole(self, work: Work, value: Any) -> Answer:
        body = self._handling.write(work.runs[-1], value)
        return Answer(work.settle(self._clock.monotonic()), body)

    def _keep(self, work: Work, body: bytes, seconds: float) -> None:
        """An answer was made: others may have it."""
        if self.kept is None and self._good is None:
            return
        question = self._questions.of(work) if self._questions.note(work) else None
        if self.kept is not None:
            self.kept.keep(work, question, body, seconds)
        if self._good is not None and question is not None and work.facts.stale != "changed":
            run = work.runs[-1]
            reads, ages = ReadSet(tuple(run.reads)), tuple(run.ages)
            self._good.keep(work.label, question, Good(body, reads, ages, work.began, self._clock.now()))

    async def _stream(self, work: Work, leave: Callable[[bool], None]) -> Answer:
        """Until the first item: before it is out, everything can still be done otherwise."""
        handling, clock, on_stale, tries = self._handling, self._clock, self.endpoint.on_stale, 0
        while True:
            run, began = handling.start(work), clock.monotonic()
            items, first = await self._begin(work, run)
            try:
                again = tries < on_stale.tries and run.remaining >= clock.monotonic() - began
                if self._goes_out(work, run, again):
                    break
            except BaseException:  # seen, and raised on, as in `_begin`
                await close(run, items)
                raise
            await close(run, items)
            tries += 1
            work.facts.retries += 1
        run.deadline = work.end  # nobody but this run can answer any more

        def end(status: int) -> None:
            leave(status == 200)
            work.settle(clock.monotonic())
            if not work.shadow:  # that is told by whoever runs it
                self._record(work, status)

        return Answer(work.facts, events=Events(handling, work, run, items, first, end))

    def _goes_out(self, work: Work, run: Run, again: bool) -> bool:
        """Whether a stream whose first item is there is sent: what was read holds, or changed and may be flagged.

        Raises
        ------
        AnswerStale
            It changed, cannot be made `again`, and is to be refused.
        """
        if not again and self.endpoint.on_stale.then is not Then.REFUSE:
            return True
        check = self._handling.check(run.reads)
        if check.changed and not again:
            self._handling.settle(work, check)
        return not check.changed

    async def _begin(self, work: Work, run: Run) -> tuple[AsyncIterator[Any], list[Any]]:
        """A handler's stream, and its first item if there is one."""
        items: AsyncIterator[Any] | None = None
        try:
            items = await self._handling.open(run, work)
            return items, [await self._handling.next(run, items)]
        except StopAsyncIteration:
            return cast("AsyncIterator[Any]", items), []
        except BaseException:  # seen, and raised on: what the handler waits for must be let go
            await close(run, items)
            raise

    # Fallbacks -------------------------------------------------------------------------------------------------------

    def _named(self, work: Work, failure: HeadraceError) -> HeadraceError:
        """A model's clock may ring a moment before the request's own: it is the same deadline."""
        theirs = isinstance(failure, ModelRefused) and failure.reason == "deadline"
        return passed(MODEL) if theirs and self._clock.monotonic() >= work.deadline - _MOMENT else failure

    async def _fall_back(self, work: Work, failure: HeadraceError) -> Answer:
        work.failure = failure
        work.deadline = work.end
        for fallback in self.endpoint.fallbacks:
            try:
                answer = await self._rescue(work, fallback)
            except HeadraceError as error:  # this one failed as well: the next may not
                self._handling.failed(work, error, fallback.name)
                continue
            if answer is not None:
                self._handling.rescued(work, failure, fallback.name)
                return answer
        raise failure

    async def _rescue(self, work: Work, fallback: Fallback) -> Answer | None:
        match fallback:
            case Cached():
                return self._cached(work, fallback)
            case Constant():  # in a run of its own, since it stands on nothing that was read
                body = self._handling.write(self._handling.start(work), fallback.value)
            case Rule():
                body = await self._rule(work, fallback)
            case OtherModel():
                return await self._other(work, fallback)
        work.facts.fallback = fallback.name
        return self._told(work, body)

    def _cached(self, work: Work, fallback: Cached) -> Answer | None:
        """The last good answer of this version, if what it was built on is still so, or may be said to have changed."""
        question = self._questions.of(work)
        good = None if self._good is None or question is None else self._good.find(work.label, question)
        if good is None:
            return None
        present = self._handling.again(good.readset)
        if present.changed and not self.endpoint.on_stale.flags:
            why = present.changed[0].reason
            log.info("request %s: the last good answer does not hold any more: %s", work.ask.id, why)
            return None
        self._handling.start(work).ages[:] = good.read_ages(present, self._clock.monotonic())
        good.tell(work.facts, present)
        work.facts.fallback = fallback.name
        return self._told(work, good.body)

    async def _rule(self, work: Work, rule: Rule) -> bytes:
        run = self._handling.start(work)
        given = self._handling.given(work)
        arguments = (given, Context(run)) if rule.with_context else (given,)

        async def call() -> Any:
            result = rule.function(*arguments)
            return await result if hasattr(result, "__await__") else result

        run.stages.begin("fallback", self._clock.monotonic())
        try:
            async with Until(self._clock, work.end):
                return self._handling.write(run, self._handling.fit(run, await self._handling.call(run, call)))
        finally:
            await run.let_go()

    async def _other(self, work: Work, other: OtherModel) -> Answer | None:
        if isinstance(work.failure, Overloaded):
            return None  # another model does not make room here
        work.instead, work.facts.fallback = other.name, other.name
        try:
            async with Until(self._clock, work.end, work.stage):
                if work.handler.shape.streams:
                    return await self._stream(work, _nothing)
                return self._whole(work, await self._handling.answer(work))
        except HeadraceError:
            work.facts.fallback = ""
            work.facts.unsay()
            raise
        finally:
            work.instead = None

    def _told(self, work: Work, body: bytes) -> Answer:
        facts = work.settle(self._clock.monotonic())
        if not work.handler.shape.streams:
            return Answer(facts, body)
        self._record(work, 200)
        return Answer(facts, events=Told(body, facts))

    # Beside ----------------------------------------------------------------------------------------------------------

    def _shadow(self, ask: Ask, handler: Handler, end: float) -> None:
        if len(self._shadows) >= _MOST_SHADOWS:
            self.counters.shadow(self.endpoint.path, handler.name, "skipped")
            return
        now = self._clock.monotonic()
        label = self._labels.get(handler.name, handler.name)
        try:
            own = replace(ask, input=deepcopy(ask.input))  # what it does with its input must not touch the answer
        except Exception as error:  # the boundary to user code: the input's type is the app's, and may refuse it
            why = f"its input cannot be copied for the shadow {label} ({type(error).__name__}: {error})"
            self._failures.tell(now, ask.id, self.endpoint.path, "shadow", why)
            self.counters.shadow(self.endpoint.path, handler.name, "failed")
            return
        work = Work(own, handler, label, now, end, end, Facts(label, ask.id), shadow=True)
        task = asyncio.get_running_loop().create_task(self._beside(work))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _beside(self, work: Work) -> None:
        try:
            async with Until(self._clock, work.end):
                await self._unseen(work)
            outcome, status = "answered", 200
        except ShadowSkipped:
            self.counters.shadow(self.endpoint.path, work.handler.name, "skipped")
            return
        except HeadraceError as error:
            outcome, status = "failed", to_problem(error)["status"]
        except Exception as error:  # a fault of ours, and nobody waits for this task
            log.exception("request %s: the shadow %s broke: %s", work.ask.id, work.label, error)
            outcome, status = "failed", BROKEN
        self.counters.shadow(self.endpoint.path, work.handler.name, outcome)
        self._record(work, status)

    async def _unseen(self, work: Work) -> None:
        if not work.handler.shape.streams:
            self._whole(work, await self._handling.answer(work))
            return
        answer = await self._stream(work, _nothing)
        if answer.events is not None:
            async for _ in answer.events.items():
                pass

    def _record(self, work: Work, status: int) -> None:
        now = self._clock.monotonic()
        facts = work.settle(now)
        event = Answered(
            endpoint=self.endpoint.path,
            version=work.label,
            request=work.ask.id,
            status=status,
            seconds=now - work.began,
            stages=facts.stages,
            reads=tuple(facts.reads),
            models=tuple(facts.models),
            fallback=facts.fallback,
            cache=facts.cache,
            stale=facts.stale,
            retries=facts.retries,
            shadow=work.shadow,
        )
        self.counters.answered(event)
        self._recorder.record(event)


def routes(endpoint: Endpoint) -> list[Route]:
    """What is declared: who gets which version while no rows say otherwise."""
    return [Route(handler.name, handler.weight, handler.shadow) for handler in endpoint.versions.values()]


def _nothing(_: bool) -> None:
    """A stream that holds no place."""
