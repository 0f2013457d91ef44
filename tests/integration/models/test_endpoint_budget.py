"""What an endpoint may spend on models: held for all its calls at once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from model_servers import answers

import headrace as hr
from headrace.core.errors import DeclarationError, ModelRefused
from headrace.models.periods import Budgets
from headrace.runtime.desk import open_models

PRICES = hr.models.Prices.parse('models: {"*": {input: "1000", output: "1000"}}')


def declare(url: str, prices: Any = PRICES) -> hr.App:
    app = hr.App("shop")
    app.model("llm", [hr.models.OpenAI(url, model="m", local=True)], prices=prices)

    @app.endpoint("/pick", budget=["1/day", "3/total"])
    async def pick(ask: int, ctx: hr.Context) -> str:
        return (await ctx.llm.chat("x" * ask, max_tokens=100)).text

    return app


async def test_calls_at_once_do_not_overrun_the_budget_of_their_endpoint(start: Any, tmp_path: Path) -> None:
    """Each call may cost 0.1 for its answer and about as much for its prompt, and costs 0.015."""
    upstream = await start(answers(after=0.2))
    async with declare(upstream.url).run(data=tmp_path) as live:
        asked = [live.ask("/pick", 1) for _ in range(40)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in found if isinstance(one, ModelRefused)]
        assert {(one.reason, "the budget that pays for it" in one.message) for one in refused} == {("set_aside", True)}
        assert 0 < len(upstream.asked) <= 10
        # What was set aside and not spent is there again.
        assert (await live.ask("/pick", 1)).value == "Hello"


async def test_the_budget_of_an_endpoint_is_that_of_its_account(start: Any) -> None:
    app, budgets = declare("http://127.0.0.1:9/v1"), Budgets()
    async with open_models(app, clock=_clock(), spending=budgets):
        held = budgets.reserve(0.0, "endpoint:/pick#shadow", Decimal(1))
        assert held is not None
        assert budgets.reserve(0.0, "endpoint:/pick#shadow", Decimal("0.1")) is None, "its shadows have a bound as well"
        assert budgets.left(0.0, "endpoint:/pick") == Decimal(1), "and take nothing of what answers are paid from"


async def test_a_budget_wants_prices() -> None:
    app = declare("http://127.0.0.1:9/v1", hr.models.Prices())
    with pytest.raises(DeclarationError, match="has no price, so the budget of /pick cannot be held"):
        async with open_models(app, clock=_clock()):
            pass


def test_a_budget_is_an_amount_over_a_period() -> None:
    with pytest.raises(DeclarationError, match="'5' is no budget"):
        hr.App("shop").endpoint("/pick", budget="5")


def _clock() -> Any:
    from headrace.core.clock import SystemClock

    return SystemClock()
