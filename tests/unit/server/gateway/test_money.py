"""Keys with a budget: what is told where it is spent, set aside, or cannot be held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from headrace.core.errors import ModelRefused


async def test_no_money_is_said_so_that_clients_stop(world: Any, kit: Any) -> None:
    world.keys(budget={"day": "0.01"})
    assert (await world.ask(key=kit.SECRET)).status == 200
    hold = world.budgets.reserve(world.clock.now() / 1e6, "k1", Decimal("0.01"))
    world.budgets.settle(hold, Decimal("0.01"))
    answer = await world.ask(key=kit.SECRET)
    assert (answer.status, kit.document(answer)["error"]["code"]) == (429, "insufficient_quota")
    assert kit.told(answer)["x-should-retry"] == "false"
    assert 0 < int(kit.told(answer)["retry-after"]) <= 86_400
    answer = await world.ask(kit.CHAT | {"max_tokens": 5}, "/v1/messages", key=kit.SECRET)
    assert (answer.status, kit.document(answer)["error"]["type"]) == (402, "billing_error")
    world.keys(budget={"day": "0.02"})
    world.model.answer = lambda _: ModelRefused("no money", reason="over_budget")
    answer = await world.ask(key=kit.SECRET)
    assert kit.document(answer)["error"]["code"] == "insufficient_quota"
    assert "0.02 a day" in kit.document(answer)["error"]["message"]


async def test_money_that_is_only_set_aside_is_not_told_as_spent(world: Any, kit: Any) -> None:
    world.keys(budget={"day": "5", "total": "100.00"})
    assert (await world.ask(key=kit.SECRET)).status == 200
    now = world.clock.now() / 1e6
    holds = [world.budgets.reserve(now, "k1", Decimal(amount)) for amount in ("2", "1.5", "1.50")]
    world.budgets.settle(holds.pop(0), Decimal("0.25"))
    assert (await world.ask(key=kit.SECRET)).status == 200
    holds.append(world.budgets.reserve(now, "k1", Decimal("1.75")))
    assert (await world.ask(key=kit.SECRET)).status == 200, "it may be free: whoever knows its price decides"
    world.model.answer = lambda _: ModelRefused("held up", reason="set_aside", retry_after=1.0)
    answer = await world.ask(key=kit.SECRET)
    error = kit.document(answer)["error"]
    assert (answer.status, error["code"], kit.told(answer)["retry-after"]) == (429, "rate_limit_exceeded", "1")
    assert "x-should-retry" not in kit.told(answer)
    assert (
        "may spend 5 a day: 0.25 is spent, and 4.75 is set aside by 3 requests under way, so that" in error["message"]
    )
    answer = await world.ask(kit.CHAT | {"max_tokens": 5}, "/v1/messages", key=kit.SECRET)
    assert (answer.status, kit.document(answer)["error"]["type"]) == (429, "rate_limit_error")
    world.clock.advance(86_400)
    world.budgets.settle(holds.pop(), Decimal(0))
    assert world.budgets.holds(world.clock.now() / 1e6, "k1") == 2, "those of yesterday count until they end"


async def test_budget_needs_prices(world: Any, kit: Any) -> None:
    world.priced = False
    world.keys(budget={"day": "1"})
    answer = await world.ask(key=kit.SECRET)
    assert (answer.status, kit.document(answer)["error"]["code"]) == (403, "model_not_priced")
