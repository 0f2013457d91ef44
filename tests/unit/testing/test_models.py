"""The scripted model keeps what `Caller` and `Reply` promise."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headrace.core.errors import ModelRefused, StreamBroken
from headrace.models.call import Usage
from headrace.models.dialects.stream import ChatReader, MessagesReader, ResponsesReader, StreamReader
from headrace.models.dialects.whole import check_whole
from headrace.models.reply import Caller
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.testing import Refuses, Says, ScriptedModel, SimulatedClock

TERMS = Terms("r", deadline=30.0)


def asking(dialect: Dialect = Dialect.CHAT, *, stream: bool = False) -> ModelRequest:
    return ModelRequest(dialect, b"{}", {}, stream, 1)


async def test_it_says_its_steps_in_order_and_the_last_one_again() -> None:
    model: Caller = ScriptedModel(["one", Says("two")], clock=SimulatedClock())
    replies = [await model.send(asking(), TERMS) for _ in range(3)]
    said = [json.loads(await reply.read())["choices"][0]["message"]["content"] for reply in replies]
    assert said == ["one", "two", "two"]
    assert replies[0].usage == Usage(10, 5)


@pytest.mark.parametrize(
    ("dialect", "reader"),
    [
        (Dialect.CHAT, ChatReader(keep_usage=True)),
        (Dialect.MESSAGES, MessagesReader()),
        (Dialect.RESPONSES, ResponsesReader()),
    ],
)
async def test_its_answers_are_what_the_readers_of_the_dialects_take(dialect: Dialect, reader: StreamReader) -> None:
    model = ScriptedModel([Says("a b c", usage=Usage(100, 7, 40))], clock=SimulatedClock())
    body = await (await model.send(asking(dialect), TERMS)).read()
    assert check_whole(dialect, body) == Usage(100, 7, 40)
    begun: list[bool] = []
    async for piece in await model.send(asking(dialect, stream=True), TERMS):
        assert reader.feed(piece) == piece
        begun.append(reader.begun)
    assert (begun, reader.ended, reader.failed) == ([False, True, True, True, True], True, None)
    assert reader.usage is not None
    assert (reader.usage.prompt_tokens, reader.usage.output_tokens) == (100, 7)


async def test_a_stream_breaks_where_it_is_told() -> None:
    model = ScriptedModel([Says("a b c", breaks_after=2)], clock=SimulatedClock())
    reply = await model.send(asking(stream=True), TERMS)
    pieces = [await anext(reply), await anext(reply)]
    with pytest.raises(StreamBroken) as caught:
        await anext(reply)
    assert (len(pieces), caught.value.received, reply.usage) == (2, len(b"".join(pieces)), None)
    assert (model.open, model.cancelled) == (0, 0)


async def test_it_refuses_and_keeps_deadlines_by_its_clock() -> None:
    clock = SimulatedClock()
    model = ScriptedModel([Refuses("shed", "", retry_after=2.0), Says("late", delay=40.0)], clock=clock)
    with pytest.raises(ModelRefused) as caught:
        await model.send(asking(), TERMS)
    assert (caught.value.reason, caught.value.retry_after) == ("shed", 2.0)
    late = asyncio.ensure_future(model.send(asking(), TERMS))
    await asyncio.wait([late], timeout=0)
    await _turn()
    clock.advance(30.0)
    with pytest.raises(ModelRefused, match="deadline"):
        await late


async def test_what_is_let_go_is_counted() -> None:
    model = ScriptedModel([Says("a b c")], clock=SimulatedClock())
    reply = await model.send(asking(stream=True), TERMS)
    assert model.open == 1
    await anext(reply)
    await reply.aclose()
    assert (model.open, model.cancelled) == (0, 1)


async def _turn() -> Any:
    for _ in range(3):
        await asyncio.wait([asyncio.ensure_future(_nothing())])


async def _nothing() -> None: ...
