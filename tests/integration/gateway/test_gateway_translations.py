"""Official clients whose dialect the upstream does not speak: what is carried, what is left out, what is refused."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

HI: Any = [{"role": "user", "content": "Say something."}]


def chat(serving: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=serving.base_url, api_key="any", max_retries=0)


def claude(serving: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=serving.url, api_key="any", max_retries=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_anthropic_upstream_cannot_be_told_is_named(serve: Any, mock: Any, stream: bool) -> None:
    serving = await serve()
    async with chat(serving) as llm:
        raw = await llm.chat.completions.with_raw_response.create(
            model="claude",
            messages=HI,
            seed=7,
            temperature=1.5,
            logit_bias={"50256": -100},
            frequency_penalty=0,
            user="u1",
            stream=stream,  # pyright: ignore[reportArgumentType]
            extra_body={"bad\r\nname": 1},
        )
        assert raw.headers["x-headrace-dropped"] == "logit_bias, seed, temperature"
        plain = await llm.chat.completions.with_raw_response.create(model="claude", messages=HI)
        assert "x-headrace-dropped" not in plain.headers
        same = await llm.chat.completions.with_raw_response.create(model="llm", messages=HI, seed=7)
        assert "x-headrace-dropped" not in same.headers, "nothing is left out where nothing is translated"


async def test_what_an_openai_upstream_cannot_be_told_is_named(serve: Any) -> None:
    serving = await serve()
    async with claude(serving) as llm:
        raw = await llm.messages.with_raw_response.create(
            model="llm",
            max_tokens=2000,
            messages=HI,
            thinking={"type": "enabled", "budget_tokens": 1024},
            output_config={"effort": "low"},
        )
        assert raw.headers["x-headrace-dropped"] == "thinking, output_config.effort"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"n": 2}, "cannot be asked for several answers (n), which Anthropic's messages do not have"),
        ({"web_search_options": {}}, "cannot be asked for a search of the web (web_search_options)"),
        ({"response_format": {"type": "json_object"}}, "cannot be asked for response_format 'json_object', but for"),
        ({"tools": [{"type": "function"}]}, "cannot be asked that: a part of the type 'function' has no 'function'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "a part of the type 'text' has no 'text'"),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages[0].content: Expected `str | array | null`, got `int`",
        ),
        ({"messages": ["hi"]}, "messages[0]: Expected `object`, got `str`"),
    ],
)
async def test_what_cannot_be_asked_is_a_400_that_says_what(serve: Any, mock: Any, more: Any, said: str) -> None:
    serving = await serve()
    async with chat(serving) as llm:
        with pytest.raises(openai.BadRequestError) as wrong:
            await llm.chat.completions.create(**{"model": "claude", "messages": HI, **more})
    assert said in wrong.value.message
    assert not mock.requests()
