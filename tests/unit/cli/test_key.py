"""`headrace key`: names that the app does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli import main

APP = """
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str


app.table(Item, key="item_id")
app.view("menu", "SELECT item_id FROM items")
app.model("llm", [hr.models.OpenAI("http://127.0.0.1:9/v1")])
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key_names_app.py"
    path.write_text(APP)
    return path


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [("--model", "lm", "there is no model 'lm'"), ("--view", "menus", "there is no view 'menus'")],
)
def test_a_key_for_what_is_not_there_is_not_made(file: Path, option: str, name: str, said: str) -> None:
    keys = file.parent / "keys.yaml"
    result = CliRunner().invoke(main, ["key", "create", str(file), "team", option, name, "--keys", str(keys)])
    assert result.exit_code == 1
    assert said in result.output
    assert "did you mean" in result.output
    assert not keys.exists()


def test_a_key_for_what_is_there_is_made(file: Path) -> None:
    keys = file.parent / "keys.yaml"
    options = ["--model", "llm", "--view", "menu", "--keys", str(keys)]
    result = CliRunner().invoke(main, ["key", "create", str(file), "team", *options])
    assert result.exit_code == 0, result.output
    assert "models: [llm]" in keys.read_text() or "- llm" in keys.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "is no name of a key"),
        (["a\nb"], "is no name of a key"),
        (["x" * 201], "is no name of a key"),
        (["team", "--budget", "5/day", "--budget", "6/day"], "two budgets for one period: 5/day, 6/day"),
        (["team", "--expires", "2020-01-01T00:00:00Z"], "2020-01-01T00:00:00Z is over"),
    ],
)
def test_a_key_that_nobody_could_use_is_not_made(file: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["key", "create", str(file), *arguments])
    assert (result.exit_code, said in result.output) == (1, True), result.output
    assert "bug in Headrace" not in result.output
    assert not (file.parent / ".headrace").exists()


@pytest.mark.parametrize("command", [["create", "APP", "team"], ["list", "APP"], ["revoke", "APP", "team"]])
def test_an_app_that_is_not_there_has_no_keys(tmp_path: Path, command: list[str]) -> None:
    target = str(tmp_path / "misspelt" / "app.py")
    result = CliRunner().invoke(main, ["key", *(target if one == "APP" else one for one in command)])
    assert (result.exit_code, "there is no file" in result.output) == (1, True), result.output
    assert not (tmp_path / "misspelt").exists()
