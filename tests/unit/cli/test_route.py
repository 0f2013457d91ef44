"""`headrace route set` says what it sets, and refuses what the server would not follow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli import main


def paths(*shadows: str) -> dict[str, Any]:
    """What a server tells of an endpoint with two versions, the second declared with the weight 0, or as a shadow."""
    weights = {"a": 1.0, "terse": 0.2 if shadows else 0.0}
    told = {"versions": ["a", "terse"], "weights": weights, "shadows": list(shadows)}
    return {"/recommend": {"post": {"x-headrace": told}}, "/context/menu": {"post": {}}}


PATHS = paths()


def row(version: str, weight: float, *, shadow: bool = False, endpoint: str = "/recommend") -> dict[str, Any]:
    return {"endpoint": endpoint, "version": version, "weight": weight, "shadow": shadow}


@pytest.mark.parametrize(
    ("rows", "given"),
    [
        ([], ["a=0", "terse=0"]),
        ([], ["a=0"]),
        ([row("terse", 1)], ["a=0", "terse=0"]),
        ([row("terse", 1, shadow=True), row("terse", 1, endpoint="/other")], ["a=0"]),
        ([row("gone", 1)], ["a=0"]),
        ([row("a", 0), row("terse", 1)], ["terse=1", "--shadow"]),
        ([], ["a=1", "--shadow"]),
        ([], ["a=1", "terse=1", "--shadow"]),
        ([], ["a=1e-20"]),
    ],
)
def test_weights_that_the_server_would_leave_out_are_refused(server: Any, rows: Any, given: list[str]) -> None:
    server.answer = {"paths": PATHS, "rows": rows}
    done = CliRunner().invoke(main, ["route", "set", "/recommend", *given, "--url", server.url])
    assert done.exit_code != 0
    assert "POST" not in [asked[0] for asked in server.asked]
    assert ("nobody would answer /recommend" if given[0] != "a=1e-20" else "1e-09 to 1e+09") in _told(done)


@pytest.mark.parametrize(
    ("rows", "given"),
    [([], ["a=0", "terse=1"]), ([row("terse", 1)], ["a=0"]), ([], ["terse=0", "--shadow"]), ([], ["terse=0"])],
)
def test_others_are_set(server: Any, rows: Any, given: list[str]) -> None:
    server.answer = {"paths": PATHS, "rows": rows}
    done = CliRunner().invoke(main, ["route", "set", "/recommend", *given, "--url", server.url])
    assert (done.exit_code, server.asked[-1][0]) == (0, "POST")


@pytest.mark.parametrize(
    ("shadows", "rows", "given", "kept"),
    [
        (["terse"], [], [], True),
        ([], [row("terse", 0.2, shadow=True)], [], True),
        (["terse"], [row("terse", 1)], [], False),
        (["terse"], [], ["--live"], False),
        ([], [row("terse", 0.2, shadow=True)], ["--live"], False),
        ([], [], ["--shadow"], True),
        ([], [row("terse", 1, shadow=True, endpoint="/other")], [], False),
    ],
)
def test_a_shadow_stays_one_until_it_is_said_otherwise(
    server: Any, shadows: Any, rows: Any, given: list[str], kept: bool
) -> None:
    server.answer = {"paths": paths(*shadows), "rows": rows}
    done = CliRunner().invoke(main, ["route", "set", "/recommend", "terse=1", *given, "--url", server.url])
    assert json.loads(server.asked[-1][3]) == [row("terse", 1, shadow=kept)]
    assert done.output == f"/recommend terse: 1{' (shadow)' if kept else ''}\n/recommend a: 1, as before\n"


def test_the_weight_of_a_shadow_that_stays_one_is_a_share(server: Any) -> None:
    server.answer = {"paths": PATHS, "rows": [row("terse", 0.2, shadow=True)]}
    done = CliRunner().invoke(main, ["route", "set", "/recommend", "terse=10", "--url", server.url])
    assert "terse is one, until --live says otherwise" in _told(done)


@pytest.mark.parametrize(
    ("shadows", "rows", "lines"),
    [
        ([], [], ["/recommend a 1.0 no code", "/recommend terse 0.0 no code"]),
        (["terse"], [], ["/recommend a 1.0 no code", "/recommend terse 0.2 yes code"]),
        (["terse"], [row("terse", 0.05)], ["/recommend a 1.0 no code", "/recommend terse 0.05 no row"]),
        (
            [],
            [row("a", 3), row("x", 1, endpoint="/old")],
            ["/recommend a 3 no row", "/recommend terse 0.0 no code", "/old x 1 no row"],
        ),
    ],
)
def test_the_list_shows_what_holds_of_each_version_and_by_what(
    server: Any, shadows: Any, rows: Any, lines: list[str]
) -> None:
    server.answer = {"paths": paths(*shadows), "rows": rows}
    done = CliRunner().invoke(main, ["route", "list", "--url", server.url])
    assert done.output.replace("\t", " ").splitlines() == ["endpoint version weight shadow by", *lines]
    found = json.loads(CliRunner().invoke(main, ["route", "list", "--json", "--url", server.url]).output)
    assert [(one["version"], one["by"]) for one in found] == [(line.split()[1], line.split()[4]) for line in lines]


def test_the_list_of_a_server_without_endpoints(server: Any) -> None:
    server.answer = {"paths": {"/context/menu": {"post": {}}}}
    done = CliRunner().invoke(main, ["route", "list", "--url", server.url])
    assert (done.exit_code, done.output) == (0, "no endpoints\n")


def _told(done: Any) -> str:
    error = done.exception
    return f"{error} {getattr(error, 'hint', '')} {done.output}"
