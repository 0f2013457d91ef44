"""NaN, infinities and what else no JSON holds, on every way in and out: refused or quarantined, never made null."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

import headrace as hr
from headrace import client
from headrace.composition import composition
from headrace.core.errors import BadInput, UserCodeError
from headrace.runtime import live as here
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings


class Sale(hr.Record):
    sale_id: str
    amount: float | None = None


class Ask(BaseModel):
    x: float | None = None
    word: str = ""

    @field_validator("word")
    @classmethod
    def known(cls, word: str) -> str:
        return {"": ""}[word]


class Hidden(Ask):
    word: str = Field(default="", exclude=True)
    note: float = Field(default=math.nan, exclude=True)


class Score(BaseModel):
    fraud: float | None


class Scored(Score):
    why: float = Field(default=math.nan, exclude=True)


class Raw(Score):
    model_config = ConfigDict(ser_json_inf_nan="constants")


def shop() -> hr.App:
    app = hr.App("numbers")
    app.table(Sale, key="sale_id")
    app.model("fraud", hr.models.Http("http://127.0.0.1:9/score"))

    @app.endpoint("/score")
    async def score(ask: Ask, ctx: hr.Context) -> Score:
        return Score(fraud=math.nan if ask.x == 1 else ask.x)

    @app.endpoint("/scored")
    async def scored(ask: Ask, ctx: hr.Context) -> Scored:
        return Scored(fraud=ask.x)

    @app.endpoint("/raw")
    async def raw(ask: Ask, ctx: hr.Context) -> Raw:
        return Raw(fraud=math.nan if ask.x == 1 else ask.x)

    @app.endpoint("/scores")
    async def scores(ask: Ask, ctx: hr.Context) -> AsyncIterator[Score]:
        yield Score(fraud=None)
        yield Score(fraud=math.inf)

    @app.endpoint("/send")
    async def send(ask: Ask, ctx: hr.Context) -> Score:
        return await ctx.fraud.json({"features": [None, math.inf]}, response=Score)

    return app


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    app, settings, stop, data = shop(), Settings(port=0), asyncio.Event(), str(folder / "data")
    listening = bind(settings)
    async with composition.engine(app, data) as engine, composition.reader(app, data, settings) as reader:
        front = create_app(reader.reads, engine.writes, reader.catalog, settings, handlers=reader.handlers)
        ready = asyncio.Event()
        task = asyncio.create_task(serve(front, settings, listening, stop, direct=front.direct, ready=ready.set))
        await ready.wait()
        yield address(listening)
        stop.set()
        await task


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with served(tmp_path) as found:
        yield found


BAD: list[Any] = [{"sale_id": "b", "amount": math.nan}, Sale.model_construct(sale_id="c", amount=math.inf)]
GOOD: list[Any] = [{"sale_id": "a", "amount": 1.5}, {"sale_id": "d", "amount": None}]


async def test_such_records_are_quarantined_and_the_others_taken(tmp_path: Path, url: str) -> None:
    async with shop().run(data=tmp_path / "here") as live, hr.connect(url) as afar:
        for one in (live, afar):
            receipt = await one.push("sales", [*GOOD, *BAD])
            assert (receipt.accepted, receipt.quarantined) == (2, 2)


@pytest.mark.parametrize("encode", [client._records, here._encode])
def test_records_without_such_numbers_are_written_as_before(encode: Any) -> None:
    assert json.loads(encode(GOOD)) == GOOD


async def test_a_client_sends_no_such_input(url: str) -> None:
    async with hr.connect(url) as live:
        for data in ({"x": math.nan}, Ask(x=math.inf)):
            with pytest.raises(BadInput, match="holds NaN or an infinity at /x"):
                await live.ask("/score", data)
        with pytest.raises(BadInput, match="cannot be written as JSON"):
            await live.ask("/score", {"x": object()})
        assert (await live.ask("/score", {"x": None})).value == {"fraud": None}


async def post(url: str, path: str, body: bytes, **headers: str) -> httpx.Response:
    sent = {"content-type": "application/json", "x-request-id": "r-1", **headers}
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        return await http.post(path, content=body, headers=sent)


async def test_a_number_beyond_all_numbers_is_refused(url: str) -> None:
    answer = await post(url, "/score", b'{"x": 1e400}')
    assert (answer.status_code, answer.json()["problems"][0]["kind"]) == (400, "number")
    assert "1e400" in answer.json()["detail"]


async def test_a_compressed_body_is_refused_by_its_coding(url: str) -> None:
    answer = await post(url, "/score", b"\x1f\x8b", **{"content-encoding": "gzip"})
    assert (answer.status_code, "'gzip'" in answer.json()["detail"]) == (415, True)


async def test_what_of_an_answer_is_not_written_may_be_such_a_number(url: str) -> None:
    answer = await post(url, "/scored", b"{}")
    assert (answer.status_code, answer.json()) == (200, {"fraud": None})
    async with hr.connect(url) as live:
        assert (await live.ask("/score", Hidden())).value == {"fraud": None}


@pytest.mark.parametrize("path", ["/score", "/raw", "/send"])
async def test_an_answer_or_a_call_with_such_a_number_is_the_apps_fault(
    url: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await post(url, path, b'{"x": 1}')
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:headrace:problem:user-code")
    assert "NaN or an infinity" in caplog.text
    assert "r-1" in caplog.text


async def test_a_stream_breaks_at_such_an_item(url: str) -> None:
    async with hr.connect(url) as live:
        pieces = live.stream("/scores", {})
        assert await anext(pieces) == {"fraud": None}
        with pytest.raises(UserCodeError):
            await anext(pieces)


async def test_a_validator_that_raises_is_the_apps_fault_and_told_with_its_place(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await post(url, "/score", b'{"word": "x"}')
    problem = answer.json()
    assert (answer.status_code, problem["type"], problem["request"]) == (500, "urn:headrace:problem:user-code", "r-1")
    assert answer.headers["x-headrace-request-id"] == "r-1"
    assert "request r-1: a validator of the input of /score raised KeyError" in caplog.text
    assert "in known" in caplog.text  # the user's own frame
    async with shop().run(data=tmp_path / "here") as live:
        with pytest.raises(UserCodeError, match="a validator of the input of /score"):
            await live.ask("/score", {"word": "x"})
