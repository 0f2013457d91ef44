"""Local models behind the router, declared in an app file as a user does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import subprocess
import sys
import uuid
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from local_pools import CLOCK, until

import headrace as hr
from headrace.app import load_app
from headrace.core.errors import DeclarationError, ModelRefused
from headrace.http1.client import Client
from headrace.models.local.provider import LocalCarrier
from headrace.models.reply import Caller
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.running import Models

APP = """
import os
import time
from pathlib import Path

import headrace as hr

app = hr.App("shop")
MARKER = Path(__file__).with_name("marker")


def act(value):
    if value == "die once" and not MARKER.exists():
        MARKER.touch()
        os._exit(1)
    if value == "bad":
        raise ValueError("no such customer")
    if value == "broken":
        raise RuntimeError("/secret/path is gone")
    if value == "slow":
        time.sleep(0.2)
    return {"seen": value}


def load():
    return lambda batch: [act(value) for value in batch]


def load_vectors():
    return lambda texts: [[len(text), 0.5] for text in texts]


def load_missing():
    return open("/nowhere/model.onnx")


app.model("fraud", hr.models.Local(load, name="here"), policies={"retry": {"base": "1ms"}})
app.model("vectors", hr.models.Local(load_vectors, dialect="embeddings", queue=8, max_batch=8))
"""


@contextlib.asynccontextmanager
async def running(tmp_path: Path, extra: str = "") -> AsyncIterator[Models]:
    name = f"shop_{uuid.uuid4().hex[:8]}"  # modules are kept by name
    file = tmp_path / f"{name}.py"
    file.write_text(APP + extra)
    declared = load_app(file).models
    async with (
        Client() as client,
        Models(declared, client=client, clock=CLOCK, random=Random(1), environment={}) as models,
    ):
        yield models


async def ask(caller: Caller, document: Any, dialect: Dialect = Dialect.JSON, *, within: float = 30) -> tuple[Any, Any]:
    request = ModelRequest(dialect, json.dumps(document).encode(), document, stream=False, prompt_tokens=7)
    reply = await caller.send(request, Terms(uuid.uuid4().hex, CLOCK.monotonic() + within))
    return json.loads(await reply.read()), reply


async def test_any_json_goes_in_and_comes_out(tmp_path: Path) -> None:
    async with running(tmp_path) as models:
        answer, reply = await ask(models["fraud"], {"amount": 12.5, "who": "é"})
        assert answer == {"seen": {"amount": 12.5, "who": "é"}}
        assert (reply.status, reply.upstream, reply.attempts) == (200, "here", 1)
        answer, _ = await ask(models["fraud"], {"model": "fraud", "input": [1, 2]})
        assert answer == {"output": {"seen": [1, 2]}}
        for other in (5, 2.5, None, True, "input", [], ["input"]):
            assert (await ask(models["fraud"], other))[0] == {"seen": other}


SCORING = """
class Numbers:
    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values


@app.endpoint("/score")
async def score(ask: dict, ctx: hr.Context) -> list:
    return [await ctx.fraud.json(value) for value in ({"input": Numbers([1])}, {"amounts": Numbers([2])}, 5)]
"""


async def test_a_handler_gives_it_arrays_and_plain_values(tmp_path: Path) -> None:
    file = tmp_path / "shop_scoring.py"
    file.write_text(APP + SCORING)
    async with load_app(file).run(data=tmp_path / "data") as live:
        found = await live.ask("/score", {})
    assert found.value == [{"output": {"seen": [1]}}, {"seen": {"amounts": [2]}}, {"seen": 5}]


NO_GUARD = """
import asyncio
import headrace as hr

app = hr.App("shop")


def load():
    return lambda batch: batch


local = hr.models.Local(load)
app.model("fraud", local)


@app.endpoint("/a")
async def answer(ask: dict, ctx: hr.Context) -> dict:
    return {}


async def main():
    async with MANAGER:
        print("running")


asyncio.run(main())
"""


@pytest.mark.parametrize("manager", ['app.run(data="data")', "local.run()"])
def test_a_file_that_runs_the_app_when_it_is_imported_starts_no_chain_of_workers(tmp_path: Path, manager: str) -> None:
    file = tmp_path / "no_guard.py"
    file.write_text(NO_GUARD.replace("MANAGER", manager))
    done = subprocess.run([sys.executable, file], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.strip().splitlines()[-2:]
    line = NO_GUARD.splitlines().index("    async with MANAGER:") + 1
    assert f"{file}:{line}: a worker of the model" in last[0]
    assert "started inside a worker" in last[0]
    assert 'under `if __name__ == "__main__":`' in last[1]


async def test_a_bad_input_is_the_fault_of_whoever_asked_and_is_not_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path) as models:
        with pytest.raises(ModelRefused) as raised:
            await ask(models["fraud"], {"input": "bad"})
        assert raised.value.status == 400
        assert json.loads(raised.value.body)["error"]["message"] == "ValueError: no such customer"


async def test_what_a_broken_model_says_is_not_put_into_a_body(tmp_path: Path) -> None:
    async with running(tmp_path) as models:
        with pytest.raises(ModelRefused) as raised:
            await ask(models["fraud"], {"input": "broken"})
        assert (raised.value.failure, raised.value.body) == ("server_error", b"")


async def test_a_call_whose_worker_died_is_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path) as models:
        answer, reply = await ask(models["fraud"], {"input": "die once"})
        assert answer == {"output": {"seen": "die once"}}
        assert reply.attempts == 2


async def test_what_cannot_be_answered_in_time_never_reaches_the_worker(tmp_path: Path) -> None:
    async with running(tmp_path, 'app.model("slow", hr.models.Local(load, name="one", budget="1s"))\n') as models:
        carrier = next(one for provider, one in models.carriers.items() if provider.name == "one")
        assert isinstance(carrier, LocalCarrier)
        pool = carrier.pool
        for _ in range(3):  # what a batch takes must be known
            await ask(models["slow"], {"input": "slow"})
        held = asyncio.create_task(ask(models["slow"], {"input": "slow"}))
        await until(lambda: pool.counters.batches == 4)
        began = CLOCK.monotonic()
        with pytest.raises(ModelRefused) as refused:  # the worker is free in 0.2 s, and 0.1 s is too little then
            await ask(models["slow"], {"input": "slow"}, within=0.3)
        assert CLOCK.monotonic() - began < 0.29, "it waited for a deadline that nothing could keep"
        assert (refused.value.failure, pool.counters.expired) == ("timeout", 1)
        await held
        assert pool.counters.batches == 4


async def test_embeddings_are_those_of_openai(tmp_path: Path) -> None:
    async with running(tmp_path) as models:
        document = {"model": "vectors", "input": ["one", "three"]}
        answer, reply = await ask(models["vectors"], document, Dialect.EMBEDDINGS)
        assert [item["embedding"] for item in answer["data"]] == [[3.0, 0.5], [5.0, 0.5]]
        assert [item["index"] for item in answer["data"]] == [0, 1]
        assert answer["model"] == "vectors"
        assert reply.usage.prompt_tokens == 7
        answer, _ = await ask(models["vectors"], {**document, "encoding_format": "base64"}, Dialect.EMBEDDINGS)
        assert struct.unpack("<2f", b64decode(answer["data"][1]["embedding"])) == (5.0, 0.5)
        for given in ([], "", [["a"]], 7, ["a", 1], None):
            with pytest.raises(ModelRefused) as raised:
                await ask(models["vectors"], {"input": given}, Dialect.EMBEDDINGS)
            assert raised.value.status == 400


async def test_a_request_for_more_embeddings_than_may_wait_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as models:
        texts = ["x" * (number % 50 + 1) for number in range(100)]
        answer, _ = await ask(models["vectors"], {"input": texts}, Dialect.EMBEDDINGS)
        assert [item["embedding"][0] for item in answer["data"]] == [len(text) for text in texts]


async def test_many_calls_at_once_share_batches(tmp_path: Path) -> None:
    async with running(tmp_path) as models:
        answers = await asyncio.gather(*(ask(models["fraud"], {"input": number}) for number in range(200)))
        assert [answer for answer, _ in answers] == [{"output": {"seen": number}} for number in range(200)]


async def test_a_model_that_cannot_be_loaded_keeps_the_app_from_starting(tmp_path: Path) -> None:
    line = APP.splitlines().index('    return open("/nowhere/model.onnx")') + 1
    with pytest.raises(DeclarationError, match="FileNotFoundError") as raised:
        async with running(tmp_path, '\napp.model("broken", hr.models.Local(load_missing))\n'):
            pass
    assert raised.value.where.endswith(f".py:{line}")


def test_what_is_not_found_by_name_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "nameless.py"
    file.write_text(APP + '\napp.model("x", hr.models.Local(lambda: load()))\n')
    with pytest.raises(DeclarationError, match="cannot be found by its name in a worker process") as raised:
        load_app(file)
    assert raised.value.where == f"{file}:{len(APP.splitlines()) + 2}"


async def test_a_module_that_is_not_there_is_told_without_a_traceback_and_on_the_line_of_the_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = hr.App("t")
    model = app.model("llm", hr.models.Local("nofile.fraud:load"))
    models = Models(app.models, client=Client(), clock=CLOCK, random=Random(0), environment={})
    with pytest.raises(DeclarationError, match="there is no module 'nofile'") as raised:
        async with models:
            pass
    assert raised.value.where == model.where
    assert "beside the app file" in raised.value.hint
    assert "Traceback" not in caplog.text
