"""Endpoints as they are served: over real sockets, with a model server that notices who leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from pydantic import BaseModel

import headrace as hr
from headrace.composition import composition
from headrace.core.clock import SystemClock
from headrace.core.errors import DeadlinePassed, ModelRefused, StreamBroken, UnknownName
from headrace.core.failurelog import MOST
from headrace.http1 import Request, Response, Server
from headrace.pipeline.answer import Asked
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings

SSE = [(b"content-type", b"text/event-stream")]


class Item(hr.Record):
    item_id: str
    shelf: str
    stock: int


class Ask(BaseModel):
    shelf: str
    budget: float = 10.0


class Pick(BaseModel):
    item_id: str


def chunk(text: str = "", finish: str | None = None) -> bytes:
    delta = {"content": text} if text else {}
    document = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@dataclass
class ModelServer:
    """Speaks as OpenAI does. The text of the last message is its order: hang, break, fail, or pick what it is given."""

    asked: list[Any] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        self.server = Server(self.answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/v1"

    async def answer(self, request: Request) -> Response:
        document = json.loads(await request.read())
        self.asked.append(document)
        text = document["messages"][-1]["content"]
        if "fail" in text or self.failing:
            return Response(400, [(b"content-type", b"application/json")], b'{"error":{"message":"no"}}')
        if document.get("stream"):
            return Response(200, SSE, self.stream(text))
        await self.hold(text)
        answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
        answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 5}  # type: ignore[assignment]
        return Response(200, [(b"content-type", b"application/json")], json.dumps(answer).encode())

    async def stream(self, text: str) -> AsyncIterator[bytes]:
        yield chunk("one ")
        await self.hold(text)
        if "break" in text:
            raise ConnectionError("the model server dies")
        yield chunk("two")
        yield chunk(finish="stop")
        yield b"data: [DONE]\n\n"

    async def hold(self, text: str) -> None:
        if "hang" not in text:
            return
        self.waiting.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise


def declare(url: str) -> hr.App:
    app = hr.App("shop")
    app.table(Item, key="item_id", index=["shelf"])
    app.view("on_shelf", "SELECT item_id, stock FROM items WHERE shelf = :shelf AND stock > 0 ORDER BY item_id")
    app.view("stocked", "SELECT item_id, stock FROM items WHERE item_id = :item_id")
    app.model("llm", hr.models.OpenAI(url, model="m"))

    @app.endpoint("/pick", deadline="5s", on_stale="retry")
    async def pick(ask: Ask, ctx: hr.Context) -> Pick:
        """Pick an item."""
        rows = await ctx.on_shelf(shelf=ask.shelf)
        await ctx.llm.chat(ask.shelf)
        return Pick(item_id=rows.rows[0]["item_id"] if rows.rows else "none")

    @pick.version("b")
    async def other(ask: Ask, ctx: hr.Context) -> Pick:
        return Pick(item_id="b")

    @app.endpoint("/flag", deadline="5s")
    async def flag(ask: Ask, ctx: hr.Context) -> Pick:
        await ctx.on_shelf(shelf=ask.shelf)
        await ctx.stocked(item_id="h1")
        await ctx.llm.chat(ask.shelf)
        return Pick(item_id="h1")

    @app.endpoint("/last", deadline="5s", fallback="cached")
    async def last(ask: Ask, ctx: hr.Context) -> Pick:
        await ctx.on_shelf(shelf=ask.shelf)
        return Pick(item_id=(await ctx.llm.chat(ask.shelf)).text)

    @app.endpoint("/tell", deadline="5s")
    async def tell(ask: Ask, ctx: hr.Context) -> AsyncIterator[str]:
        await ctx.on_shelf(shelf=ask.shelf)
        async for piece in await ctx.llm.chat(ask.shelf, stream=True):
            yield piece.upper()

    @app.endpoint("/wrong")
    async def wrong(ask: Ask, ctx: hr.Context) -> Pick:
        raise KeyError("secret of the app")

    return app


@dataclass
class Served:
    url: str
    http: httpx.AsyncClient
    model: ModelServer

    async def pick(self, shelf: str, **headers: str) -> httpx.Response:
        return await self.http.post("/pick", json={"shelf": shelf}, headers=headers)

    async def stock(self, item: str, stock: int, shelf: str = "a") -> None:
        row = {"item_id": item, "shelf": shelf, "stock": stock}
        (await self.http.post("/push/items", json=row)).raise_for_status()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    model = ModelServer()
    await model.server.start()
    app, settings, stop, data = declare(model.url), Settings(port=0), asyncio.Event(), str(folder / "data")
    listening = bind(settings)
    async with composition.engine(app, data) as engine, composition.reader(app, data, settings) as reader:
        front = create_app(reader.reads, engine.writes, reader.catalog, settings, handlers=reader.handlers)
        ready = asyncio.Event()
        task = asyncio.create_task(serve(front, settings, listening, stop, direct=front.direct, ready=ready.set))
        await ready.wait()
        async with httpx.AsyncClient(base_url=address(listening), trust_env=False) as http:
            yield Served(address(listening), http, model)
        stop.set()
        await task
    await model.server.drain(0.1)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    async with serving(tmp_path) as found:
        await found.stock("i1", 3)
        yield found


async def test_an_answer_and_what_is_said_of_it(served: Served) -> None:
    answer = await served.pick("a", **{"x-request-id": "r-17"})
    assert (answer.status_code, answer.json()) == (200, {"item_id": "i1"})
    headers = answer.headers
    assert headers["x-headrace-request-id"] == "r-17"
    assert headers["x-headrace-version"].startswith("a-")
    assert headers["x-headrace-stale"] == "unchanged"
    assert headers["x-headrace-unchanged-as-of"].endswith("Z")
    assert headers["x-headrace-context"].startswith("on_shelf; age_ms=")
    assert {stage.split(";")[0].strip() for stage in headers["server-timing"].split(",")} >= {"context", "model"}
    assert (await served.pick("a", **{"x-request-id": 'a"b'})).headers["x-headrace-request-id"] != 'a"b'


async def test_a_row_that_changes_between_the_read_and_the_answer(served: Served) -> None:
    await served.stock("i2", 1)
    asking = asyncio.create_task(served.pick("a", **{"x-headrace-user": "ann"}))
    await asking
    served.model.release.clear()
    await served.stock("h1", 1, "hang")
    await served.stock("h2", 1, "hang")
    asking = asyncio.create_task(served.pick("hang"))
    await served.model.waiting.wait()
    await served.stock("h1", 0, "hang")  # sold out while the model thinks
    served.model.release.set()
    answer = await asking
    assert answer.json() == {"item_id": "h2"}
    assert (answer.headers["x-headrace-retries"], answer.headers["x-headrace-stale"]) == ("1", "unchanged")


async def test_what_changed_is_told_by_name_and_in_sentences(served: Served) -> None:
    served.model.release.clear()
    await served.stock("h1", 1, "hang")
    asking = asyncio.create_task(served.http.post("/flag", json={"shelf": "hang"}))
    await served.model.waiting.wait()
    await served.stock("h1", 0, "hang")
    served.model.release.set()
    headers = (await asking).headers
    assert (headers["x-headrace-stale"], headers["x-headrace-changed"]) == ("changed", "on_shelf, stocked")
    first, second = json.loads(headers["x-headrace-stale-detail"])
    assert "on_shelf" in first + second
    asked = Asked.from_headers(None, headers)
    assert (asked.changed, asked.stale_detail) == (("on_shelf", "stocked"), (first, second))


async def test_an_answer_of_before_is_told_with_its_age_and_what_changed(served: Served) -> None:
    assert "x-headrace-made-at" not in (await served.http.post("/last", json={"shelf": "a"})).headers
    served.model.failing = True
    told = (await served.http.post("/last", json={"shelf": "a"})).headers
    assert (told["x-headrace-fallback"], told["x-headrace-stale"]) == ("cached", "unchanged")
    assert told["x-headrace-made-at"].endswith("Z")
    assert told["x-headrace-unchanged-as-of"].endswith("Z")
    assert told["x-headrace-context"].startswith("on_shelf; age_ms=")
    await served.stock("i1", 0)  # sold out
    told = (await served.http.post("/last", json={"shelf": "a"})).headers
    assert (told["x-headrace-stale"], told["x-headrace-changed"]) == ("changed", "on_shelf")
    assert "x-headrace-unchanged-as-of" not in told


@pytest.mark.parametrize("path", ["/pick", "/tell"])
async def test_a_client_that_leaves_cancels_the_call_within_a_tenth_of_a_second(served: Served, path: str) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"shelf":"hang"}'
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    await asyncio.wait_for(served.model.waiting.wait(), 5)
    clock = SystemClock()
    began = clock.monotonic()
    writer.close()
    await asyncio.wait_for(served.model.gone.wait(), 5)
    assert clock.monotonic() - began < 0.1
    metrics = (await served.http.get("/metrics")).text
    assert f'headrace_endpoint_running{{endpoint="{path}"}} 0' in metrics
    assert 'status="499"' in metrics
    del reader


async def test_a_deadline_of_the_caller(served: Served) -> None:
    answer = await served.pick("hang", **{"x-request-timeout-ms": "150"})
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:headrace:problem:deadline-passed"
    assert "'model'" in answer.json()["detail"]
    await asyncio.wait_for(served.model.gone.wait(), 1)
    grpc = await served.http.post("/pick", json={"shelf": "hang"}, headers={"grpc-timeout": "100m"})
    assert grpc.status_code == 504


async def test_a_stream_is_events_and_ends_with_what_it_was_built_on(served: Served) -> None:
    answer = await served.http.post("/tell", json={"shelf": "a"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, second, last = answer.text.strip().split("\n\n")
    assert (first, second) == ('data: "ONE "', 'data: "TWO"')
    name, data = last.split("\n")
    assert name == "event: headrace"
    assert json.loads(data.removeprefix("data: "))["stale"] == "unchanged"


async def test_a_broken_stream_never_looks_complete(served: Served) -> None:
    pieces: list[str] = []

    async def read() -> None:
        async with served.http.stream("POST", "/tell", json={"shelf": "break"}) as answer:
            async for piece in answer.aiter_text():
                pieces.append(piece)

    with pytest.raises(httpx.RemoteProtocolError):
        await read()
    events = "".join(pieces).strip().split("\n\n")
    assert events[0] == 'data: "ONE "'
    assert events[-1].startswith("event: error\n")
    assert "event: headrace" not in "".join(pieces)


WRONG = [
    ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "content-type"),
    ({"content": b"{}"}, 415, "content-type"),
    ({"content": b"", "headers": {"content-type": "application/json"}}, 400, "empty"),
    ({"content": b"{", "headers": {"content-type": "application/json; charset=utf-8"}}, 400, "syntax"),
    ({"content": b'{"shelf": NaN}', "headers": {"content-type": "application/json"}}, 400, "number"),
    ({"json": {"shelf": 7}}, 422, "string_type"),
    ({"json": {"shelf": "a", "colour": "red"}}, 422, "extra_forbidden"),
    ({"json": {"shelf": "x" * (1 << 20)}}, 413, "length"),
    ({"json": {"shelf": "a"}, "headers": {"x-headrace-priority": "urgent"}}, 400, "header"),
    ({"json": {"shelf": "a"}, "headers": {"x-request-timeout-ms": "abc"}}, 400, "header"),
    ({"json": {"shelf": "a"}, "headers": {"grpc-timeout": "5x"}}, 400, "header"),
]


@pytest.mark.parametrize(("how", "status", "kind"), WRONG, ids=[f"{kind}{n}" for n, (_, _, kind) in enumerate(WRONG)])
async def test_what_is_wrong_is_told_with_where_and_what_to_do(
    served: Served, how: dict[str, Any], status: int, kind: str
) -> None:
    answer = await served.http.post("/pick", **how)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["problems"][0]["kind"]) == (status, status, kind)
    assert problem["hint"]
    assert answer.headers["x-headrace-request-id"]


async def test_a_body_in_chunks_is_bounded_as_well(served: Served) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * (1 << 16)

    headers = {"content-type": "application/json"}
    answer = await served.http.post("/pick", content=endless(), headers=headers)
    assert answer.status_code == 413


async def test_other_methods_are_told_which_one_it_is(served: Served) -> None:
    answer = await served.http.get("/pick")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_what_the_apps_code_raises_stays_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    answer = await served.http.post("/wrong", json={"shelf": "a"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request"] == answer.headers["x-headrace-request-id"]
    assert answer.json()["request"] in caplog.text
    assert "KeyError: 'secret of the app'" in caplog.text


@pytest.mark.parametrize(
    ("path", "shelf", "status"), [("/pick", "fail", 502), ("/pick", "hang", 504), ("/tell", "break", 502)]
)
async def test_what_failed_at_the_model_is_found_in_the_log_by_its_id(
    served: Served, caplog: pytest.LogCaptureFixture, path: str, shelf: str, status: int
) -> None:
    headers = {"x-request-id": "r-17", "x-request-timeout-ms": "300"}
    async with served.http.stream("POST", path, json={"shelf": shelf}, headers=headers) as answer:
        body = ""
        with suppress(httpx.RemoteProtocolError):  # a stream that broke ends so
            async for piece in answer.aiter_text():
                body += piece
    problem = json.loads(body.rpartition("event: error\ndata: ")[2])
    assert (problem["status"], problem["request"]) == (status, "r-17")
    assert problem["hint"]
    (line,) = [line for line in caplog.messages if path in line]
    assert f"request r-17 to {path!r}: version" in line


async def test_a_storm_of_failures_is_a_few_lines_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    answers = [await served.http.post("/pick", json={"shelf": "fail"}) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {502}
    assert len([line for line in caplog.messages if "gives no answer" in line]) == MOST


async def test_everything_is_described(served: Served) -> None:
    document = (await served.http.get("/openapi.json")).json()
    operation = document["paths"]["/pick"]["post"]
    assert operation["summary"] == "Pick an item."
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate({"shelf": "a"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"shelf": "a", "colour": "red"}, schema)
    assert set(operation["responses"]) >= {"200", "400", "409", "413", "415", "422", "429", "500", "502", "503", "504"}
    answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate((await served.pick("a")).json(), answered)
    assert "text/event-stream" in document["paths"]["/tell"]["post"]["responses"]["200"]["content"]


async def test_endpoints_and_models_are_listed_and_a_slip_is_told(served: Served) -> None:
    found = (await served.http.get("/")).json()
    assert (found["endpoints"][:2], found["models"]) == (["/flag", "/last"], ["llm"])
    assert {"POST /pick", "POST /v1/chat/completions", "POST /push/items"} <= set(found["paths"])
    async with hr.connect(served.url) as live:
        with pytest.raises(UnknownName, match="there is nothing at '/pik'") as told:
            await live.ask("/pik", {"shelf": "a"})
    assert told.value.hint.startswith("did you mean '/pick'?")
    async with hr.connect(served.url + "/v1") as live:
        with pytest.raises(UnknownName, match="there is nothing at /v1/pick") as told:
            await live.ask("/pick", {"shelf": "a"})
        assert told.value.hint == f"give the root of the server: {served.url}, without /v1"
        with pytest.raises(UnknownName, match="/v1/context/on_shelf"):
            await live.on_shelf(shelf="a")


async def test_what_is_kept_for_routing_is_not_shown_among_what_the_app_declares(served: Served) -> None:
    found = [await served.http.get(path) for path in ("/", "/openapi.json", "/freshness", "/metrics")]
    found += [await served.http.get("/context/nothing"), await served.http.post("/push/nothing", json={})]
    assert [answer.url.path for answer in found if "headrace_rout" in answer.text] == []
    assert "on_shelf" in found[0].text
    assert (await served.http.get("/context/headrace_routing")).json()["rows"] == []


async def test_traffic_is_moved_by_a_row(served: Served) -> None:
    assert (await served.pick("a")).json() == {"item_id": "i1"}
    rows = [
        {"endpoint": "/pick", "version": "a", "weight": 0, "shadow": False},
        {"endpoint": "/pick", "version": "b", "weight": 1, "shadow": False},
    ]
    (await served.http.post("/push/headrace_routes", json=rows)).raise_for_status()
    clock = SystemClock()
    began = clock.monotonic()
    while (answer := await served.pick("a")).json() != {"item_id": "b"}:
        assert clock.monotonic() - began < 2
        await clock.sleep(0.02)
    assert answer.headers["x-headrace-version"].startswith("b-")


async def test_a_client_of_ours_asks_it_like_an_app_in_its_own_process(served: Served) -> None:
    async with hr.connect(served.url) as live:
        found = await live.ask("/pick", Ask(shelf="a"), response=Pick, user="ann")
        assert found.value == Pick(item_id="i1")
        assert (found.stale, found.fallback, found.retries) == ("unchanged", None, 0)
        assert found.stages["context"] > 0
        assert "total" not in found.stages
        told = await live.ask("/tell", {"shelf": "a"})
        assert told.value == ["ONE ", "TWO"]
        assert told.stages["model"] > 0
        with pytest.raises(hr.BadInput) as bad:
            await live.ask("/pick", {"shelf": "a", "x": 1})
        assert bad.value.problems[0]["pointer"] == "/x"
        with pytest.raises(ModelRefused):
            await live.ask("/pick", {"shelf": "fail"})
        with pytest.raises(DeadlinePassed):
            await live.ask("/pick", {"shelf": "hang"}, timeout="100ms")
        with pytest.raises(StreamBroken):
            await live.ask("/tell", {"shelf": "break"})


async def test_the_synchronous_face_is_the_same(served: Served) -> None:
    def ask() -> Any:
        with hr.connect_sync(served.url) as live:
            return live.ask("/pick", {"shelf": "a"}).value

    assert await asyncio.to_thread(ask) == {"item_id": "i1"}


async def test_a_stream_is_read_piece_by_piece_from_afar(served: Served) -> None:
    async with hr.connect(served.url) as live:
        pieces = live.stream("/tell", Ask(shelf="a"))
        with pytest.raises(hr.HeadraceError, match="at its end"):
            _ = pieces.facts
        assert [piece async for piece in pieces] == ["ONE ", "TWO"]
        facts = pieces.facts
        assert (facts.stale, [read.name for read in facts.reads], facts.value) == ("unchanged", ["on_shelf"], None)
        assert facts.unchanged_as_of is not None
        assert facts.version.startswith("a-")
        whole = live.stream("/pick", {"shelf": "a"}, response=Pick)
        assert [piece async for piece in whole] == [Pick(item_id="i1")]
        assert [read.name for read in whole.facts.reads] == ["on_shelf"]
        with pytest.raises(hr.BadInput):
            await anext(live.stream("/tell", {"shelf": "a", "x": 1}))


async def test_a_stream_that_breaks_is_told_after_its_pieces_from_afar(served: Served) -> None:
    async with hr.connect(served.url) as live:
        pieces = live.stream("/tell", {"shelf": "break"})
        assert await anext(pieces) == "ONE "
        with pytest.raises(StreamBroken):
            await anext(pieces)
        with pytest.raises(StreamBroken):  # and it stays broken
            await anext(pieces)


async def test_whoever_leaves_a_stream_leaves_it_at_the_model(served: Served) -> None:
    async with hr.connect(served.url) as live, live.stream("/tell", {"shelf": "hang"}) as pieces:
        assert await anext(pieces) == "ONE "
    await asyncio.wait_for(served.model.gone.wait(), 2)


async def test_a_stream_has_a_synchronous_face(served: Served) -> None:
    def ask() -> Any:
        with hr.connect_sync(served.url) as live:
            pieces = live.stream("/tell", {"shelf": "a"})
            found = list(pieces)
            with pytest.raises(StreamBroken), live.stream("/tell", {"shelf": "break"}) as broken:
                list(broken)
            return found, pieces.facts.stale

    assert await asyncio.to_thread(ask) == (["ONE ", "TWO"], "unchanged")
