"""A typed endpoint that reads one view and asks a model: what a user of endpoints writes."""

from __future__ import annotations

import json
import os

from apps.shop import build
from pydantic import BaseModel

import headrace as hr

app = build()
app.model("llm", [hr.models.OpenAI(os.environ["HEADRACE_BENCH_UPSTREAMS"], model="mock")], deadline="10s")


class Ask(BaseModel):
    restaurant_id: str


class Dish(BaseModel):
    name: str
    price: float


@app.endpoint("/recommend", deadline="4s", on_stale="retry")
async def recommend(ask: Ask, ctx: hr.Context) -> Dish:
    menu = await ctx.menu(restaurant_id=ask.restaurant_id)
    prompt = f"Choose a dish.\n{json.dumps(menu.rows[:3])}\nanswer-pick: first"
    return await ctx.llm.chat([{"role": "user", "content": prompt}], response=Dish)
