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
