"""A model as a handler sees it: `await ctx.llm.chat(...)`, under the request's deadline and on its account."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Literal, NoReturn, TypeVar, cast, overload

import msgspec

from headrace.core.errors import BadReply, ModelError, ModelRefused, StreamBroken
from headrace.core.events import ModelCall
from headrace.core.finite import misread
from headrace.models.action import Reason
from headrace.models.call import Priority, Usage
from headrace.models.dialects.sse import Splitter, parse
from headrace.models.failure import Failure
from headrace.models.local.values import known
from headrace.models.reply import Caller, Reply
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.pipeline.ports import Shadowing
from headrace.pipeline.running import Run
from headrace.pipeline.stages import MODEL
from headrace.pipeline.typed import Typed, typed

T = TypeVar("T")
Message = Mapping[str, Any]
Messages = str | Sequence[Message]


def _unasked(error: ModelRefused) -> bool:
    """Whether no upstream takes such a request at all, so that none was asked."""
    return error.failure == Failure.BAD_REQUEST and not error.status and not error.body


_NO_ROOM = frozenset({Reason.OVER_BUDGET, Reason.SET_ASIDE})


class ShadowSkipped(ModelError):
    """There was no room for a call whose answer nobody waits for."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The answer of a chat.

    Attributes
    ----------
    text
        Of the first choice; empty where the model calls tools instead.
    tool_calls
        As the provider gives them.
    finish
        Why it ended: "stop", "length", "tool_calls", ...
    usage, cost
        None where nobody says.
    document
        All of the answer.
    """

    text: str
    finish: str
    upstream: str
    model: str
    usage: Usage | None = None
    cost: Decimal | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    document: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def __str__(self) -> str:
        return self.text


class Model:
    """One declared model within one request.

    Every method raises `ModelRefused` where no upstream answers, `StreamBroken` where an answer breaks off, and
    `BadReply` where it is not what was asked for. Left alone, they lead to the endpoint's fallback.
    """

    __slots__ = ("_caller", "_run", "name")

    def __init__(self, name: str, caller: Caller, run: Run) -> None:
        self.name = name
        self._caller = caller
        self._run = run

    @overload
    async def chat(
        self, messages: Messages, *, response: type[T], reask: int | None = None, stream: Literal[False] = False,
        **options: Any,
    ) -> T: ...  # fmt: skip
    @overload
    async def chat(
        self, messages: Messages, *, response: None = None, stream: Literal[True], **options: Any
    ) -> TextStream: ...  # fmt: skip
    @overload
    async def chat(self, messages: Messages, *, stream: Literal[False] = False, **options: Any) -> ChatReply: ...

    async def chat(
        self,
        messages: Messages,
        *,
        response: Any = None,
        stream: bool = False,
        reask: int | None = None,
        **options: Any,
    ) -> Any:
        """Ask the model.

        Parameters
        ----------
        messages
            A text, or messages as OpenAI has them: `[{"role": "user", "content": "..."}]`.
        response
            A type that the answer must fit: its JSON schema is sent along (as `response_format`, or in words where no
            upstream takes that, as Anthropic's do not), and the answer comes back as a value.
        stream
            Return the pieces of the text as they come; without `response`.
        reask
            How often to ask once more, saying what was wrong, when the answer does not fit `response` and as much time
            is left as the first took; as the endpoint says (once) if not given.
        **options
            Whatever else the provider takes: `temperature`, `max_tokens`, `tools`, `tool_choice`, ...

        Raises
        ------
        ModelError
        TypeError
            What is given are no messages, or a stream is to be a value.
        """
        document: dict[str, Any] = {"model": self.name, "messages": _messages(messages)}
        document.update((name, value) for name, value in options.items() if value is not None)
        if stream and response is not None:
            raise TypeError(
                "response= and stream=True do not go together: a value is there when all of its text is; leave one out "
                "(response_format= is sent along with a stream as well)"
            )
        if stream:
            return await self._stream(document)
        if response is None:
            return await self._whole(document)
        wanted = typed(response)
        document.setdefault("response_format", wanted.format)
        return await self._typed(document, wanted, self._run.reask if reask is None else reask)

    async def embed(self, texts: str | Sequence[str], **options: Any) -> list[list[float]]:
        """One vector per text, in their order."""
        many = [texts] if isinstance(texts, str) else list(texts)
        document: dict[str, Any] = {"model": self.name, "input": many, **options}
        answer, _ = await self._call(Dialect.EMBEDDINGS, document)
        try:
            rows = sorted(answer["data"], key=lambda row: row.get("index", 0))
            vectors = [list(map(float, row["embedding"])) for row in rows]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._unreadable(answer, "embeddings") from None
        if len(vectors) != len(many):
            raise BadReply(f"the model {self.name!r} gave {len(vectors)} vectors for {len(many)} texts")
        return vectors

    @overload
    async def json(self, document: Any, *, response: type[T]) -> T: ...
    @overload
    async def json(self, document: Any) -> Any: ...

    async def json(self, document: Any, *, response: Any = None) -> Any:
        """Any JSON in, any JSON out: for models of one's own (`models.Http`, `models.Local`).

        Arrays of numpy and the like, and Pydantic models, are sent as their JSON.
        """
        answer, _ = await self._call(Dialect.JSON, document)
        return answer if response is None else typed(response).parse(msgspec.json.encode(answer).decode())

    # Asking ----------------------------------------------------------------------------------------------------------

    async def _typed(self, document: dict[str, Any], wanted: Typed, reask: int) -> Any:
        while True:
            began = self._now()
            try:
                reply = await self._whole(document)
            except ModelRefused as error:
                if not _unasked(error) or "response_format" not in document:
                    raise
                self._run.calls.pop()  # nobody was asked
                document = wanted.in_words(document)
                continue
            if reply.finish == "length":
                raise BadReply(
                    f"the answer of the model {self.name!r} was cut off at its most tokens",
                    text=reply.text,
                    hint="raise max_tokens",
                )
            try:
                return wanted.parse(reply.text)
            except BadReply as error:
                if reask <= 0 or self._run.remaining < self._now() - began:
                    raise
                reask -= 1
                document = {**document, "messages": [*document["messages"], *_again(reply.text, error)]}

    async def _whole(self, document: dict[str, Any]) -> ChatReply:
        answer, reply = await self._call(Dialect.CHAT, document)
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            if message.get("refusal"):
                raise BadReply(f"the model {self.name!r} refuses to answer", text=str(message["refusal"]))
            return ChatReply(
                text=message.get("content") or "",
                finish=choice.get("finish_reason") or "",
                upstream=reply.upstream,
                model=reply.model,
                usage=reply.usage,
                cost=reply.cost,
                tool_calls=message.get("tool_calls") or [],
                document=answer,
            )
        except (KeyError, IndexError, TypeError, AttributeError):
            raise self._unreadable(answer, "a chat completion") from None

    async def _stream(self, document: dict[str, Any]) -> TextStream:
        run, began = self._run, self._now()
        run.stages.enter(MODEL, began)
        try:
            reply = await self._send(Dialect.CHAT, document | {"stream": True}, stream=True)
        except ModelError as error:
            self._note(None, began, type(error).__name__)
            raise
        finally:
            run.stages.leave(MODEL, self._now())
        stream = TextStream(reply, partial(self._note, reply, began), run)
        run.streams.append(stream)
        return stream

    async def _call(self, dialect: Dialect, document: Any) -> tuple[Any, Reply]:
        """Send and read a whole answer."""
        run, began = self._run, self._now()
        run.stages.enter(MODEL, began)
        reply: Reply | None = None
        try:
            reply = await self._send(dialect, document, stream=False)
            answer = msgspec.json.decode(await reply.read())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._note(reply, began, "BadReply")
            raise BadReply(f"the answer of the model {self.name!r} is not JSON: {error}") from None
        except ModelError as error:
            self._note(reply, began, type(error).__name__)
            raise
        finally:
            run.stages.leave(MODEL, self._now())
        self._note(reply, began, "")
        return answer, reply

    async def _send(self, dialect: Dialect, document: Any, *, stream: bool) -> Reply:
        run, caller = self._run, self._caller
        if run.shadow and isinstance(caller, Shadowing) and not caller.may_shadow():
            raise ShadowSkipped("the resilience budget has no room for a shadow now")
        body = msgspec.json.encode(document, enc_hook=known)
        where = misread(document, body)
        if where is not None:
            raise ValueError(f"what is sent to the model {self.name!r} holds NaN or an infinity at {where or '/'}")
        run.number += 1
        request = ModelRequest(
            dialect=dialect,
            body=body,
            document=cast("Mapping[str, Any]", document),
            stream=stream,
            prompt_tokens=0,
            max_output_tokens=_most(document),
            answers=_answers(document),
        )
        ask = run.ask
        terms = Terms(
            id=f"{ask.id}.{run.key}.{run.number}",
            deadline=run.deadline,
            last=run.end if stream else 0.0,
            tenant=ask.tenant,
            session=ask.session,
            key=run.account,
            priority=Priority.SHEDDABLE if run.shadow else ask.priority,
        )
        try:
            reply = await caller.send(request, terms)
        except ModelRefused as error:
            if run.shadow and error.reason in _NO_ROOM:
                raise ShadowSkipped("the budget of the endpoint has no room for a shadow now") from error
            raise
        if reply.status >= 400:
            await self._refused(reply)
        return reply

    async def _refused(self, reply: Reply) -> NoReturn:
        body = await reply.read()
        raise ModelRefused(
            f"the model {self.name!r} answered {reply.status}: {body[:200].decode(errors='replace')}",
            reason="failed",
            status=reply.status,
            body=body,
        )

    def _note(self, reply: Reply | None, began: float, failed: str) -> None:
        usage = reply.usage if reply else None
        self._run.calls.append(
            ModelCall(
                model=self.name,
                upstream=reply.upstream if reply else "",
                seconds=self._now() - began,
                attempts=reply.attempts if reply else 0,
                prompt_tokens=usage.prompt_tokens if usage else None,
                output_tokens=usage.output_tokens if usage else None,
                cost=reply.cost if reply else None,
                failed=failed,
            )
        )

    def _now(self) -> float:
        return self._run.means.clock.monotonic()

    def _unreadable(self, answer: Any, what: str) -> BadReply:
        text = msgspec.json.encode(answer).decode()
        return BadReply(
            f"the answer of the model {self.name!r} is not {what}: {text[:100]}",
            text=text,
            hint="is it declared with the kind of its server?",
        )


class TextStream:
    """The text of an answer as it comes: an async iterator over its pieces.

    Attributes
    ----------
    text
        What has come so far.
    """

    def __init__(self, reply: Reply, note: Callable[[str], None], run: Run) -> None:
        self.text = ""
        self._reply = reply
        self._note = note
        self._run = run
        self._splitter = Splitter()
        self._ready: list[str] = []
        self._ended = False
        self._done = False

    def __aiter__(self) -> TextStream:
        return self

    async def __anext__(self) -> str:
        """The next piece. Raises `StreamBroken` where the answer breaks off."""
        while not self._ready:
            if self._done:
                raise StopAsyncIteration
            await self._more()
        piece = self._ready.pop(0)
        self.text += piece
        return piece

    async def aclose(self) -> None:
        """Let go: the call is cancelled at its upstream."""
        if not self._done:
            self._finish("closed")
            await self._reply.aclose()

    async def _more(self) -> None:
        stages, clock = self._run.stages, self._run.means.clock
        stages.enter(MODEL, clock.monotonic())
        try:
            piece = await anext(self._reply, None)
        except ModelError as error:
            self._finish(type(error).__name__)
            raise
        finally:
            stages.leave(MODEL, clock.monotonic())
        if piece is not None:
            for event in self._splitter.feed(piece):
                self._take(event)
            return
        if self._splitter.rest:
            # A carriage return was the last byte: it might have been half of a line break.
            for event in self._splitter.feed(b"\n"):
                self._take(event)
        self._finish("" if self._ended else "StreamBroken")
        if not self._ended:
            raise StreamBroken("the answer of the model ended without its end mark", received=len(self.text))

    def _take(self, event: bytes) -> None:
        _, data = parse(event)
        if not data:
            return
        if data == b"[DONE]":
            self._ended = True
            return
        try:
            for choice in msgspec.json.decode(data).get("choices") or ():
                self._ended = self._ended or bool(choice.get("finish_reason"))
                delta: dict[str, Any] = choice.get("delta") or {}
                if text := delta.get("content"):
                    self._ready.append(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError, TypeError):
            raise BadReply(
                "an event of the model's stream is no chunk of a chat", text=data.decode(errors="replace")
            ) from None

    def _finish(self, failed: str) -> None:
        if not self._done:
            self._done = True
            self._note(failed)


def _most(document: Any) -> int | None:
    """The most tokens of all answers together, if the request says so."""
    found = [_number(document, name) for name in ("max_completion_tokens", "max_tokens")]
    most = max((number for number in found if number is not None), default=None)
    return None if most is None else most * _answers(document)


def _answers(document: Any) -> int:
    """How many answers the request wants."""
    return max(_number(document, "n") or 1, 1)


def _number(document: Any, name: str) -> int | None:
    value = cast("dict[str, Any]", document).get(name) if isinstance(document, dict) else None
    return value if isinstance(value, int) else None


def _messages(given: Any) -> list[Any]:
    """Messages as they are sent."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    many = list(cast("Sequence[Any]", given)) if isinstance(given, Sequence) else None
    if many is None or any(one is None or isinstance(one, str | bytes | int | float) for one in many):
        raise TypeError(
            f"{given!r:.80} are no messages for a model: "
            'give a text, or a list as [{"role": "user", "content": "..."}]'
        )
    return many


def _again(text: str, error: BadReply) -> list[Message]:
    return [
        {"role": "assistant", "content": text},
        {"role": "user", "content": f"{error.message}. Answer again, with the corrected JSON only."},
    ]
