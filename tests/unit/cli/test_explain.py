"""`headrace explain` of models and endpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli import main

APP = """
from pydantic import BaseModel

import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    price: float


app.table(Item, key="item_id")
PRICES = hr.models.Prices.parse('models: {small: {input: "1", output: "2"}}')
small = app.model("small", hr.models.OpenAI("http://127.0.0.1:9/v1", model="small", name="spare"), prices=PRICES)
app.model(
    "llm",
    hr.models.OpenAI("http://127.0.0.1:9/v1?secret=1", model="large", name="east", key="SECRET"),
    policies={"hedge": {"floor": "1s"}},
    fallback="small",
)


class Ask(BaseModel):
    item: str


@app.endpoint(
    "/price", deadline="2s", on_stale="retry 3 else refuse", fallback=[small, 0.0], TOLERANCES
)
async def price(ask: Ask, ctx: hr.Context) -> float:
    return 1.0


@price.version("b", shadow=True, weight=0.5)
async def other(ask: Ask, ctx: hr.Context) -> float:
    return 2.0
"""

TABLE = """hr.models.Prices.parse('models: {small: {input: "1", output: "2"}}')"""
PRICED = f'fallback="small", prices={TABLE},'
BARE = """
import headrace as hr

app = hr.App("bare")

class Item(hr.Record):
    item_id: str

app.table(Item, key="item_id")
app.model("llm", hr.models.OpenAI("http://127.0.0.1:9/v1", model="m"))

@app.endpoint("/ask")
async def ask(ask: dict, ctx: hr.Context) -> dict:
    return {}
"""


def explain(tmp_path: Path, tolerances: str = "", *options: str) -> str:
    file = tmp_path / "app.py"
    file.write_text(APP.replace("TOLERANCES", tolerances))
    done = CliRunner().invoke(main, ["explain", str(file), *options])
    return done.output


def test_models_and_endpoints_are_told(tmp_path: Path) -> None:
    shown = explain(tmp_path)
    assert "east  openai, tier 0: large at http://127.0.0.1:9/v1" in shown
    assert "spare  openai, tier 1: small at" in shown
    assert "hedge.floor 1.0 (default 0.3)" in shown
    assert "hedge.quantile" not in shown
    assert "large: it costs nobody's budget" in shown
    assert "retry 3 else refuse" in shown
    assert "shadow of 50%" in shown
    assert "headrace_rout" not in shown
    assert "SECRET" not in shown
    assert "secret" not in shown


def test_a_budget_needs_a_price_of_each_model_as_in_serving(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(APP.replace("TOLERANCES", 'budget="5/day"'))
    done = CliRunner().invoke(main, ["explain", str(file)])
    assert done.exit_code == 1
    assert "the model 'llm' has no price, so the budget of /price cannot be held" in str(done.exception) + done.output
    file.write_text(file.read_text().replace('model="large"', 'model="small"').replace('fallback="small",', PRICED))
    assert "5/day" in CliRunner().invoke(main, ["explain", str(file)]).output


def test_a_table_without_the_models_name_is_told(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(BARE.replace('model="m")', "model='smal'), prices=" + TABLE))
    done = CliRunner().invoke(main, ["explain", str(file)])
    assert "no price    smal: it costs nobody's budget" in done.output
    assert "did you mean 'small'?" in done.output


def test_machines_get_the_same(tmp_path: Path) -> None:
    found = {one["name"]: one for one in json.loads(explain(tmp_path, "", "--json"))}
    assert found["llm"]["class"] == "model"
    assert found["llm"]["where"].endswith("app.py:17")
    assert found["/price"]["class"] == "endpoint"
    assert found["/price"]["deadline"] == ["2s, 666.7ms of it for the fallback"]
    assert [line.split("-")[0] for line in found["/price"]["versions"]] == ["a", "b"]


def test_of_each_class_machines_get_the_same_fields(tmp_path: Path) -> None:
    fields: dict[str, set[tuple[str, ...]]] = {}
    for one in json.loads(explain(tmp_path, "", "--json")):
        kind = one["class"] if one["class"] in ("model", "endpoint") else "relation"
        fields.setdefault(kind, set()).add(tuple(one))
    assert {kind: len(found) for kind, found in fields.items()} == dict.fromkeys(fields, 1)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "app.py").write_text(BARE)
    done = CliRunner().invoke(main, ["explain", str(bare / "app.py"), "--json"])
    assert {tuple(one) for one in json.loads(done.output)} == {one for found in fields.values() for one in found}


@pytest.mark.parametrize("wrong", ['"itms", price=1', '"items", prise=1'])
def test_what_serving_would_refuse_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "app.py"
    file.write_text(APP.replace("TOLERANCES", f"tolerances=[hr.tolerance({wrong})]"))
    done = CliRunner().invoke(main, ["explain", str(file)])
    assert done.exit_code == 1
    assert "did you mean" in str(done.exception or "") + done.output
