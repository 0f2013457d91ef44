"""Model servers of one's own: any JSON in, any JSON out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from model_servers import answers, asking, running

from headrace.core.errors import ModelRefused
from headrace.models import Http, Prices
from headrace.models.call import Usage
from headrace.models.request import Dialect

BODY = b'{"scores": [0.50, 1e-3], "tokens": 7}'


async def ask(run: Any, **more: Any) -> Any:
    return await run.llm.send(asking(dialect=Dialect.JSON, **more), run.terms())


async def test_the_body_and_the_answer_are_passed_on_as_they_are(start: Any) -> None:
    upstream = await start(answers(body=BODY))
    prices = Prices.parse('models: {m: {input: "10", output: "0"}}')
    provider = Http(upstream.url + "/predict?v=2", model="m", usage=lambda answer: (answer["tokens"], 0))
    async with running(provider, prices=prices) as run:
        reply = await ask(run)
        assert (await reply.read(), reply.usage, reply.cost) == (BODY, Usage(7, 0), Decimal("0.0000700000"))
    assert (upstream.targets, upstream.bodies) == ([b"/v1/predict?v=2"], [asking(dialect=Dialect.JSON).body])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"error": lambda answer: "too cold" if answer["tokens"] == 7 else None}, "too cold"),
        ({"usage": lambda answer: (answer["nothing"], 0)}, "KeyError"),
    ],
)
async def test_an_answer_that_is_an_error_is_a_failure(start: Any, options: Any, words: str) -> None:
    upstream = await start(answers(body=BODY))
    async with running(Http(upstream.url, **options), policies={"retry": {"attempts": 1}}) as run:
        with pytest.raises(ModelRefused, match=words) as caught:
            await ask(run)
    assert caught.value.failure == "server_error"


async def test_there_are_no_streams(start: Any) -> None:
    upstream = await start(answers(body=BODY))
    async with running(Http(upstream.url)) as run:
        with pytest.raises(ModelRefused, match="no streams"):
            await ask(run, stream=True)
    assert upstream.asked == []
