"""`headrace dev` as whoever writes an app has it: what is under way at a save, and the files of prompts.

And `headrace serve`, as it is told how long what is under way has to end.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from running import CLOCK, Program, eventually, pause

STREAMS = """
import asyncio
from collections.abc import AsyncIterator

import headrace as hr

app = hr.App("streams")


@app.endpoint("/stream", deadline="60s")
async def stream(ask: str, ctx: hr.Context) -> AsyncIterator[str]:
    for number in range(60):
        yield str(number)
        await asyncio.sleep(0.5)


@app.endpoint("/which", deadline="5s")
async def which(ask: str, ctx: hr.Context) -> str:
    return "one"
"""

PROMPTS = """
from pathlib import Path
from threading import Event

import headrace as hr

app = hr.App("prompts")
PROMPT = hr.Prompt("../prompts/tone.txt")


@app.endpoint("/prompt", deadline="5s", prompts=[PROMPT])
async def prompt(ask: str, ctx: hr.Context) -> str:
    return str(PROMPT)


if Path("slowly").exists():
    Path("loading").touch()
    Event().wait(1)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Program] = []
    folder = tmp_path / "shop"
    folder.mkdir()

    def make(*words: str, text: str) -> Program:
        started.append(Program(folder, *words, text=text))
        return started[-1]

    yield make
    for one in started:
        one.close()


def test_a_stream_that_is_open_keeps_a_save_waiting_for_a_second(start) -> None:
    server = start("dev", "app.py", text=STREAMS)
    url = server.url()
    with ThreadPoolExecutor() as pool:
        streaming = pool.submit(_stream, url)
        pause(1)
        server.app.write_text(STREAMS.replace('"one"', '"two"'))
        saved = CLOCK.monotonic()
        answer = eventually(lambda: _status(503, _ask(url + "/which")), seconds=10)
        assert answer.json()["type"] == "urn:headrace:problem:app-loading"
        assert "once what is under way has ended, which has up to 1 s" in answer.json()["detail"]
        assert answer.headers["retry-after"] == "1"
        assert httpx.get(url + "/healthz", timeout=2).is_success
        assert eventually(lambda: _status(200, _ask(url + "/which"))).json() == "two"
        assert CLOCK.monotonic() - saved < 15  # the stream lasts for thirty seconds
        assert 2 <= len(streaming.result()) < 20
    assert server.stop() == 0
    told = server.process.stdout.read()
    assert "what is under way has up to 1 s to end before app.py is loaded again\n" in told


def test_a_save_with_nothing_under_way_turns_nobody_away(start) -> None:
    server = start("dev", "app.py", text=STREAMS)
    url = server.url()
    server.app.write_text(STREAMS.replace('"one"', '"two"'))
    assert eventually(lambda: _said("two", _status_at_once(200, _ask(url + "/which")))) == "two"
    assert server.stop() == 0
    assert "under way" not in server.process.stdout.read()


def test_the_app_is_loaded_again_when_the_file_of_a_prompt_changes(start, tmp_path: Path) -> None:
    prompt = tmp_path / "prompts" / "tone.txt"
    prompt.parent.mkdir()
    prompt.write_text("kind")
    server = start("dev", "app.py", text=PROMPTS)
    url = server.url()
    assert _ask(url + "/prompt").json() == "kind"
    prompt.write_text("short and kind")
    eventually(lambda: _said("short and kind", _ask(url + "/prompt")))
    prompt.unlink()
    answer = eventually(lambda: _status(503, _ask(url + "/prompt")))
    assert "cannot be read" in answer.json()["detail"]
    prompt.write_text("curt")
    eventually(lambda: _said("curt", _ask(url + "/prompt")))
    assert server.stop() == 0
    assert server.process.stdout.read().count("tone.txt changed: loading again\n") == 3


def test_an_app_may_have_as_many_prompts_as_it_likes(start, tmp_path: Path) -> None:
    prompt = tmp_path / "prompts" / "tone.txt"
    prompt.parent.mkdir()
    prompt.write_text("kind")
    for number in range(1200):
        (tmp_path / f"{number:0100d}.txt").write_text("x")
    many = "\nfor number in range(1200):\n    hr.Prompt(f'../{number:0100d}.txt')\n"
    server = start("serve", "app.py", text=PROMPTS + many)
    assert _ask(server.url() + "/prompt").json() == "kind"
    assert server.stop() == 0


def test_a_prompt_that_is_missing_from_the_start_is_waited_for(start, tmp_path: Path) -> None:
    server = start("dev", "app.py", text=PROMPTS)
    next(line for line in server.process.stdout if "waiting until" in line)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "tone.txt").write_text("kind")
    assert _ask(server.url() + "/prompt").json() == "kind"
    assert server.stop() == 0


def test_a_prompt_that_is_saved_after_it_was_read_and_before_the_app_serves_counts(start, tmp_path: Path) -> None:
    prompt = tmp_path / "prompts" / "tone.txt"
    prompt.parent.mkdir()
    prompt.write_text("kind")
    (tmp_path / "shop" / "slowly").touch()
    server = start("dev", "app.py", text=PROMPTS)
    eventually((tmp_path / "shop" / "loading").read_bytes)
    prompt.write_text("short and kind")
    url = server.url()
    eventually(lambda: _said("short and kind", _ask(url + "/prompt")), seconds=15)
    assert server.stop() == 0


def test_how_long_a_server_that_stops_waits_for_what_is_under_way_can_be_said(start) -> None:
    server = start("serve", "app.py", "--drain", "1s", text=STREAMS)
    url = server.url()
    with ThreadPoolExecutor() as pool:
        streaming = pool.submit(_stream, url)
        pause(1)
        begun = CLOCK.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert CLOCK.monotonic() - begun < 10
        assert 2 <= len(streaming.result()) < 20
    assert "stopping: what is under way has up to 1 s to end" in server.process.stdout.read()
    assert "not answered within 1 s of the signal to stop were broken off" in server.process.stderr.read()


def _ask(url: str) -> httpx.Response:
    return httpx.post(url, json="", timeout=30)


def _stream(url: str) -> list[str]:
    """The lines of data that came, to the end or to where it broke off."""
    lines: list[str] = []
    try:
        with httpx.stream("POST", url + "/stream", json="", timeout=60) as answer:
            lines.extend(line for line in answer.iter_lines() if line.startswith("data"))
    except httpx.RemoteProtocolError:
        pass
    return lines


def _status(expected: int, answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == expected
    return answer


def _status_at_once(expected: int, answer: httpx.Response) -> httpx.Response:
    """As `_status`, for an answer that no other try makes good."""
    if answer.status_code != expected:
        raise RuntimeError(answer.text)
    return answer


def _said(expected: str, answer: httpx.Response) -> str:
    assert answer.json() == expected
    return expected
