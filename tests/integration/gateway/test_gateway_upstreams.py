"""What a client, the log and the metrics are told of upstreams that refuse, and what no client is told."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import headrace as hr
from headrace.core.errors import DeclarationError
from headrace.http1.request import Request
from headrace.http1.response import Response
from headrace.http1.server import Server
from headrace.server.gateway.keys import digest_of

sys.path.insert(0, str(Path(__file__).parent))
from whole_server import whole_server

HI: Any = [{"role": "user", "content": "Say something."}]
JSON = [(b"content-type", b"application/json")]
WHOLE = json.dumps(
    {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
).encode()


def refusing(status: int, message: str, code: str = "", *headers: tuple[bytes, bytes]) -> Response:
    """A refusal as providers write it."""
    error = {"message": message, "type": code, "code": code, "param": None}
    return Response(status, [*JSON, *headers], json.dumps({"error": error}).encode())


class Upstream:
    """A server that answers as it is told."""

    def __init__(self) -> None:
        self.server = Server(self._handle)
        self.answer = Response(200, JSON, WHOLE)
        self.asked = 0
        self.codings: set[bytes | None] = set()

    async def _handle(self, request: Request) -> Response:
        await request.read()
        self.codings.add(request.header(b"accept-encoding"))
        self.asked += 1
        return self.answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/v1"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    one = Upstream()
    await one.server.start()
    yield one
    await one.server.drain(0.05)


@asynccontextmanager
async def running(app: hr.App, folder: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a whole server of an app."""
    async with whole_server(app, folder) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


def with_key(folder: Path, **members: Any) -> dict[str, str]:
    """Make a key before the server starts; the headers of its requests."""
    key = {"id": "k1", "name": "shop", "sha256": digest_of(b"hr-secret")} | members
    (folder / "data").mkdir()
    (folder / "data" / "keys.yaml").write_text(json.dumps({"keys": [key]}))
    return {"authorization": "Bearer hr-secret"}


async def ask(client: httpx.AsyncClient, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
    headers = more.pop("headers", None)
    return await client.post(path, json={"model": "llm", "max_tokens": 5, "messages": HI} | more, headers=headers)


async def broken(client: httpx.AsyncClient) -> str:
    """What came of a stream that broke off."""
    came = b""
    asking = {"model": "llm", "stream": True, "messages": HI}
    with contextlib.suppress(httpx.RemoteProtocolError):
        async with client.stream("POST", "/v1/chat/completions", json=asking) as answer:
            async for piece in answer.aiter_raw():
                came += piece
    return came.decode()


# An upstream that wants to be left alone ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        refusing(429, "You exceeded your quota.", "insufficient_quota"),
        refusing(402, "Insufficient balance.", "invalid_request_error"),
    ],
)
async def test_no_credit_at_a_provider_is_told_as_that_until_it_answers_again(
    tmp_path: Path, upstream: Upstream, refusal: Response, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = hr.App("shop")
    app.model("llm", hr.models.OpenAI(upstream.url, model="m", name="big"), deadline="5s")
    upstream.answer = refusal
    async with running(app, tmp_path) as client:
        first = await ask(client)
        assert (first.status_code, first.content) == (refusal.status, refusal.body)
        second = await ask(client)
        assert (second.status_code, second.json()["error"]["code"]) == (429, "insufficient_quota")
        assert "big is paused for 300 s: no credit is left there" in second.json()["error"]["message"]
        assert (second.headers["retry-after"], second.headers["x-should-retry"]) == ("300", "false")
        claude = await ask(client, "/v1/messages")
        assert (claude.status_code, claude.json()["error"]["type"]) == (402, "billing_error")
        assert upstream.asked == 1
        labels = 'model="llm",upstream="big",reason='
        lines = (await client.get("/metrics")).text.splitlines()
        assert f'headrace_upstream_paused_seconds{{{labels}"rate_limited"}} 0.000' in lines
        [paused] = [line for line in lines if line.startswith(f'headrace_upstream_paused_seconds{{{labels}"quota"}}')]
        assert 290 < float(paused.split()[-1]) <= 300
        assert 'headrace_model_calls_total{model="llm",upstream="none",outcome="no_credit"} 2' in lines
        [problem] = (await client.get("/freshness")).json()["problems"]
        assert (problem["subject"], problem["kind"]) == ("upstream:llm/big", "upstream_paused")
        assert "no credit is left" in problem["message"]
    told = [record.message for record in caplog.records if record.name == "headrace.models.pause"]
    said = json.loads(refusal.body)["error"]["message"]
    assert told == [
        f"the model 'llm': big is paused for 300 s: no credit is left there (big answered {refusal.status}: {said})"
    ]


async def test_a_pause_is_told_once_and_its_end_once(
    tmp_path: Path, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = hr.App("shop")
    retry = {"retry": {"attempts": 1}}
    app.model("llm", hr.models.OpenAI(upstream.url, model="m", name="big"), deadline="100ms", policies=retry)
    async with running(app, tmp_path) as client:
        for _ in range(2):
            upstream.answer = refusing(429, "pay", "insufficient_quota", (b"retry-after-ms", b"300"))
            assert (await ask(client)).status_code == 429
            refused = await ask(client)
            assert "big is paused for 1 s: no credit is left there" in refused.json()["error"]["message"]
            await asyncio.sleep(0.3)
        upstream.answer = Response(200, JSON, WHOLE)
        for _ in range(2):
            assert (await ask(client)).status_code == 200
        upstream.answer = refusing(429, "slow down", "requests", (b"retry-after", b"1800"))
        assert (await ask(client)).headers["retry-after"] == "1800"
        limited = await ask(client)
        error = limited.json()["error"]
        assert (limited.headers["retry-after"], error["code"]) == ("1800", "rate_limit_exceeded")
        assert "big is paused for 1800 s: it is over its rate limits" in error["message"]
        text = (await client.get("/metrics")).text
        assert 'headrace_upstream_paused_seconds{model="llm",upstream="big",reason="quota"} 0.000' in text
    told = [record.message for record in caplog.records if record.name == "headrace.models.pause"]
    assert [line.partition(", after")[0] for line in told] == [
        "the model 'llm': big is paused for 1 s: no credit is left there (big answered 429: pay)",
        "the model 'llm': big answers again",
        "the model 'llm': big is paused for 1800 s: it is over its rate limits (big answered 429: slow down)",
    ]


# What no client is told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "advice"),
    [
        (
            b"https://inside.example:8443/v2/chat/completions?token=abc",
            "set its url to 'https://inside.example:8443/v2'",
        ),
        (b"/v2/chat/completions", "set its url to '{origin}/v2'"),
        (b"https://inside.example/login", "is its url right?"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_a_fault_of_the_declaration(
    tmp_path: Path, upstream: Upstream, status: int, location: bytes, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = hr.App("shop")
    app.model("llm", hr.models.OpenAI(upstream.url, model="m", name="big"), deadline="5s")
    upstream.answer = Response(status, [(b"location", location)], b"<html>moved to inside.example</html>")
    async with running(app, tmp_path) as client:
        answer = await ask(client)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], answer.headers["x-should-retry"]) == (502, "upstream_failed", "false")
    assert f"big: it answered {status}; whoever runs this server must see to that" in error["message"]
    assert "inside" not in answer.text
    [told] = [record.message for record in caplog.records if record.name == "headrace.gateway"]
    assert advice.format(origin=upstream.url.removesuffix("/v1")) in told
    assert "token" not in told


INSIDE = b"<html><body>proxy at inside.example:8443</body></html>"
HTML = [(b"content-type", b"text/html")]


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize(
    ("answer", "status", "code", "said"),
    [
        (Response(200, HTML, INSIDE), 502, "upstream_failed", "big: what it answered is of no use"),
        (Response(400, HTML, INSIDE), 400, "invalid_request", "big: it answered 400; the log of this server has what"),
        (Response(404, HTML, INSIDE), 502, "upstream_failed", "big: it answered 404; whoever runs this server must"),
        (Response(429, HTML, INSIDE), 429, "rate_limit_exceeded", "big: it answered 429"),
        (Response(500, HTML, INSIDE), 502, "upstream_failed", "big: it answered 500"),
        (refusing(500, "no route to inside.example:8443"), 502, "upstream_failed", "big: it answered 500"),
        (refusing(503, "inside.example:8443 is full"), 503, "overloaded", "big: it answered 503"),
        (refusing(401, "ask admin@inside.example"), 502, "upstream_failed", "no upstream took the key"),
        (refusing(200, "inside.example:8443 is ill"), 502, "upstream_failed", "big: what it answered is of no use"),
    ],
)
async def test_clients_are_told_names_and_operators_the_rest(
    tmp_path: Path,
    upstream: Upstream,
    answer: Response,
    status: int,
    code: str,
    said: str,
    keys: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = hr.App("shop")
    once = {"retry": {"attempts": 1}}
    app.model("llm", hr.models.OpenAI(upstream.url, model="m", name="big"), deadline="5s", policies=once)
    headers = with_key(tmp_path) if keys else {}
    upstream.answer = answer
    async with running(app, tmp_path) as client:
        for path in ("/v1/chat/completions", "/v1/messages"):
            found = await ask(client, path, headers=headers)
            error = found.json()["error"]
            assert said in error["message"]
            assert "inside" not in found.text
            if path == "/v1/chat/completions":
                assert (found.status_code, error["code"]) == (status, code)
        streamed = await ask(client, headers=headers, stream=True)
        assert said in streamed.json()["error"]["message"]
        assert "inside" not in streamed.text
    told = [record.message for record in caplog.records if record.name == "headrace.gateway"]
    assert len(told) == 3
    assert all("big" in line and "inside.example" in line for line in told)


@pytest.mark.parametrize(
    ("status", "kind"), [(200, b"application/json"), (200, b"text/event-stream"), (400, b"application/json")]
)
async def test_an_answer_that_is_compressed_unasked_is_told_as_that(
    tmp_path: Path, upstream: Upstream, status: int, kind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    app, once = hr.App("shop"), {"retry": {"attempts": 1}}
    app.model("llm", hr.models.OpenAI(upstream.url, model="m", name="big"), deadline="5s", policies=once)
    upstream.answer = Response(status, [(b"content-type", kind), (b"content-encoding", b"gzip")], gzip.compress(WHOLE))
    async with running(app, tmp_path) as client:
        for stream in (False, True):
            found = await ask(client, stream=stream)
            assert found.status_code == (502 if status == 200 else status)
            assert "\\x" not in found.json()["error"]["message"]
    told = [record.message for record in caplog.records if record.name == "headrace.gateway"]
    assert upstream.codings == {b"identity"}
    assert len(told) == 2
    assert all("the answer is compressed (content-encoding 'gzip'), and was not asked to be" in line for line in told)
    assert not any("\\x" in line or "no JSON" in line for line in told)


async def test_an_address_that_nobody_listens_at_is_for_the_log(
    tmp_path: Path, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    app, once = hr.App("shop"), {"retry": {"attempts": 1}}
    gone, plain = "http://127.0.0.1:9/v1", upstream.url.replace("http:", "https:")
    app.model("llm", hr.models.OpenAI(gone, model="m", name="big"), deadline="5s", policies=once)
    app.model("tls", hr.models.OpenAI(plain, model="m", name="big"), deadline="5s", policies=once)

    @app.endpoint("/pick")
    async def pick(ask: str, ctx: hr.Context) -> str:
        return (await ctx.llm.chat(ask)).text

    async with running(app, tmp_path) as client:
        for model in ("llm", "tls"):
            found = await ask(client, model=model)
            assert (found.status_code, found.json()["error"]["code"]) == (502, "upstream_failed")
            assert "big: it cannot be reached" in found.text
            assert "127.0.0.1" not in found.text
        found = await client.post("/pick", json="Hi")
        assert (found.status_code, found.json()["reason"]) == (502, "failed")
        assert "big: it cannot be reached" in found.json()["detail"]
    told = [record.message for record in caplog.records if record.name in ("headrace.gateway", "headrace.pipeline")]
    assert len(told) == 3
    assert all("big: cannot connect to http" in line and "://127.0.0.1:" in line for line in told)


@pytest.mark.parametrize(("text", "why"), [(None, "No such file"), ("no certificate", "no certificate in PEM")])
async def test_a_file_of_authorities_that_is_none_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, why: str
) -> None:
    file = tmp_path / "own.pem"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    app = hr.App("shop")
    app.model("llm", hr.models.OpenAI("https://127.0.0.1:9/v1", model="m"))
    with pytest.raises(DeclarationError, match=f"SSL_CERT_FILE names '{file}'.*{why}"):
        async with running(app, tmp_path):
            raise AssertionError("it is served")


async def test_what_an_upstream_says_of_a_request_is_passed_on(tmp_path: Path, upstream: Upstream) -> None:
    app = hr.App("shop")
    app.model("llm", hr.models.OpenAI(upstream.url, model="m", name="big"), deadline="5s")
    async with running(app, tmp_path) as client:
        for status in (400, 404, 413, 422):
            upstream.answer = refusing(status, "temperature must be at most 2", "invalid_value")
            found = await ask(client)
            assert (found.status_code, found.content) == (status, upstream.answer.body)
            claude = await ask(client, "/v1/messages")
            assert (claude.status_code, claude.json()["error"]["message"]) == (status, "temperature must be at most 2")
        upstream.answer = Response(422, JSON, b'{"title": "Unprocessable", "status": 422}')
        assert (await ask(client)).content == upstream.answer.body
        upstream.answer = refusing(200, "temperature must be at most 2", "invalid_request_error")
        found = await ask(client)
        assert (found.status_code, found.json()["error"]["code"]) == (400, "invalid_request")
        assert "big: it says: temperature must be at most 2" in found.json()["error"]["message"]


@pytest.mark.parametrize(
    "repeated",
    [
        "secret-of-ours-12345678",
        "sk-abc...wxyz",
        "sk-proj-********************************1234",
        "sk-ant-api03-ABCdef_123-456",
        "gsk_0123456789abcdef",
    ],
)
@pytest.mark.parametrize("kind", ["whole", "stream", "broken"])
async def test_a_key_that_an_upstream_repeats_is_told_to_nobody(
    tmp_path: Path,
    upstream: Upstream,
    repeated: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("BIG_KEY", "secret-of-ours-12345678")
    app, once = hr.App("shop"), {"retry": {"attempts": 1}}
    app.model("llm", hr.models.OpenAI(upstream.url, model="m", name="big", key="BIG_KEY"), policies=once)
    told = f"Incorrect API key provided: {repeated}. The task-force and sk-learn know why."
    async with running(app, tmp_path) as client:
        if kind == "broken":
            events = [{"choices": [{"index": 0, "delta": {"content": "Hel"}}]}, {"error": {"message": told}}]
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
            upstream.answer = Response(200, [(b"content-type", b"text/event-stream")], text.encode())
            assert "the answer of 'big' broke off" in (await broken(client))
        else:
            for status in (400, 401, 200):
                upstream.answer = refusing(status, told, "invalid_request_error" if status != 401 else "")
                found = await ask(client, stream=kind == "stream")
                assert repeated not in found.text
    log = "\n".join(record.message for record in caplog.records)
    assert "Incorrect API key provided: ***" in log
    assert " The task-force and sk-learn know why" in log
    assert repeated not in log


# Keys with a budget ------------------------------------------------------------------------------------------------


async def test_a_fallback_without_a_price_is_passed_over_for_keys_with_a_budget(
    tmp_path: Path, upstream: Upstream
) -> None:
    app, other = hr.App("shop"), Upstream()
    await other.server.start()
    prices = hr.models.Prices.parse('models: {m: {input: "1", output: "1"}}')
    spare = app.model("spare", hr.models.OpenAI(other.url, model="spare-model", name="spare"), deadline="5s")
    big = hr.models.OpenAI(upstream.url, model="m", name="big")
    app.model("llm", big, fallback=spare, prices=prices, deadline="5s")
    claude = hr.models.Anthropic(upstream.url, model="m", name="claude")
    app.model("mixed", claude, fallback=spare, prices=prices, deadline="5s")
    budget = with_key(tmp_path, budget={"day": "1"})
    async with running(app, tmp_path) as client:
        answer = await ask(client, headers=budget)
        assert (answer.status_code, answer.headers["x-headrace-upstream"]) == (200, "big")
        upstream.answer = refusing(500, "down")
        answer = await ask(client, headers=budget)
        assert (answer.status_code, other.asked) == (502, 0)
        answer = await ask(client, model="spare", headers=budget)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (403, "model_not_priced")
        assert "'spare' has no price (it is spare-model at its upstreams)" in error["message"]
        # The one that has a price does not take embeddings, and the one that takes them has none.
        answer = await client.post("/v1/embeddings", json={"model": "mixed", "input": "Hi"}, headers=budget)
        assert answer.status_code == 400
        assert "no upstream of 'mixed' that takes this request has a price" in answer.json()["error"]["message"]
        assert other.asked == 0
    await other.server.drain(0.05)
