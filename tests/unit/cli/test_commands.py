"""Commands that speak to a server send what they should and show what they got."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli import main

RECEIPT = {"accepted": 2, "quarantined": 1, "duplicates": 0, "txn": 5, "replayed": False}
ANSWER: dict[str, Any] = {
    "rows": [{"name": "Ramen", "price": 14.0, "note": None}],
    "as_of": "2026-05-04T10:00:00.000000Z",
    "age_ms": 12.5,
    "status": "fresh",
    "value_age_ms": [1.0],
    "inputs": {"items": {"as_of": None, "age_ms": 12.5, "status": "fresh", "state": "running"}},
}
WAITING = {
    "id": 17,
    "table": "items",
    "rule": "gt",
    "column": "price",
    "value": "-1",
    "message": "price must be greater than 0",
    "at": "2026-05-04T10:00:00.000000Z",
}


def test_push_sends_standard_input_and_tells_the_counts(server, runner: CliRunner) -> None:
    server.answer = RECEIPT
    result = runner.invoke(main, ["push", "items", "--idempotency-key", "k1"], input='{"item_id":"i1"}')
    assert result.output.splitlines() == [
        "accepted 2, quarantined 1",
        "see why: headrace quarantine list --table items",
    ]
    method, path, headers, body = server.asked[0]
    assert (method, path, headers["idempotency-key"], body) == ("POST", "/push/items", "k1", b'{"item_id":"i1"}')


def test_push_tells_a_repeat(server, runner: CliRunner) -> None:
    server.answer = RECEIPT | {"quarantined": 0, "replayed": True}
    assert "nothing was applied again" in runner.invoke(main, ["push", "items"], input="{}").output


def test_read_shows_rows_and_their_age(server, runner: CliRunner) -> None:
    server.answer = ANSWER
    result = runner.invoke(main, ["read", "menu", "restaurant_id=r7", "--policy", "wait 1s"])
    assert result.stdout == "name\tprice\tnote\nRamen\t14.0\t-\n"
    assert result.stderr == "1 row, fresh, as of 12.5ms ago\n"
    assert server.asked[0][1] == "/context/menu?restaurant_id=r7&_policy=wait+1s"


def test_read_as_json_is_the_answer_itself(server, runner: CliRunner) -> None:
    server.answer = ANSWER
    assert json.loads(runner.invoke(main, ["read", "menu", "--json"]).stdout) == ANSWER


@pytest.mark.parametrize("word", ["restaurant_id", "=r7"])
def test_a_parameter_without_name_or_value_is_a_usage_error(runner: CliRunner, word: str) -> None:
    assert runner.invoke(main, ["read", "menu", word]).exit_code == 2


def test_freshness_lists_tables_views_and_problems(server, runner: CliRunner) -> None:
    one = {"status": "stale", "age_ms": 4000, "state": "failed", "source": "files", "promise_ms": 2000}
    server.answer = {
        "now": "2026-05-04T10:00:00.000000Z",
        "tables": {"items": one | {"counters": {"accepted": 3, "quarantined": 1, "late": 0}, "waiting": 2}},
        "views": {"menu": {"status": "stale", "age_ms": 4000, "as_of": None}},
        "problems": [{"subject": "source:items", "message": "no such folder", "hint": "make it"}],
    }
    lines = runner.invoke(main, ["freshness"]).stdout.splitlines()
    assert lines[1] == "items\tstale\t4s\t2s\tfiles failed\t3\t1\t2\t0"
    assert lines[2].startswith("menu\tstale\t4s\t-\t-")
    assert lines[3] == "source:items: no such folder (make it)"


def test_quarantine_list_filters_at_the_server(server, runner: CliRunner) -> None:
    server.answer = {"records": [WAITING], "next": None}
    result = runner.invoke(main, ["quarantine", "list", "--table", "items", "--limit", "1"])
    assert result.stdout.splitlines()[1].split("\t")[:4] == ["17", "items", "gt", "price"]
    assert result.stderr == "there may be more: --after 17\n"
    assert server.asked[0][1] == "/quarantine?table=items&limit=1&after=0"


def test_quarantine_show_prints_everything_known(server, runner: CliRunner) -> None:
    server.answer = WAITING | {"raw": '{"price": -1}'}
    assert '{"price": -1}' in runner.invoke(main, ["quarantine", "show", "17"]).stdout


@pytest.mark.parametrize(
    ("arguments", "body"),
    [(["17", "18"], {"ids": [17, 18]}), (["--table", "items"], {"table": "items"}), (["--all"], {"all": True})],
)
def test_quarantine_replay_says_which(server, runner: CliRunner, arguments: list[str], body: dict[str, Any]) -> None:
    server.answer = {"replayed": 1, "still_quarantined": 1}
    result = runner.invoke(main, ["quarantine", "replay", *arguments])
    assert result.stdout == "replayed 1, still in quarantine 1\n"
    assert json.loads(server.asked[0][3]) == body


@pytest.mark.parametrize("arguments", [[], ["17", "--all"], ["--table", "items", "--all"]])
def test_quarantine_replay_wants_exactly_one_choice(runner: CliRunner, arguments: list[str]) -> None:
    assert runner.invoke(main, ["quarantine", "replay", *arguments]).exit_code == 2


def test_quarantine_drop_asks_before_it_drops_a_table(server, runner: CliRunner) -> None:
    server.answer = {"dropped": 4}
    assert runner.invoke(main, ["quarantine", "drop", "--table", "items"], input="n\n").exit_code == 1
    assert server.asked == []
    assert runner.invoke(main, ["quarantine", "drop", "--table", "items"], input="y\n").stdout == "dropped 4\n"


def test_version_tells_what_a_bug_report_needs(runner: CliRunner) -> None:
    facts = json.loads(runner.invoke(main, ["version", "--json"]).stdout)
    assert {"headrace", "python", "sqlite", "platform", "extras"} <= set(facts)
    assert runner.invoke(main, ["--version"]).output == f"headrace {facts['headrace']}\n"
