"""Fallbacks of endpoints beside models that are really asked: when they answer, and what is known of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import headrace as hr
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
