"""What is refused before the gateway sees it reaches official clients in the words that they show."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

import headrace as hr
from headrace.core.clock import SystemClock
from headrace.core.errors import DeclarationError
from headrace.server import listening
from headrace.server.listening import address, bind
from headrace.server.settings import Settings
from headrace.server.standin import StandIn

sys.path.insert(0, str(Path(__file__).parent))
from whole_server import whole_server

CLOCK = SystemClock()
LIMITS = listening.limits
HI: Any = [{"role": "user", "content": "Say something."}]
LONG: Any = [{"role": "user", "content": "x" * 5000}]


@asynccontextmanager
async def running(
    folder: Path, upstream: str, endpoints: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[str]:
    """The URL of a whole server, gate and all, of an app with one model."""
    app = hr.App("shop")
    app.model("llm", hr.models.OpenAI(upstream, model="mock-model"), deadline="20s")
    for path, handler in (endpoints or {}).items():
        app.endpoint(path)(handler)
    async with whole_server(app, folder, **settings) as url:
        yield url


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


async def ask(url: str, **options: Any) -> Any:
    headers = options.pop("headers", None)
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="any", max_retries=0) as llm:
        asking: Any = llm.chat.completions
        return await asking.create(model="llm", messages=options.pop("messages", HI), extra_headers=headers, **options)


async def claude(url: str, messages: Any = HI) -> Any:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as llm:
        return await llm.messages.create(model="llm", max_tokens=5, messages=messages)


async def test_too_many_requests_at_once(tmp_path: Path, mock: Any) -> None:
    async with running(tmp_path, mock.url + "/v1", max_concurrency=1) as url:
        mock.force("hang", times=1)
        first = asyncio.create_task(ask(url))
        while not mock.requests():
            await CLOCK.sleep(0.01)
        with pytest.raises(openai.InternalServerError, match="Too many requests at once") as busy:
            await ask(url)
        assert (busy.value.status_code, busy.value.code, busy.value.type) == (503, "overloaded", "server_error")
        assert busy.value.response.headers["retry-after"] == "1"
        with pytest.raises(anthropic.APIStatusError, match="Too many requests at once") as other:
            await claude(url)
        assert other.value.status_code == 529
        async with httpx.AsyncClient(base_url=url, trust_env=False) as plain:
            assert (await plain.get("/freshness")).status_code == 503
            spoken = await plain.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
            assert spoken.json()["error"]["type"] == "overloaded_error"
        first.cancel()


async def test_too_many_connections_at_once(tmp_path: Path, mock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "limits", lambda settings: replace(LIMITS(settings), max_connections=1))
    async with running(tmp_path, mock.url + "/v1") as url:
        host, port = url.removeprefix("http://").split(":")
        _, first = await asyncio.open_connection(host, int(port))
        # Nothing of the request is read: the answer is for whoever it is.
        with pytest.raises(openai.InternalServerError, match="as many connections as it takes; try again") as busy:
            await ask(url)
        assert (busy.value.status_code, busy.value.code, busy.value.type) == (503, "overloaded", "server_error")
        assert busy.value.response.headers["retry-after"] == "1"
        with pytest.raises(anthropic.APIStatusError, match="as many connections as it takes") as other:
            await claude(url)
        assert other.value.status_code == 503
        async with httpx.AsyncClient(base_url=url, trust_env=False) as plain:
            problem = await plain.get("/freshness")
        assert problem.headers["content-type"] == "application/problem+json"
        assert (problem.json()["type"], problem.json()["status"]) == ("urn:headrace:problem:busy", 503)
        first.close()


async def test_a_body_that_is_too_large(tmp_path: Path, mock: Any) -> None:
    async with running(tmp_path, mock.url + "/v1", max_body=4000) as url:
        with pytest.raises(openai.APIStatusError, match=r"longer than 4000 bytes.*fewer messages") as large:
            await ask(url, messages=LONG)
        assert (large.value.status_code, large.value.code) == (413, "request_too_large")
        assert large.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(anthropic.APIStatusError, match="longer than 4000 bytes") as other:
            await claude(url, LONG)
        assert other.value.body["error"]["type"] == "request_too_large"  # type: ignore[index]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as plain:
            elsewhere = await plain.post("/push/items", content=b"x" * 5000)
            assert elsewhere.headers["content-type"] == "application/problem+json"


async def test_bodies_that_take_too_much_together(tmp_path: Path, mock: Any) -> None:
    async with running(tmp_path, mock.url + "/v1", max_body=200_000, max_bodies=200_000) as url:
        mock.force("hang", times=1)
        first = asyncio.create_task(ask(url, messages=[{"role": "user", "content": "x" * 120_000}]))
        while not mock.requests():
            await CLOCK.sleep(0.01)
        more: Any = [{"role": "user", "content": "x" * 100_000}]
        with pytest.raises(openai.InternalServerError, match=r"take all that they may, 195\.3 KiB") as full:
            await ask(url, messages=more)
        assert (full.value.status_code, full.value.code) == (503, "overloaded")
        assert full.value.response.headers["retry-after"] == "1"
        with pytest.raises(anthropic.APIStatusError, match="take all that they may"):
            await claude(url, more)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as plain:
            pushed = await plain.post("/push/items", content=b"x" * 100_000)
            assert (pushed.status_code, pushed.headers["retry-after"]) == (503, "1")
            assert pushed.headers["content-type"] == "application/problem+json"
            metrics = (await plain.get("/metrics")).text
            assert "headrace_request_bodies_refused_total 3" in metrics
            assert "headrace_request_bodies_bytes 1200" in metrics
            assert (await ask(url)).choices
            first.cancel()
            while "headrace_request_bodies_bytes 0\n" not in (await plain.get("/metrics")).text:
                await CLOCK.sleep(0.01)


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"host": "evil.example"}, 421, "an allowed host; .* serve with --allowed-host"),
        ({"origin": "http://evil.example"}, 403, "names another site; .* --allowed-host"),
        ({"x-long": "x" * 90_000}, 431, "bytes of headers"),
    ],
)
async def test_what_the_gate_says_of_headers(
    tmp_path: Path, mock: Any, headers: dict[str, str], status: int, words: str
) -> None:
    async with running(tmp_path, mock.url + "/v1") as url:
        with pytest.raises(openai.APIStatusError, match=words) as refused:
            await ask(url, headers=headers)
        assert (refused.value.status_code, refused.value.type) == (status, "invalid_request_error")


async def test_what_upstreams_do_wrong_is_one_line_of_the_log_with_its_number(
    tmp_path: Path, mock: Any, caplog: Any
) -> None:
    async with running(tmp_path, mock.url + "/v1") as url:
        mock.force("500", times=9)
        with pytest.raises(openai.InternalServerError) as failed:
            await ask(url)
        number = failed.value.response.headers["x-headrace-request-id"]
        assert failed.value.response.headers["x-headrace-attempts"] == "3"
        mock.relax()
        mock.force("cut", times=1)
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="any", max_retries=0) as llm:
            stream = await llm.chat.completions.create(model="llm", messages=HI, stream=True)
            with pytest.raises(openai.APIError, match="broke off"):
                _ = [chunk async for chunk in stream]
        broken = stream.response.headers["x-headrace-request-id"]
        for given in ("r-17", "r 17\t-", "x" * 129):
            mock.force("500", times=9)
            with pytest.raises(openai.InternalServerError):
                await ask(url, headers={"x-request-id": given})
            mock.relax()
    lines = [record.getMessage() for record in caplog.records if record.name == "headrace.gateway"]
    assert len(lines) == 5
    assert [" of the client" in line for line in lines] == [False, False, True, False, False]
    assert " (r-17 of the client) to 'llm': " in lines[2]
    assert lines[0].startswith(f"request {number} to 'llm': the model 'llm' gave no answer: its attempts failed; ")
    assert lines[1].startswith(f"request {broken} to 'llm': the answer of ")


async def test_a_base_url_without_v1_is_told_by_every_resource(tmp_path: Path, mock: Any) -> None:
    async def echo(value: dict[str, Any], _ctx: hr.Context) -> dict[str, Any]:
        return value

    endpoints = {"/embeddings": echo, "/models/rank": echo}
    async with running(tmp_path, mock.url + "/v1", endpoints) as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as llm:
            for call in (llm.models.list(), llm.models.retrieve("llm"), llm.responses.create(model="llm", input="Hi")):
                with pytest.raises(openai.NotFoundError, match=r"The base_url of OpenAI's clients ends in /v1"):
                    await call
        async with anthropic.AsyncAnthropic(base_url=url + "/v1", api_key="any", max_retries=0) as llm:
            with pytest.raises(anthropic.NotFoundError, match=r"Anthropic's clients does not end in /v1"):
                await llm.messages.create(model="llm", max_tokens=5, messages=HI)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as plain:
            for path in endpoints:
                assert (await plain.post(path, json={"a": 1})).json() == {"a": 1}
                foreign = await plain.post(path, json={"a": 1}, headers={"origin": "http://evil.example"})
                assert (foreign.status_code, foreign.json()["type"]) == (403, "urn:headrace:problem:foreign-origin")
            foreign = await plain.get("/models", headers={"origin": "http://evil.example"})
            assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "foreign_origin")


def talk(url: str, data: bytes) -> tuple[int, dict[str, Any]]:
    """Status and document of what a raw request is answered."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


HEAD = b"POST /v1/%b HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"content-length: 9\r\n\r\n{", 408),
        (b"x-never: ", 408),
        (b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"expect: more\r\n\r\n", 417),
    ],
)
async def test_what_the_connection_says(tmp_path: Path, mock: Any, rest: bytes, status: int) -> None:
    async with running(tmp_path, mock.url + "/v1", header_timeout=0.3, body_timeout=0.3) as url:
        found, document = await asyncio.to_thread(talk, url, HEAD % b"chat/completions" + rest)
        assert (found, document["error"]["type"]) == (status, "invalid_request_error")
        found, document = await asyncio.to_thread(talk, url, HEAD % b"messages" + rest)
        assert (found, document["type"], bool(document["error"]["message"])) == (status, "error", True)


async def test_an_app_that_is_broken_in_development() -> None:
    with bind(Settings(port=0)) as bound:
        stand_in = StandIn(bound)
        await stand_in.show(DeclarationError("the view menu is wrong", hint="mend it", where="app.py:3"))
        url = address(bound)
        with pytest.raises(openai.InternalServerError, match=r"app.py:3: the view menu is wrong.*mend it") as broken:
            await ask(url)
        assert (broken.value.status_code, broken.value.code) == (503, "app_broken")
        assert broken.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(anthropic.InternalServerError, match=r"app.py:3: the view menu is wrong") as told:
            await claude(url)
        assert told.value.status_code == 500  # 529 would say that it is overloaded
        async with httpx.AsyncClient(base_url=url, trust_env=False) as plain:
            problem = (await plain.get("/context/menu")).json()
            assert (problem["type"], problem["status"]) == ("urn:headrace:problem:app-broken", 503)
            assert problem["detail"] == "the view menu is wrong"
        await stand_in.hide()
