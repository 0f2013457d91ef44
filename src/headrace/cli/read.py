"""`headrace read`: ask a running server for a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from headrace.cli.remote import Remote, remote_options
from headrace.cli.screen import json_option, print_json, print_table, show_age


@click.command
@click.argument("view")
@click.argument("params", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--policy", help='What to do when it is not fresh: serve, flag, "wait 200ms else refuse", refuse.')
@click.option("--max-age", help='A promise for this call, such as "2s", in place of the declared ones.')
@remote_options
@json_option
def read(
    view: str,
    params: Sequence[str],
    policy: str | None,
    max_age: str | None,
    url: str,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Read VIEW, and say how old the answer is.

    \b
    Examples:
      headrace read menu restaurant_id=r7
      headrace read menu restaurant_id=r7 --policy "wait 500ms else refuse"
    """
    query = parse_params(params)
    query |= {name: value for name, value in (("_policy", policy), ("_max_age", max_age)) if value is not None}
    answer = Remote(url, api_key).get(f"/context/{quote(view, safe='')}", query)
    if as_json:
        print_json(answer)
    else:
        print_answer(answer)


def parse_params(params: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping.

    >>> parse_params(["restaurant_id=r7", "note=a=b"])
    {'restaurant_id': 'r7', 'note': 'a=b'}
    """
    pairs = [word.partition("=") for word in params]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise click.UsageError(f"a parameter is written NAME=VALUE, not {name!r}")
    return {name: value for name, _, value in pairs}


def print_answer(answer: Mapping[str, Any]) -> None:
    """Rows, then their age in one line."""
    rows = answer["rows"]
    if rows:
        print_table(rows, list(rows[0]))
    click.echo(describe_age(answer), err=True)


def describe_age(answer: Mapping[str, Any]) -> str:
    """How old an answer is, in one line.

    >>> describe_age({"rows": [{}], "status": "stale", "age_ms": 2500, "inputs": {"items": {"status": "stale"}}})
    '1 row, stale, as of 2.5s ago (items: stale)'
    """
    count = len(answer["rows"])
    age = "of unknown age" if answer["age_ms"] is None else f"as of {show_age(answer['age_ms'])} ago"
    inputs = ", ".join(f"{name}: {one['status']}" for name, one in answer["inputs"].items() if one["status"] != "fresh")
    return f"{count} row{'' if count == 1 else 's'}, {answer['status']}, {age}" + (f" ({inputs})" if inputs else "")
