"""`headrace freshness`: how old everything is, at a running server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from headrace.cli.remote import Remote, remote_options
from headrace.cli.screen import json_option, print_json, print_table, show_age

COLUMNS = ("name", "status", "age", "promise", "source", "accepted", "quarantined", "waiting", "late")


@click.command
@remote_options
@json_option
def freshness(url: str, api_key: str | None, as_json: bool) -> None:
    """Show how old each table and view is, what was promised, and what is wrong.

    The age is the as-of age: everything that the source had committed that long ago is in the store. "unknown" means
    that the source is silent, so nobody knows whether it had something to say. "quarantined" counts all records that
    ever were, "waiting" those that are now.
    """
    found = Remote(url, api_key).get("/freshness")
    if as_json:
        print_json(found)
        return
    rows = [_row(name, one) for name, one in {**found["tables"], **found.get("views", {})}.items()]
    print_table(rows, COLUMNS)
    for name, one in found["tables"].items():
        if one.get("copy"):
            click.echo(copying(name, one["copy"]))
    for problem in found.get("problems", ()):
        click.echo(f"{problem['subject']}: {problem['message']}" + (f" ({problem['hint']})" if problem["hint"] else ""))


def copying(name: str, copy: Mapping[str, Any]) -> str:
    """One line about a full copy that is under way."""
    return (
        f"{name}: copying, {copy['share']:.0%} ({copy['rows']:,} of about {copy['expected_rows']:,} rows, "
        f"{copy['parts']:,} of {copy['of_parts']:,} parts, {copy['rows_per_second']:,.0f} rows/s since {copy['since']})"
    )


def _row(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    counters: Mapping[str, int] = one.get("counters") or {}
    promise = one.get("promise_ms")
    return {
        "name": name,
        "status": one["status"],
        "age": show_age(one["age_ms"]),
        "promise": None if promise is None else show_age(promise),
        "source": " ".join(word for word in (one.get("source"), one.get("state")) if word),
        **{counter: counters.get(counter) for counter in ("accepted", "quarantined", "late")},
        "waiting": one.get("waiting"),
    }
