"""Fallbacks of endpoints beside models that are really asked: when they answer, and what is known of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.core.errors import BadInput, ModelRefused
from headrace.core.failurelog import MOST
from headrace.testing import mock_llm


async def test_a_stream_that_has_begun_has_the_time_of_its_fallback_too(tmp_path: Path) -> None:
    with mock_llm(first_token="50ms", tokens_per_second=20, output_tokens=32) as mock:
        app = hr.App("shop")
        app.model("llm", hr.models.OpenAI(mock.url, model="m"), deadline="10s")

        @app.endpoint("/tell", deadline="2400ms", fallback="llm")
        async def tell(ask: str, ctx: hr.Context) -> AsyncIterator[str]:
            return await ctx.llm.chat(ask, stream=True)

        async with app.run(data=tmp_path) as live:
            told = await live.ask("/tell", "hello")
    assert (told.fallback, len(told.value) > 20) == (None, True)
    assert 1.6 < sum(told.stages.values()) < 2.4, (
        "as long as the model takes, past the 1.6 s until a fallback would begin"
    )


def load() -> Callable[[list[Any]], list[Any]]:
    """A model that takes texts in small letters."""

    def predict(texts: list[Any]) -> list[Any]:
        if any(text != text.lower() for text in texts):
            raise ValueError("write it in small letters")
        return texts

    return predict


async def test_what_a_local_model_says_of_an_input_reaches_whoever_asked_and_no_fallback_hides_it(
    tmp_path: Path,
) -> None:
    app = hr.App("shop")
    app.model("words", hr.models.Local(load), deadline="10s")

    @app.endpoint("/plain", deadline="10s")
    async def plain(ask: str, ctx: hr.Context) -> str:
        return await ctx.words.json(ask)

    @app.endpoint("/kept", deadline="10s", fallback=["sorry"])
    async def kept(ask: str, ctx: hr.Context) -> str:
        return await ctx.words.json(ask)

    @app.endpoint("/own", deadline="10s")
    async def own(ask: str, ctx: hr.Context) -> str:
        try:
            return await ctx.words.json(ask)
        except ModelRefused as error:
            return error.unfit

    async with app.run(data=tmp_path) as live:
        assert (await live.ask("/kept", "soup")).value == "soup"
        for path in ("/plain", "/kept"):
            with pytest.raises(BadInput, match="ValueError: write it in small letters") as caught:
                await live.ask(path, "Soup")
            assert (caught.value.status, caught.value.problems[0]["kind"]) == (422, "model")
        assert (await live.ask("/own", "Soup")).value == "ValueError: write it in small letters"


async def test_why_a_fallback_answers_is_in_the_log_a_few_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mock_llm(api_key="right") as mock:
        app = hr.App("shop")
        app.model("llm", hr.models.OpenAI(mock.url, model="m", headers={"authorization": "Bearer wrong"}))

        @app.endpoint("/tell", fallback="sorry")
        async def tell(ask: str, ctx: hr.Context) -> str:
            return (await ctx.llm.chat(ask)).text

        async with app.run(data=tmp_path) as live:
            for _ in range(MOST + 2):
                assert (await live.ask("/tell", "hello")).value == "sorry"
    lines = [one.getMessage() for one in caplog.records if one.name == "headrace.pipeline"]
    assert len(lines) == MOST
    assert "to '/tell': version a-" in lines[0]
    assert "answered 401: Incorrect API key provided" in lines[0]
    assert lines[0].endswith("(model-failed, 'constant' answers)")
