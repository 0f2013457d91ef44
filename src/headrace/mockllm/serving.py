"""The mock's server: from a request to its answer, at once where nothing has to be waited for.

1  read the request                      400, 401, 404
2  draw what it meets                    a failure by header, by force (`/mock/force`), or by share
3  rate limits                           429
4  a slot, or a place in the queue       429, 503 or 529
5  wait for the first token              first token + prompt / prefill
6  the answer                            whole, or piece by piece
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import zlib
from collections.abc import Callable
from typing import Any, cast

import msgspec

from headrace.core.clock import SECOND, Clock, SystemClock
from headrace.core.errors import DeclarationError, HeadraceError
from headrace.http1 import Request, Reset, Response, Server, ServerLimits
from headrace.http1.headers import Field
from headrace.mockllm.answering import Answerer, load_script
from headrace.mockllm.api import Api, Named, encode, openai_error
from headrace.mockllm.ask import Ask, BadAsk, Said
from headrace.mockllm.chat import Chat
from headrace.mockllm.embeddings import answer_embeddings
from headrace.mockllm.faults import STATUSES, Fault, Lottery, parse_fault
from headrace.mockllm.journal import Entry, Journal
from headrace.mockllm.messages import Messages
from headrace.mockllm.quota import Quota, retry_after
from headrace.mockllm.responses import Responses
from headrace.mockllm.settings import MockSettings
from headrace.mockllm.slots import Slots
from headrace.mockllm.streaming import MIDDLE, NOISE, Broken, Flow, Half
from headrace.models.simulation.distribution import Always, Distribution, parse_distribution
from headrace.models.simulation.fitting import fit, read_trace

_JSON: tuple[Field, ...] = ((b"content-type", b"application/json"),)
_EVENTS: tuple[Field, ...] = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
_LIMITS = ServerLimits(max_body=64 * 1024 * 1024)
_REMEMBERED = 8 * 1024
_MOST_REMEMBERED = 1024
"""Load tests send the same requests again and again: those of at most so many bytes, and so many of them, are not read
and answered anew."""
_MESSAGES = {
    429: "Rate limit reached: the mock was told to say so.", 500: "The server had an error: the mock was told to.",
    503: "The engine is overloaded: the mock was told to say so.", 529: "Overloaded",
}  # fmt: skip


class MockServer:
    """Answers as a provider of models does; see `MockSettings` for what it can be told.

    Examples
    --------
    server = MockServer(MockSettings())
    await server.start(port=8080)
    ...
    await server.stop()
    """

    def __init__(self, settings: MockSettings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings = settings or MockSettings()
        self.journal = Journal()
        self._clock = clock or SystemClock()
        self._first, self._prefill, self._speed, lengths = _times(settings)
        # One generator for each thing that is drawn, so that asking for one does not change the other.
        self._times = random.Random(f"{settings.seed} times")
        self._lottery = Lottery(settings.failures, random.Random(f"{settings.seed} failures"), settings.fail_after)
        script = load_script(settings.answers) if not isinstance(settings.answers, tuple) else None
        rules = settings.answers if isinstance(settings.answers, tuple) else ()
        self._answerer = Answerer(rules, lengths, random.Random(f"{settings.seed} lengths"), script)
        self._repeats = script is None and isinstance(lengths, Always)
        self._known: dict[tuple[str, bytes], tuple[Ask, Said]] = {}
        self._quota = Quota(settings.requests_per_minute, settings.tokens_per_minute)
        self._slots = Slots(settings.slots, settings.queue)
        self._forced: Fault | None = None
        self._is_forced = False
        self._left: int | None = None
        self._record = False
        self._salt = zlib.crc32(f"{settings.seed}".encode()) << 64
        self._apis: dict[bytes, Api] = {api.path: api for api in (Chat(), Responses(), Messages())}
        self._messages = cast("Messages", self._apis[Messages.path])
        self._plain: dict[bytes, Callable[[Request, bytes], Response]] = {
            b"/v1/embeddings": self._embeddings,
            b"/v1/messages/count_tokens": self._count_tokens,
            b"/mock/force": self._force,
            b"/mock/clear": self._clear,
        }
        self._server = Server(self.handle, _LIMITS, clock=self._clock, failed=_failed)

    # Life

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; raises `HeadraceError` where that is not possible."""
        try:
            await self._server.start(host, port)
        except HeadraceError as error:
            cause = error.__cause__
            if isinstance(cause, socket.gaierror) or getattr(cause, "errno", 0) == errno.EADDRNOTAVAIL:
                error.hint = "give an address of this machine: 127.0.0.1, or 0.0.0.0 for all that it has"
            raise

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    async def stop(self, timeout: float = 1.0) -> bool:
        """Finish what runs for at most `timeout` seconds, and end; whether all of it was finished."""
        return await self._server.drain(timeout)

    # Requests

    def handle(self, request: Request) -> Any:
        """The handler: an answer, or something to wait for."""
        if request.method == b"POST":
            return self._post(request, _body_now(request)) if request.complete else self._later(request)
        if request.method != b"GET":
            return _told(405, openai_error(405, f"{request.method.decode()} is not served.", None, None))
        return self._get(request)

    async def _later(self, request: Request) -> Response:
        answer = self._post(request, await request.read())
        return answer if isinstance(answer, Response) else await answer

    def _post(self, request: Request, body: bytes) -> Any:
        path = request.path
        api = self._apis.get(path)
        if api is not None:
            return self._answer(api, request, body)
        plain = self._plain.get(path)
        if plain is None:
            return _unknown_path(path)
        return plain(request, body)

    def _get(self, request: Request) -> Response:
        path = request.path
        if path == b"/v1/models":
            models = [_model(name) for name in self.settings.models]
            return _told(200, encode({"object": "list", "data": models, "has_more": False, "first_id": None,
                                      "last_id": None}))  # fmt: skip
        if path.startswith(b"/v1/models/"):
            name = path.removeprefix(b"/v1/models/").decode("latin-1")
            if name in self.settings.models:
                return _told(200, encode(_model(name)))
            return _told(404, openai_error(404, f"The model '{name}' does not exist.", "model", "model_not_found"))
        if path == b"/mock/stats":
            self.journal.queued = self._slots.waiting
            return _told(200, encode(self.journal.stats()))
        if path == b"/mock/requests":
            return _told(200, encode([entry.as_json() for entry in self.journal.entries]))
        if path in (b"/healthz", b"/readyz"):
            return _told(200, b'{"status":"ok"}')
        return _unknown_path(path)

    def _answer(self, api: Api, request: Request, body: bytes) -> Any:
        clock = self._clock
        entry = self.journal.begin(api.name, clock.now())
        if self._record:
            entry.sent = []
        try:
            self._admit(request, anthropic=api.anthropic)
            ask, said = self._known.get((api.name, body)) or self._think(api, body)
            fault = self._meets(request)
            entry.model, entry.stream = ask.model, ask.stream
        except BadAsk as error:
            return self._refuse(api, entry, error.status, error.message, param=error.param, code=error.code)
        if fault is not None:
            entry.fault = fault.kind
            self.journal.faults[fault.kind] += 1
            status = STATUSES.get(fault.kind)
            if status is not None:
                return self._refuse(api, entry, status, _MESSAGES[status], wait=1.0 if status == 429 else None)
        over = self._reserve(entry, ask, said)
        if over is not None:
            what, wait = over
            message = f"Rate limit reached for {ask.model} on {what} per min. Please try again in {wait:.3f}s."
            return self._refuse(api, entry, 429, message, wait=wait, code="rate_limit_exceeded")
        if not self._slots.take():
            if self._slots.full:
                return self._refuse(api, entry, self.settings.overflow, "All slots are busy.", wait=1.0)
            return self._timed(api, entry, ask, said, fault, waits=True)
        delay = self._delay(ask, fault)
        if delay == 0 and (fault is None or fault.kind in MIDDLE):
            return self._respond(api, entry, ask, said, fault)
        return self._timed(api, entry, ask, said, fault, waits=False, delay=delay)

    def _think(self, api: Api, body: bytes) -> tuple[Ask, Said]:
        """What is asked, and the answer; remembered where the same bytes always get the same answer."""
        ask = api.read(_decode(body))
        if not self.settings.any_model and ask.model not in self.settings.models:
            message = f"The model '{ask.model}' does not exist."
            raise BadAsk(message, status=404, param="model", code="model_not_found")
        said = self._answerer.answer(ask)
        if self._repeats and len(body) <= _REMEMBERED:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[api.name, body] = ask, said
        return ask, said

    def _admit(self, request: Request, *, anthropic: bool) -> None:
        if self.settings.api_key is None:
            return
        key = (request.header(b"authorization") or b"").removeprefix(b"Bearer ")
        if anthropic:
            key = request.header(b"x-api-key") or key
        if key != self.settings.api_key.encode():
            raise BadAsk("Incorrect API key provided.", status=401, code="invalid_api_key")

    def _meets(self, request: Request) -> Fault | None:
        """The failure of this request: what its header says, else what is forced, else what is drawn."""
        header = request.header(b"x-mock-fail")
        if header is not None:
            try:
                return parse_fault(header.decode("latin-1"), self.settings.fail_after)
            except DeclarationError as error:
                raise BadAsk(f"x-mock-fail: {error.message}; {error.hint}") from None
        if self._is_forced:
            if self._left is not None:
                self._left -= 1
                self._is_forced = self._left > 0
            return self._forced
        return self._lottery.draw()

    def _reserve(self, entry: Entry, ask: Ask, said: Said) -> tuple[str, float] | None:
        if self._quota.unlimited:
            return None
        entry.reserved = ask.prompt_tokens + (ask.max_tokens or said.tokens)
        over = self._quota.take(self._clock.monotonic(), entry.reserved)
        if over is not None:
            entry.reserved = 0
        return over

    def _delay(self, ask: Ask, fault: Fault | None) -> float:
        delay = self._first.draw(self._times)
        if self._prefill is not None:
            delay += ask.prompt_tokens / self._prefill
        return delay + (self.settings.slow_seconds if fault is not None and fault.kind == "slow-first-token" else 0.0)

    async def _timed(
        self,
        api: Api,
        entry: Entry,
        ask: Ask,
        said: Said,
        fault: Fault | None,
        *,
        waits: bool,
        delay: float | None = None,
    ) -> Response:
        held = not waits
        try:
            if waits:
                await self._slots.wait()
                held = True
            if fault is not None and fault.kind == "hang":
                await asyncio.get_running_loop().create_future()
            await self._clock.sleep(self._delay(ask, fault) if delay is None else delay)
            if fault is not None and fault.kind == "reset":
                self._over(entry, "failed")
                raise Reset
            if not ask.stream and self._speed is not None:
                await self._clock.sleep(said.tokens / max(self._speed.draw(self._times), 1e-6))
        except asyncio.CancelledError:
            if held:
                self._over(entry, "cancelled")
            else:
                self.journal.end(entry, "cancelled", self._clock.now())
            raise
        return self._respond(api, entry, ask, said, fault)

    def _respond(self, api: Api, entry: Entry, ask: Ask, said: Said, fault: Fault | None) -> Response:
        now = self._clock.now()
        named = Named(self._salt + entry.number, now // SECOND)
        entry.first, entry.status = now, 200
        headers = self._headers(api, named)
        middle = fault if fault is not None and fault.kind in MIDDLE else None
        if ask.stream:
            gap = 0.0 if self._speed is None else 1 / max(self._speed.draw(self._times), 1e-6)
            flow = Flow(
                api.events(ask, said, named, self.settings.chunk_tokens), self._clock, entry, gap=gap, fault=middle,
                error=api.error_event("The mock was told to fail here."), finished=self._over,
            )  # fmt: skip
            return Response(200, [*_EVENTS, *headers], flow)
        body = api.whole(ask, said, named)
        if middle is not None and middle.kind not in ("no-done", "error-event"):
            if middle.kind == "garbage":
                self._over(entry, "failed")
                return Response(200, [*_JSON, *headers], NOISE)
            half = Half(body, self._clock, entry, middle.kind, self._over)
            return Response(200, [*_JSON, *headers], half, length=len(body))
        entry.tokens = said.tokens
        if entry.sent is not None:
            entry.sent.append(body)
        self._over(entry, "answered")
        return Response(200, [*_JSON, *headers], body)

    def _over(self, entry: Entry, outcome: str) -> None:
        """A request that held a slot has ended, whichever way; only the first end counts."""
        if entry.outcome:
            return
        self._slots.give()
        if entry.reserved:
            # The prompt was read whether or not its answer came to its end.
            self._quota.settle(self._clock.monotonic(), entry.reserved, entry.tokens)
        self.journal.end(entry, outcome, self._clock.now())

    def _headers(self, api: Api, named: Named) -> list[Field]:
        identifier = (b"request-id" if api.anthropic else b"x-request-id", named.id("req_").encode())
        if self._quota.unlimited:
            return [identifier]
        limits = self._quota.headers(self._clock.monotonic(), self._clock.now(), anthropic=api.anthropic)
        return [identifier, *limits]

    def _refuse(
        self,
        api: Api,
        entry: Entry,
        status: int,
        message: str,
        *,
        wait: float | None = None,
        param: str | None = None,
        code: str | None = None,
    ) -> Response:
        entry.status = status
        now = self._clock.now()
        self._quota.settle(self._clock.monotonic(), entry.reserved, 0)
        self.journal.end(entry, "refused", now)
        headers = [*_JSON, *self._headers(api, Named(self._salt + entry.number, now // SECOND))]
        if wait is not None:
            headers += retry_after(wait, anthropic=api.anthropic)
        return Response(status, headers, api.error(status, message, param, code))

    # What is no conversation

    def _embeddings(self, request: Request, body: bytes) -> Response:
        entry = self.journal.begin("embeddings", self._clock.now())
        entry.status = 200
        try:
            answer, _ = answer_embeddings(_decode(body), self.settings.dimensions)
        except BadAsk as error:
            entry.status = error.status
            answer = openai_error(error.status, error.message, error.param, error.code)
        self.journal.end(entry, "answered" if entry.status == 200 else "refused", self._clock.now())
        return _told(entry.status, answer)

    def _count_tokens(self, request: Request, body: bytes) -> Response:
        try:
            ask = self._messages.count(_decode(body))
        except BadAsk as error:
            return _told(error.status, self._messages.error(error.status, error.message, None, None))
        return _told(200, encode({"input_tokens": ask.prompt_tokens}))

    def _force(self, request: Request, body: bytes) -> Response:
        """`{"fail": "stall", "after": 2, "times": 1, "record": true}`; `{}` ends it."""
        try:
            order = _decode(body)
            self._is_forced = "fail" in order
            after = int(order.get("after", self.settings.fail_after))
            self._forced = parse_fault(str(order.get("fail", "none")), after)
        except (BadAsk, DeclarationError, TypeError, ValueError) as error:
            return _told(400, openai_error(400, str(error), None, None))
        self._left = order.get("times")
        self._record = order.get("record") is True
        return _told(200, b"{}")

    def _clear(self, request: Request, body: bytes) -> Response:
        self.journal.clear()
        return _told(200, b"{}")


def _times(settings: MockSettings) -> tuple[Distribution, float | None, Distribution | None, Distribution]:
    if settings.fit is not None:
        found = fit(read_trace(settings.fit), random.Random(settings.seed))
        return found.first_token, found.prefill, found.tokens_per_second, found.output_tokens
    speed = None if settings.tokens_per_second is None else parse_distribution(settings.tokens_per_second)
    return (
        parse_distribution(settings.first_token), settings.prefill, speed, parse_distribution(settings.output_tokens)
    )  # fmt: skip


def _body_now(request: Request) -> bytes:
    """The body of a request that is complete, without a turn of the event loop."""
    reading = request.read()
    try:
        reading.send(None)
    except StopIteration as done:
        return cast("bytes", done.value)
    reading.close()
    raise BadAsk("the body is not there")


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAsk(f"We could not parse the JSON body of your request: {error}.") from None


def _told(status: int, body: bytes) -> Response:
    return Response(status, _JSON, body)


def _unknown_path(path: bytes) -> Response:
    return _told(404, openai_error(404, f"There is no {path.decode('latin-1')[:200]} here.", None, "unknown_url"))


def _model(name: str) -> dict[str, Any]:
    """As OpenAI and Anthropic list it, each with the fields of its own."""
    return {
        "id": name, "object": "model", "created": 1_767_225_600, "owned_by": "headrace", "type": "model",
        "display_name": name, "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def _failed(error: Exception, request: Request) -> None:
    """Failures on purpose are no news; all others are."""
    if not isinstance(error, Reset | Broken):
        from headrace.http1.server import log_failure

        log_failure(error, request)
