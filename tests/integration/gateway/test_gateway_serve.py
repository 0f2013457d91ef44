"""The gateway as `headrace serve` runs it: engine, worker, store, keys and upstream, each of which may stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from headrace.core.clock import SystemClock
from headrace.testing import Mock, mock_llm, stream_truth

sys.path.insert(0, str(Path(__file__).parents[1]))
from running import Running, eventually, pause

CLOCK = SystemClock()
HI: Any = [{"role": "user", "content": "Say something."}]
APP = """
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    shelf: int
    price: float = hr.Field(gt=0)


app.table(Item, key="item_id", index=["shelf"], freshness="1s")
app.view("on_shelf", "SELECT item_id, price FROM items WHERE shelf = :shelf ORDER BY item_id")
RULES = {
    "deadline": "5s",
    "prices": hr.models.Prices.parse('models: {"*": {input: "1", output: "2"}}'),
    "policies": %(policies)s,
}
app.model("mock-model", hr.models.OpenAI("%(url)s", name="one", stream_usage=%(usage)s), **RULES)
app.model("claude", hr.models.Anthropic("%(url)s", name="two"), **RULES)
"""


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    with mock_llm(tokens_per_second="200", slow_seconds=1.5) as mock:
        yield mock


def start(folder: Path, mock: Mock, *, workers: int = 1, policies: str = "None", usage: bool = True) -> Running:
    folder.mkdir(exist_ok=True)
    text = APP % {"url": mock.url, "policies": policies, "usage": usage}
    return Running(folder, workers=workers, text=text, composition="headrace.composition:composition")


@pytest.fixture(scope="module")
def truthful(tmp_path_factory: pytest.TempPathFactory, mock: Mock) -> Iterator[str]:
    """A gateway that does not wait long, for the suite of truths."""
    server = start(tmp_path_factory.mktemp("truth"), mock, policies=QUICK, usage=False)
    try:
        yield server.url()
    finally:
        server.close()


QUICK = '{"timeouts": {"first_token": 1.0, "total": 4.0, "idle": 1.0}, "breaker": OFF, "hedge": OFF}'.replace(
    "OFF", '{"enabled": False}'
)


@pytest.mark.slow
@pytest.mark.parametrize("case", stream_truth.CASES, ids=str)
async def test_tells_the_truth(case: Any, truthful: str, mock: Mock) -> None:
    # An upstream of the other dialect would be translated to, which is not byte for byte.
    model = "claude" if case.api == "messages" else "mock-model"
    (await stream_truth.check(case, stream_truth.Gateway(truthful, model, patience=7.0), mock)).hold()


CLIENTS: list[openai.OpenAI] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the clients that a test made."""
    yield
    while CLIENTS:
        CLIENTS.pop().close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, mock: Mock) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    server = start(folder, mock)
    try:
        yield Shop(server, server.url(), folder)
    finally:
        server.close()


@pytest.mark.parametrize(
    "name",
    ["chat-stream-whole-none", "messages-stream-whole-none", "messages-whole-whole-none", "chat-stream-refused-429"],
)
async def test_tells_the_truth_in_its_own_way_by_default(name: str, shop: Shop, mock: Mock) -> None:
    # Which asks the upstream for usage, translates to it, and tries again when it says.
    case = next(case for case in stream_truth.CASES if case.name == name)
    (await stream_truth.check(case, stream_truth.Gateway(shop.url), mock)).hold()


class Shop:
    """A gateway as it is by default."""

    def __init__(self, server: Running, url: str, folder: Path) -> None:
        self.server = server
        self.url = url
        self.folder = folder

    def engine(self) -> int:
        """The process that writes."""
        pid = self.server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0])

    def push(self, **row: Any) -> None:
        httpx.post(f"{self.url}/push/items", json=row, timeout=10).raise_for_status()

    def client(self, key: str = "any", **options: Any) -> openai.OpenAI:
        made = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)
        CLIENTS.append(made)
        return made


def key(shop: Shop, *words: str) -> str:
    """What `headrace key` prints."""
    command = [sys.executable, "-m", "headrace", "key", words[0], str(shop.server.app), "--data", str(shop.folder)]
    done = subprocess.run([*command, *words[1:]], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def ask(llm: openai.OpenAI, **more: Any) -> Any:
    return llm.chat.completions.with_raw_response.create(model="mock-model", messages=HI, **more)


CONTEXT: Any = {"headrace": {"context": [{"view": "on_shelf", "params": {"shelf": 7}}]}}


def test_goes_on_while_the_engine_stands_still(shop: Shop) -> None:
    shop.push(item_id="i1", shelf=7, price=2.5)
    llm = shop.client(timeout=5.0)
    assert "status=fresh" in ask(llm, extra_body=CONTEXT).headers["x-headrace-context"]
    engine = shop.engine()
    os.kill(engine, signal.SIGSTOP)
    try:
        for _ in range(20):
            assert ask(llm).parse().choices[0].message.content
        stream = llm.chat.completions.create(model="mock-model", messages=HI, stream=True)
        assert len(list(stream)) > 5
        pause(1.2)  # the promise is one second: the context is there, and known to be old
        found = ask(llm, extra_body=CONTEXT).headers["x-headrace-context"]
        assert "rows=1" in found
        assert "status=fresh" not in found
        refuse = {"headrace": {"context": [CONTEXT["headrace"]["context"][0] | {"policy": "refuse"}]}}
        with pytest.raises(openai.InternalServerError) as caught:
            ask(llm, extra_body=refuse)
        assert (caught.value.status_code, caught.value.code) == (503, "stale_context")
        ready = httpx.get(f"{shop.url}/readyz", timeout=5)
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert "stands still" in ready.json()["degraded"][0]
        assert "headrace_engine_ready 0" in httpx.get(f"{shop.url}/metrics", timeout=5).text
    finally:
        os.kill(engine, signal.SIGCONT)


def test_says_that_a_row_changed_between_the_read_and_the_answer(shop: Shop, mock: Mock) -> None:
    shop.push(item_id="i1", shelf=7, price=2.5)
    llm = shop.client()
    body = CONTEXT["headrace"] | {"on_stale": "retry"}
    mock.clear()
    mock.force("slow-first-token", times=1)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, llm, extra_body={"headrace": body})
        eventually(lambda: in_flight(mock), seconds=10)
        shop.push(item_id="i1", shelf=7, price=9.75)
        answer = asked.result(30)
    assert "x-headrace-unchanged-as-of" in answer.headers
    assert mock.stats()["requests"] == 2


def in_flight(mock: Mock) -> None:
    assert mock.stats()["in_flight"] == 1


def test_keys_are_made_and_revoked_while_it_runs(shop: Shop) -> None:
    secret = key(shop, "create", "team", "--rpm", "100", "--budget", "1/day")
    try:
        eventually(lambda: refused(shop), seconds=10)
        answer = ask(shop.client(secret))
        assert answer.headers["x-ratelimit-limit-requests"] == "100"
        with pytest.raises(openai.AuthenticationError):
            ask(shop.client("hr-other"))
        with anthropic.Anthropic(base_url=shop.url, api_key=secret, max_retries=0) as claude:
            assert claude.messages.create(model="claude", max_tokens=64, messages=HI).content
        eventually(lambda: spent(shop), seconds=10)
        key(shop, "revoke", "team")
        eventually(lambda: revoked(shop, secret), seconds=10)
    finally:
        (shop.folder / "keys.yaml").unlink()


def test_a_key_for_what_is_not_declared_is_told_and_keeps_no_other_from_counting(shop: Shop) -> None:
    secret, path = key(shop, "create", "team"), shop.folder / "keys.yaml"
    try:
        eventually(lambda: refused(shop), seconds=10)
        odd = f"- {{id: odd, name: odd, sha256: '{'a' * 64}', models: [mock-modle], views: ['*', on_shlef]}}\n"
        path.write_text(path.read_text() + odd)
        eventually(lambda: unknown(shop), seconds=10)
        key(shop, "revoke", "team")
        eventually(lambda: revoked(shop, secret), seconds=10)
    finally:
        path.unlink()


def unknown(shop: Shop) -> None:
    problems = httpx.get(f"{shop.url}/freshness", timeout=5).json()["problems"]
    found = {one["kind"]: one["message"] + one["hint"] for one in problems}
    assert {"keys_unknown_model", "keys_unknown_view"} <= set(found)
    assert "the key 'odd' names the model 'mock-modle'" in found["keys_unknown_model"]
    assert "did you mean 'mock-model'?" in found["keys_unknown_model"]
    assert "the view 'on_shlef', which is not declared" in found["keys_unknown_view"]


def told(shop: Shop, key: str = "any") -> str:
    """Why a key is refused; empty when it is not."""
    try:
        ask(shop.client(key))
    except openai.AuthenticationError as error:
        return error.message
    return ""


def refused(shop: Shop) -> None:
    assert told(shop)


def spent(shop: Shop) -> None:
    (row,) = json.loads(key(shop, "list", "--json"))
    assert float(row["in all"]) > 0


def revoked(shop: Shop, secret: str) -> None:
    assert "is revoked" in told(shop, secret)


def test_spending_survives_kill_9(tmp_path: Path, mock: Mock) -> None:
    first = start(tmp_path / "killed", mock)
    try:
        shop = Shop(first, first.url(), first.data)
        secret = key(shop, "create", "team", "--budget", "1/total")
        eventually(lambda: refused(shop), seconds=10)
        ask(shop.client(secret))
        eventually(lambda: spent(shop), seconds=10)
        before = json.loads(key(shop, "list", "--json"))[0]["in all"]
    finally:
        for pid in [shop.engine(), first.process.pid]:
            os.kill(pid, signal.SIGKILL)
        first.close()
    again = start(tmp_path / "killed", mock)
    try:
        shop = Shop(again, again.url(), again.data)
        ask(shop.client(secret))
        eventually(lambda: grown(shop, before), seconds=10)
    finally:
        again.close()


def grown(shop: Shop, before: str) -> None:
    assert float(json.loads(key(shop, "list", "--json"))[0]["in all"]) == pytest.approx(2 * float(before), rel=0.2)


def test_says_what_it_serves_and_counts(shop: Shop) -> None:
    with httpx.Client(base_url=shop.url, timeout=10) as http:
        assert "/v1/chat/completions" in http.get("/openapi.json").json()["paths"]
        before = http.get("/metrics").text
        assert 'headrace_model_requests_total{model="mock-model",upstream="one",status="200"}' in before
        assert 'headrace_model_answer_seconds_count{model="mock-model"}' in before
        foreign = http.post("/v1/chat/completions", json={}, headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403


def test_large_bodies_are_refused_as_clients_expect(shop: Shop) -> None:
    large: Any = [{"role": "user", "content": "x" * (17 * 1024 * 1024)}]
    with pytest.raises(openai.APIStatusError) as caught:
        shop.client().chat.completions.create(model="mock-model", messages=large)
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_several_workers_are_refused(tmp_path: Path, mock: Mock) -> None:
    server = start(tmp_path / "many", mock, workers=2)
    try:
        _, said = server.process.communicate(timeout=40)
        assert server.process.returncode != 0
        assert "an app with models (here 'mock-model') is served by one worker, not by 2" in said
    finally:
        server.close()
