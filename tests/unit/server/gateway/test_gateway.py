"""What `/v1` has beside the calls to models."""

from __future__ import annotations

from typing import Any

import pytest


async def test_models_are_listed_to_whoever_may_call_them(world: Any, kit: Any) -> None:
    answer = await world.ask(b"", "/v1/models", method="GET")
    assert [one["id"] for one in kit.document(answer)["data"]] == ["llm"]
    answer = await world.ask(b"", "/v1/models/llm", method="GET")
    assert kit.document(answer)["object"] == "model"
    assert (await world.ask(b"", "/v1/models/gpt", method="GET")).status == 404
    answer = await world.ask(b"", "/v1/models", method="GET", anthropic_version="2023-06-01")
    assert kit.document(answer)["has_more"] is False
    world.keys(models=["other"])
    assert (await world.ask(b"", "/v1/models", method="GET")).status == 401
    answer = await world.ask(b"", "/v1/models", method="GET", key=kit.SECRET)
    assert kit.document(answer)["data"] == []


async def test_paths_and_methods_that_are_not_there(world: Any, kit: Any) -> None:
    answer = await world.ask(path="/v1/completions")
    assert (answer.status, kit.document(answer)["error"]["code"]) == (404, "not_found")
    answer = await world.ask(path="/v1/messages/count_tokens")
    assert (answer.status, kit.document(answer)["type"]) == (404, "error")
    answer = await world.ask(b"", method="GET")
    assert (answer.status, kit.told(answer)["allow"]) == (405, "POST")


async def test_a_compressed_body_is_not_taken(world: Any, kit: Any) -> None:
    answer = await world.ask(b"\x1f\x8b\x08", content_encoding="gzip")
    error = kit.document(answer)["error"]
    assert (answer.status, error["code"]) == (415, "unsupported_media_type")
    assert "content-encoding: 'gzip' is not taken" in error["message"]
    assert (await world.ask(content_encoding="identity")).status == 200


async def test_a_name_that_is_nearly_one_is_told_which_was_meant(world: Any, kit: Any) -> None:
    for answer in (await world.ask(kit.CHAT | {"model": "LLM"}), await world.ask(b"", "/v1/models/LLM", method="GET")):
        assert (answer.status, "did you mean 'llm'?" in kit.document(answer)["error"]["message"]) == (404, True)


@pytest.mark.parametrize(
    ("path", "method", "words"),
    [
        ("/chat/completions", "POST", "The base_url of OpenAI's clients ends in /v1"),
        ("/responses", "POST", "The base_url of OpenAI's clients ends in /v1"),
        ("/embeddings?a=b", "POST", "The base_url of OpenAI's clients ends in /v1"),
        ("/models", "GET", "The base_url of OpenAI's clients ends in /v1"),
        ("/models/llm", "GET", "The base_url of OpenAI's clients ends in /v1"),
        ("/v1", "GET", "there is nothing at /v1; there are: /v1/chat/completions"),
        ("/v1/v1/messages", "POST", "the base_url of Anthropic's clients does not end in /v1"),
    ],
)
async def test_a_wrong_base_url_is_told_what_it_should_be(
    world: Any, kit: Any, path: str, method: str, words: str
) -> None:
    answer = await world.ask(path=path, method=method)
    error = kit.document(answer)["error"]
    assert (answer.status, error["code"], words in error["message"]) == (404, "not_found", True)


async def test_labels_come_from_the_declaration(world: Any, kit: Any) -> None:
    for number in range(50):
        await world.ask(kit.CHAT | {"model": f"made-up-{number}"})
    lines = [line for line in world.gateway.metrics() if line.startswith("headrace_model_requests_total")]
    assert lines == ['headrace_model_requests_total{model="none",upstream="none",status="404"} 50']


async def test_openapi_lists_the_paths(world: Any) -> None:
    paths = world.gateway.openapi()
    assert set(paths) == {
        "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages", "/v1/models", "/v1/models/{id}",
    }  # fmt: skip
