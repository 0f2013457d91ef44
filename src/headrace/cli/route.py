"""`headrace route`: which version of an endpoint answers whom, while the server runs."""

from __future__ import annotations

from typing import Any

import click

from headrace.cli.remote import Remote, remote_options
from headrace.cli.screen import json_option, print_json, print_table
from headrace.core.errors import HeadraceError
from headrace.pipeline.split import LARGEST, SMALLEST

_COLUMNS = ("endpoint", "version", "weight", "shadow")


@click.group
def route() -> None:
    """Split an endpoint's traffic between its versions: rows, not a deploy."""


@route.command("list")
@remote_options
@json_option
def list_routes(url: str, api_key: str | None, as_json: bool) -> None:
    """Show the rows that split traffic. Where an endpoint has none, what its code declares holds."""
    rows: list[dict[str, Any]] = Remote(url, api_key).get("/context/headrace_routing")["rows"]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, _COLUMNS)
    else:
        click.echo("no rows: each endpoint splits as it is declared")


@route.command("set")
@click.argument("endpoint")
@click.argument("weights", nargs=-1, required=True, metavar="VERSION=WEIGHT...")
@click.option(
    "--shadow/--live",
    default=None,
    help="Run the versions beside requests, unseen, for that share of users; or have them answer. If not given, what "
    "is a shadow stays one.",
)
@remote_options
def set_routes(endpoint: str, weights: tuple[str, ...], shadow: bool | None, url: str, api_key: str | None) -> None:
    """Set the weights of versions of ENDPOINT. Users keep their version as far as the weights allow.

    A version that is declared a shadow, or that its row says is one, answers nobody until --live says so.

    \b
    Examples:
      headrace route set /recommend a=90 b=10
      headrace route set /recommend c=0.2 --shadow
      headrace route set /recommend a=1 c=1 --live
    """
    remote = Remote(url, api_key)
    told = remote.get("/openapi.json")["paths"].get(endpoint, {}).get("post", {}).get("x-headrace", {})
    known = told.get("versions")
    if known is None:
        raise HeadraceError(f"the server has no endpoint {endpoint!r}", hint="headrace route list; GET /openapi.json")
    before: list[dict[str, Any]] = remote.get("/context/headrace_routing")["rows"]
    shadows = dict.fromkeys(told.get("shadows", ()), True)
    shadows |= {row["version"]: row["shadow"] for row in before if row["endpoint"] == endpoint}
    rows = [_row(endpoint, one, known, shadows=shadows, shadow=shadow) for one in weights]
    _check(endpoint, [*before, *rows])
    remote.post("/push/headrace_routes", rows)
    for row in rows:
        click.echo(f"{endpoint} {row['version']}: {row['weight']:g}{' (shadow)' if row['shadow'] else ''}")


def _check(endpoint: str, rows: list[dict[str, Any]]) -> None:
    """Refuse weights that the server would not follow: then those that are declared would hold, without a word here."""
    latest = {row["version"]: row for row in rows if row["endpoint"] == endpoint}
    weights = {version: row["weight"] for version, row in latest.items() if not row["shadow"]}
    if weights and not any(weights.values()):
        said, one = ", ".join(f"{version}=0" for version in weights), next(iter(weights))
        raise HeadraceError(
            f"nobody would answer {endpoint}: {said} is all that its rows would say",
            hint=f"give a version a weight above 0 in the same call, for example {one}=1 (a shadow answers only with "
            "--live); nothing was set",
        )


def _row(
    endpoint: str, text: str, known: list[str], *, shadows: dict[str, bool], shadow: bool | None
) -> dict[str, Any]:
    version, _, weight = text.partition("=")
    unseen = shadows.get(version, False) if shadow is None else shadow
    try:
        number = float(weight)
    except ValueError:
        number = -1.0
    if not (number == 0 or SMALLEST <= number <= LARGEST) or (unseen and number > 1):
        raise HeadraceError(
            f"{text!r} is not VERSION=WEIGHT",
            hint=f"write for example b=10; a weight is 0, or {SMALLEST:g} to {LARGEST:g}; of a shadow, 0 to 1"
            + (f" ({version} is one, until --live says otherwise)" if unseen and shadow is None else ""),
        )
    if version not in known:
        raise HeadraceError(f"{endpoint} has no version {version!r}", hint=f"it has: {', '.join(known)}")
    return {"endpoint": endpoint, "version": version, "weight": number, "shadow": unseen}
