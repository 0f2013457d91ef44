"""A mock over real sockets: its times, limits, queue, failures and counters."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.core.clock import SystemClock
from headrace.core.errors import DeclarationError, HeadraceError
from headrace.http1 import Client, Origin
from headrace.models.headers import read_limits
from headrace.testing import Mock, mock_llm

CLOCK = SystemClock()


def chat(mock: Mock, *, fail: str = "", timeout: float = 10, **more: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    headers = {"x-mock-fail": fail} if fail else {}
    return httpx.post(f"{mock.base_url}/chat/completions", json=body, headers=headers, timeout=timeout, verify=False)


def timed(mock: Mock, **more: Any) -> float:
    begin = CLOCK.monotonic()
    assert chat(mock, **more).status_code == 200
    return CLOCK.monotonic() - begin


def test_times_are_as_said() -> None:
    with mock_llm(first_token="200ms", tokens_per_second=50, output_tokens=10) as mock:
        assert 0.4 <= timed(mock) < 1.2
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        begin, came = CLOCK.monotonic(), []
        with httpx.stream("POST", f"{mock.base_url}/chat/completions", json=body) as answer:
            for line in answer.iter_lines():
                came += [CLOCK.monotonic() - begin] if '"content":" ' in line else []
    assert 0.2 <= came[0] < 0.8
    assert len(came) == 9  # the first of ten has no space before it
    assert came[-1] - came[0] == pytest.approx(8 / 50, abs=0.15)


def test_a_long_prompt_takes_as_long_as_its_prefill() -> None:
    with mock_llm(prefill=1000.0) as mock:
        assert timed(mock, messages=[{"role": "user", "content": "word " * 400}]) >= 0.4


def test_slots_queue_and_then_refuse() -> None:
    # One client for all three: each takes up to 0.3 s to start, and all are to be there before the first is done.
    with (
        mock_llm(first_token="2s", slots=1, queue=1, overflow=503) as mock,
        httpx.Client(verify=False, timeout=10) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        answers = list(pool.map(lambda _: client.post(f"{mock.base_url}/chat/completions", json=body), range(3)))
        stats = mock.stats()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    first, second = sorted(answer.elapsed.total_seconds() for answer in answers if answer.is_success)
    assert second - first >= 0.6  # the second one waited for the first
    assert (stats["answered"], stats["refused"], stats["in_flight"]) == (2, 1, 0)


async def test_who_leaves_the_queue_frees_it() -> None:
    with mock_llm(first_token="400ms", slots=1, queue=1) as mock:
        async with httpx.AsyncClient() as client:
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            url = f"{mock.base_url}/chat/completions"
            first = asyncio.create_task(client.post(url, json=body))
            await asyncio.sleep(0.1)
            with pytest.raises(httpx.ReadTimeout):
                await client.post(url, json=body, timeout=0.1)
            third = await client.post(url, json=body)
            assert (await first).status_code == third.status_code == 200
        assert mock.stats()["cancelled"] == 1


def test_rate_limits_are_told_in_each_providers_headers() -> None:
    with mock_llm(requests_per_minute=2, tokens_per_minute=1000) as mock:
        first = chat(mock, max_tokens=100)
        told = read_limits(dict(first.headers), CLOCK.now())
        assert told.requests is not None
        assert (told.requests.limit, told.requests.remaining) == (2, 1)
        assert told.requests.reset == pytest.approx(30, abs=1)
        assert told.tokens is not None
        assert told.tokens.remaining == 896  # 4 for the prompt, and the 100 that its answer may have
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        second = httpx.post(f"{mock.url}/v1/messages", json=body)
        assert second.headers["anthropic-ratelimit-requests-remaining"] == "0"
        claude = read_limits(dict(second.headers), CLOCK.now())
        assert claude.requests is not None
        assert claude.requests.reset == pytest.approx(60, abs=2)
        assert claude.tokens is not None
        # The first one's answer had 32 tokens: 68 were given back, and the second one takes 9.
        assert claude.tokens.remaining == pytest.approx(955, abs=25)
        third = chat(mock)
    assert third.status_code == 429
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    wait = read_limits(dict(third.headers), CLOCK.now()).retry_after
    assert wait == pytest.approx(30, abs=1)


def test_a_request_over_the_tokens_of_a_minute_is_refused() -> None:
    with mock_llm(tokens_per_minute=100) as mock:
        assert chat(mock, max_tokens=500).status_code == 429
        assert chat(mock, max_tokens=50).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cancel_is_seen_at_once(stream: bool) -> None:
    with mock_llm(first_token="100ms", tokens_per_second=20, output_tokens=100) as mock:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}).encode()
        async with Client() as client:
            asked = client.request(b"POST", Origin.parse(mock.url), b"/v1/chat/completions", (), body)
            if stream:
                answer = await asked
                await anext(answer)
                left = CLOCK.now()
                await answer.aclose()
            else:
                waiting = asyncio.ensure_future(asked)
                await asyncio.sleep(0.3)
                left = CLOCK.now()
                waiting.cancel()
                await asyncio.wait([waiting])
        await asyncio.sleep(0.3)
        (entry,) = await asyncio.to_thread(mock.requests)
    assert entry["outcome"] == "cancelled"
    assert 0 <= entry["ended"] - left < 250_000  # 100 ms is what is promised; the rest is for a busy machine
    assert entry["tokens"] < 100


def test_hang_holds_its_slot_until_the_client_leaves() -> None:
    with mock_llm(slots=1, queue=0) as mock:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(chat, mock, fail="hang", timeout=0.5)
            while not mock.stats()["in_flight"]:
                pass
            assert chat(mock).status_code == 429
            with pytest.raises(httpx.ReadTimeout):
                waiting.result()
        until = CLOCK.monotonic() + 2
        while mock.stats()["in_flight"] and CLOCK.monotonic() < until:
            pass
        assert chat(mock).status_code == 200
        assert mock.stats()["failures"] == {"hang": 1}


def test_failures_come_by_share_and_are_the_same_for_the_same_seed() -> None:
    def statuses(seed: int) -> list[int]:
        with mock_llm(failures={"500": 0.3, "429": 0.2}, seed=seed) as mock:
            return [chat(mock).status_code for _ in range(40)]

    one = statuses(1)
    assert one == statuses(1)
    assert one != statuses(2)
    assert set(one) == {200, 429, 500}
    assert 5 <= one.count(500) <= 20


def test_forced_failures_count_down() -> None:
    with mock_llm() as mock:
        mock.force("503", times=2)
        assert [chat(mock).status_code for _ in range(3)] == [503, 503, 200]
        mock.force("500")
        assert [chat(mock).status_code for _ in range(3)] == [500, 500, 500]
        assert chat(mock, fail="none").status_code == 200  # a request's own header counts before it
        mock.relax()
        assert chat(mock).status_code == 200
        with pytest.raises(HeadraceError, match="there is no failure 'typo'"):
            mock.force("typo")


def test_clearing_forgets_what_is_over_and_no_identifier_comes_twice() -> None:
    with mock_llm() as mock:
        first = chat(mock).json()["id"]
        mock.clear()
        assert mock.requests() == []
        assert chat(mock).json()["id"] != first
        assert mock.stats()["requests"] == 1


def test_slow_first_token_and_no_done() -> None:
    with mock_llm(slow_seconds=0.4) as mock:
        assert timed(mock) < timed(mock, fail="slow-first-token")
        text = chat(mock, fail="no-done", stream=True).text
    assert '"finish_reason":"stop"' in text
    assert "[DONE]" not in text


def test_a_file_of_answers(tmp_path: Path) -> None:
    file = tmp_path / "answers.py"
    file.write_text(
        "def answer(prompt):\n"
        "    if 'fail' in prompt.last: raise ValueError('no')\n"
        "    return {'rows': len(prompt.contexts['dishes'])} if prompt.contexts else None\n"
    )
    with mock_llm(answers=file, output_tokens=3) as mock:
        told = chat(mock, messages=[{"role": "user", "content": 'dishes:\n[{"a": 1}, {"a": 2}]'}])
        assert told.json()["choices"][0]["message"]["content"] == '{"rows":2}'
        assert chat(mock).status_code == 200
        failed = chat(mock, messages=[{"role": "user", "content": "fail"}])
        assert (failed.status_code, "ValueError" in failed.text) == (500, True)


def test_keys_and_models_are_checked_where_it_is_told_to() -> None:
    with mock_llm(api_key="secret", models=["one"], any_model=False) as mock:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        url, key = f"{mock.base_url}/chat/completions", {"authorization": "Bearer secret"}
        assert httpx.post(url, json=body).status_code == 401
        assert httpx.post(url, json=body, headers=key).status_code == 404
        assert httpx.post(url, json=body | {"model": "one"}, headers=key).status_code == 200
        assert httpx.post(url, content=b"{", headers=key).status_code == 400
        assert httpx.post(f"{mock.base_url}/nothing", json=body).status_code == 404
        assert httpx.put(url, json=body).status_code == 405


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_where_it_is_and_ends_with_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    settings = tmp_path / "mock.yaml"
    settings.write_text("answers:\n  - when: hello\n    with: '{name}!'\nfailures: {429: 0.5}\nmodels: [one]\n")
    command = [sys.executable, "-m", "headrace", "mock-llm", "--port", "0", "--settings", str(settings)]
    command += ["--fail", "429=0", "--output-tokens", "4"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        mock = Mock(url)
        told = chat(mock, messages=[{"role": "user", "content": 'hello\n{"name": "Ada"}'}])
        assert told.json()["choices"][0]["message"]["content"] == "Ada!"
        assert chat(mock).json()["usage"]["completion_tokens"] == 4
        assert mock.stats()["answered"] == 2
    finally:
        process.send_signal(number)
        assert process.wait(10) == 0
        process.stdout.close()


def test_a_mock_in_a_process_takes_all_settings(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"prompt_tokens": 5, "output_tokens": 7, "first_token": 0.01, "total": 0.02}\n')
    with mock_llm(process=True, fit=trace, answers=[{"when": "x", "with": "{a}", "pick": "first"}]) as mock:
        assert chat(mock).json()["usage"]["completion_tokens"] == 7
        told = chat(mock, messages=[{"role": "user", "content": 'x\n{"a": 1.50}'}])
        assert told.json()["choices"][0]["message"]["content"] == "1.50"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--first-token", "soon"], '"300ms"'),
        (["--tokens-per-second", "0"], "leave it out, and all of it comes at once"),
        (["--host", "192.0.2.1", "--port", "0"], "give an address of this machine"),
    ],
)
def test_the_command_says_what_to_write_instead(options: list[str], said: str) -> None:
    found = CliRunner().invoke(main, ["mock-llm", *options])
    assert (found.exit_code, said in found.output, "docs/" in found.output) == (1, True, False), found.output


def test_settings_that_do_not_hold_are_told_before_anything_starts() -> None:
    with pytest.raises(DeclarationError, match="no failure 'typo'"), mock_llm(failures={"typo": 0.1}):
        pass
