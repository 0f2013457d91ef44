"""`headrace doctor` on apps without a server: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main

APP = """
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    price: float


items = app.table(Item, key="item_id", source={source})
"""


def doctor(folder: Path, source: str, *options: str) -> Result:
    file = folder / "app.py"
    file.write_text(APP.format(source=source))
    return CliRunner().invoke(main, ["doctor", str(file), *options], catch_exceptions=False)


def finding(result: Result, what: str) -> dict[str, str]:
    return next(one for one in json.loads(result.stdout)["findings"] if one["what"] == what)


def test_a_pushed_table_has_nothing_outside_to_look_at(tmp_path: Path) -> None:
    result = doctor(tmp_path, "hr.sources.Push()")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "data folder"
    assert "table items" not in result.stdout


def test_files_that_are_there_or_missing(tmp_path: Path) -> None:
    missing = doctor(tmp_path, f"hr.sources.Files({str(tmp_path / 'no' / 'x.jsonl')!r})", "--json")
    assert (missing.exit_code, finding(missing, "files")["grade"]) == (1, "problem")
    (tmp_path / "x.jsonl").write_text("")
    there = doctor(tmp_path, f"hr.sources.Files({str(tmp_path / 'x.jsonl')!r})", "--json")
    assert (there.exit_code, finding(there, "files")["grade"]) == (0, "ok")


@pytest.mark.parametrize(
    ("query", "grade", "value"),
    [
        ("SELECT 'i1' AS item_id, 1.5 AS price", "ok", "sqlite:// answers"),
        ("SELECT 'i1' AS item_id", "problem", "without price"),
        ("SELECT nonsense", "problem", "sqlite://"),
    ],
)
def test_a_polled_database_is_asked(tmp_path: Path, query: str, grade: str, value: str) -> None:
    result = doctor(tmp_path, f'hr.sources.Poll("sqlite://", {query!r})', "--json")
    found = finding(result, "query")
    assert (found["grade"], found["value"]) == (grade, value)
    assert result.exit_code == (0 if grade == "ok" else 1)


MODELS = """
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    price: float


app.table(Item, key="item_id")
app.view("dear", "SELECT item_id FROM items WHERE price > :price")
app.model(
    "llm",
    [
        hr.models.OpenAI("http://127.0.0.1:9/v1", model="small", name="near", local=True),
        hr.models.OpenAI("http://127.0.0.1:9/v1", model="large", name="far", key="SHOP_KEY", tier=1),
    ],
    prices=hr.models.Prices.parse('models: {PRICED: {input: "1", output: "2"}}'),
)
"""

ENDPOINT = """

@app.endpoint("/tell", budget="5/day")
async def tell(ask: str, ctx: hr.Context) -> str:
    return ask
"""


def examine(folder: Path, *options: str, text: str = MODELS, **environ: str) -> list[dict[str, str]]:
    (folder / "app.py").write_text(text)
    runner = CliRunner(env={"SHOP_KEY": None, "HEADRACE_API_KEYS": None, "HEADRACE_API_KEYS_FILE": None, **environ})
    result = runner.invoke(main, ["doctor", str(folder / "app.py"), "--json", *options], catch_exceptions=False)
    findings = json.loads(result.stdout)["findings"]
    assert result.exit_code == (1 if any(one["grade"] == "problem" for one in findings) else 0)
    return findings


def told(findings: list[dict[str, str]], subject: str) -> dict[str, tuple[str, str]]:
    return {one["what"]: (one["grade"], one["message"]) for one in findings if one["subject"] == subject}


def test_the_variables_of_upstreams_are_looked_for(tmp_path: Path) -> None:
    found = told(examine(tmp_path), "model llm")
    assert found["near"] == ("ok", "")
    assert found["far"][0] == "problem"
    assert "the environment variable SHOP_KEY is not set. To do: set SHOP_KEY" in found["far"][1]
    assert told(examine(tmp_path, SHOP_KEY="a secret"), "model llm")["far"] == ("ok", "")


@pytest.mark.parametrize(
    ("priced", "endpoint", "grade", "said"),
    [
        ("*", ENDPOINT, "ok", ""),
        ("small", "", "warning", "not known"),
        ("small", ENDPOINT, "problem", "budget of /tell"),
    ],
)
def test_prices_that_are_missed_are_told(tmp_path: Path, priced: str, endpoint: str, grade: str, said: str) -> None:
    text = MODELS.replace("PRICED", repr(priced).replace("'", '"')) + endpoint
    found = told(examine(tmp_path, text=text, SHOP_KEY="x"), "model llm")["prices"]
    assert (found[0], said in found[1]) == (grade, True)


def test_keys_are_read_and_what_they_name_is_looked_for(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    assert told(examine(tmp_path), "keys") == {"file": ("ok", "")}
    assert told(examine(tmp_path, "--keys", str(keys)), "keys")["file"][0] == "problem"
    key = {"id": "k1", "name": "team", "sha256": "0" * 64, "models": ["lm"], "views": ["dear", "cheap"]}
    keys.write_text(json.dumps({"keys": [key]}))
    found = told(examine(tmp_path, HEADRACE_KEYS=str(keys)), "keys")
    assert found["file"] == ("ok", "")
    assert found["models"] == (
        "warning",
        "the key 'team' names the model 'lm', which is not declared: did you mean 'llm'? there are: llm.",
    )
    assert "the view 'cheap', which is not declared" in found["views"][1]
    keys.write_text(json.dumps({"keys": [key | {"rpm": 0}]}))
    found = told(examine(tmp_path, "--keys", str(keys)), "keys")
    assert found["file"][0] == "problem"
    assert "rpm" in found["file"][1]


def test_the_keys_of_the_server_are_looked_at_where_there_are_any(tmp_path: Path) -> None:
    found = examine(tmp_path, HEADRACE_API_KEYS="hunter2")
    assert told(found, "keys")["HEADRACE_API_KEYS"][0] == "problem"
    assert "hunter2" not in json.dumps(found)
    found = examine(tmp_path, HEADRACE_API_KEYS="x" * 40, HEADRACE_API_KEYS_FILE=str(tmp_path / "none"))
    assert "cannot be read" in told(found, "keys")["HEADRACE_API_KEYS and HEADRACE_API_KEYS_FILE"][1]
    assert told(examine(tmp_path, HEADRACE_API_KEYS="x" * 40), "keys")["HEADRACE_API_KEYS"] == ("ok", "")
