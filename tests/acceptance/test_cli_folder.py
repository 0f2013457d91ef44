"""Commands that work on an app and its data folder, with no server: each as a user would type it."""

from __future__ import annotations

import json
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

import headrace as hr
from headrace.cli import main
from headrace.cli.serving import NOTE
from headrace.store.connection import WriterLock

APP = """\
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    shop: str
    price: float = hr.Field(gt=0)


items = app.table(Item, key="item_id", freshness="1m", policy="wait 10ms")
in_shop = app.view("in_shop", "SELECT item_id, price FROM items WHERE shop = :shop")
by_shop = app.view("by_shop", "SELECT shop, COUNT(*) AS n, SUM(price) AS worth FROM items GROUP BY shop")
"""
GOOD = {"item_id": "i1", "shop": "s1", "price": 2.5}


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    """An app with a little data: two good rows and one that costs nothing, which its contract forbids."""
    file = tmp_path / "app.py"
    file.write_text(APP)
    with hr.load_app(file).run_sync(data=tmp_path / ".headrace") as live:
        live.push("items", [GOOD, GOOD | {"item_id": "i2", "shop": "s2"}, GOOD | {"item_id": "i3", "price": 0}])
    return file


def run(*arguments: str | Path, code: int = 0) -> Result:
    """Run a command."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_explain_names_the_class_the_inputs_and_the_index_that_is_missing(app_file: Path) -> None:
    shown = {one["name"]: one for one in json.loads(run("explain", app_file, "--json").stdout)}
    assert {name: one["class"] for name, one in shown.items()} == {
        "items": "table",
        "in_shop": "read-time",
        "by_shop": "affected-group",
    }
    assert shown["in_shop"]["lacks"] == ['items: index=["shop"]']
    assert shown["items"]["policy"] == ["wait 10ms else flag"]
    assert shown["in_shop"]["where"].endswith("app.py:13")
    assert "in_shop  read-time" in run("explain", app_file).stdout


def test_a_mistake_in_the_sql_is_told_with_its_line(app_file: Path) -> None:
    app_file.write_text(APP.replace("SELECT item_id, price FROM", "SELECT item_id, prise FROM"))
    told = run("explain", app_file, code=1).stderr
    assert told.startswith(f"error: {app_file}:13: ")
    assert "did you mean 'price'" in told


def test_quarantine_is_listed_shown_and_replayed_after_the_contract_was_fixed(app_file: Path) -> None:
    (waiting,) = json.loads(run("quarantine", "list", "--app", app_file, "--json").stdout)
    assert (waiting["table"], waiting["rule"], waiting["column"]) == ("items", "gt", "price")
    assert '"i3"' in run("quarantine", "show", str(waiting["id"]), "--app", app_file).stdout
    assert "replayed 0" in run("quarantine", "replay", "--all", "--app", app_file).stdout
    app_file.write_text(APP.replace("gt=0", "ge=0"))
    assert run("quarantine", "replay", "--table", "items", "--app", app_file).stdout.startswith("replayed 1, still")
    assert run("quarantine", "list", "--app", app_file).stderr == "nothing waits in quarantine\n"
    tables = json.loads(run("store", "info", app_file, "--json").stdout)["tables"]
    assert {"table": "items", "rows": 3} in tables


def test_quarantine_is_dropped(app_file: Path) -> None:
    assert run("quarantine", "drop", "1", "--app", app_file).stdout == "dropped 1\n"
    assert json.loads(run("quarantine", "list", "--app", app_file, "--json").stdout) == []


def test_settling_asks_the_server_that_holds_the_folder(app_file: Path) -> None:
    folder = app_file.parent / ".headrace"
    with WriterLock(folder / "live.db"):
        told = run("quarantine", "drop", "1", "--app", app_file, code=1).stderr
        assert "already writes" in told
        (folder / NOTE).write_text("http://127.0.0.1:1\n")
        told = run("quarantine", "drop", "1", "--app", app_file, code=1).stderr
    assert "asking the server that runs on this data: http://127.0.0.1:1" in told


def test_audit_finds_what_was_changed_behind_its_back(app_file: Path) -> None:
    assert json.loads(run("audit", app_file, "--json").stdout)["differences"] == []
    db = apsw.Connection(str(app_file.parent / ".headrace/live.db"))
    db.execute("UPDATE by_shop SET n = 7 WHERE shop = 's1'")
    db.close()
    result = run("audit", app_file, code=1)
    assert "by_shop: 2 compared, 1 differ" in result.stdout


def test_contracts_go_out_and_come_back(app_file: Path, tmp_path: Path) -> None:
    contract, again = tmp_path / "shop.yaml", tmp_path / "again.py"
    run("contract", "export", app_file, "-o", contract)
    assert "apiVersion: v3.1.0" in contract.read_text()
    run("contract", "import", contract, "-o", again)
    assert list(hr.load_app(again).tables) == ["items"]
    assert "there are: items" in run("contract", "export", app_file, "--table", "itens", code=1).stderr


def test_reset_begins_anew_but_not_under_a_running_engine(app_file: Path) -> None:
    database = app_file.parent / ".headrace/live.db"
    with WriterLock(database):
        assert "already writes" in run("store", "reset", app_file, "--yes", code=1).stderr
    run("store", "reset", app_file, "--yes")
    assert not database.exists()
    assert "no live store" in run("store", "info", app_file, code=1).stderr
    assert "no live store" in run("quarantine", "list", "--app", app_file, code=1).stderr


def test_a_note_of_an_address_is_only_made_of_an_announcement(tmp_path: Path) -> None:
    from headrace.cli.serving import note, noted, noted_url

    note(tmp_path, "app.py changed: loading again")
    assert noted_url(tmp_path) is None
    with noted(tmp_path):
        note(tmp_path, "serving app.py on http://127.0.0.1:8787")
        assert noted_url(tmp_path) == "http://127.0.0.1:8787"
    assert noted_url(tmp_path) is None
