"""`headrace route`: which version of an endpoint answers whom, while the server runs."""

from __future__ import annotations

from typing import Any

import click

from headrace.cli.remote import Remote, remote_options
from headrace.cli.screen import json_option, print_json, print_table
from headrace.core.errors import HeadraceError
from headrace.pipeline.split import LARGEST, SMALLEST

_COLUMNS = ("endpoint", "version", "weight", "shadow", "by")


@click.group
def route() -> None:
    """Split an endpoint's traffic between its versions: rows, not a deploy."""


@route.command("list")
@remote_options
@json_option
def list_routes(url: str, api_key: str | None, as_json: bool) -> None:
    """Show how traffic is split: by a row, or, for a version that has none, as the code declares it."""
    remote = Remote(url, api_key)
    routes = [route for path, told in _endpoints(remote).items() for route in _declared(path, told)]
    latest = _latest(routes, _rows(remote)) if routes else []
    if as_json:
        print_json(latest)
    elif latest:
        print_table(latest, _COLUMNS)
    else:
        click.echo("no endpoints")


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

    Versions that are not named stay as they are: by their row, or as they are declared. A version that is declared a
    shadow, or that its row says is one, answers nobody until --live says so.

    \b
    Examples:
      headrace route set /recommend a=90 b=10
      headrace route set /recommend c=0.2 --shadow
      headrace route set /recommend a=1 c=1 --live
    """
    remote = Remote(url, api_key)
    told = _endpoints(remote).get(endpoint)
    if told is None:
        raise HeadraceError(f"the server has no endpoint {endpoint!r}", hint="headrace route list; GET /openapi.json")
    before = [row for row in _latest(_declared(endpoint, told), _rows(remote)) if row["endpoint"] == endpoint]
    shadows = {row["version"]: row["shadow"] for row in before}
    rows = [_row(endpoint, one, told["versions"], shadows=shadows, shadow=shadow) for one in weights]
    after = _latest(before, rows)
    _check(endpoint, [row for row in after if row["version"] in told["versions"]])
    remote.post("/push/headrace_routes", rows)
    for row in rows:
        click.echo(_said(row))
    named = {row["version"] for row in rows}
    for row in after:
        if row["version"] in told["versions"] and row["version"] not in named:
            click.echo(f"{_said(row)}, as before")


def _endpoints(remote: Remote) -> dict[str, dict[str, Any]]:
    """What the server tells of the versions of each endpoint."""
    told = {
        path: item.get("post", {}).get("x-headrace", {}) for path, item in remote.get("/openapi.json")["paths"].items()
    }
    if any("versions" in one and "weights" not in one for one in told.values()):
        raise HeadraceError("the server is older than this command", hint="start it again with the same Headrace")
    return {path: one for path, one in told.items() if "versions" in one}


def _rows(remote: Remote) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = remote.get("/context/headrace_routing")["rows"]
    return [{**row, "by": "row"} for row in found]


def _declared(endpoint: str, told: dict[str, Any]) -> list[dict[str, Any]]:
    """The versions of an endpoint as its code declares them."""
    return [
        {
            "endpoint": endpoint,
            "version": version,
            "weight": told["weights"][version],
            "shadow": version in told["shadows"],
            "by": "code",
        }
        for version in told["versions"]
    ]


def _latest(before: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What holds of each version, where rows come to what was before."""
    return list({(row["endpoint"], row["version"]): row for row in [*before, *rows]}.values())


def _said(row: dict[str, Any]) -> str:
    return f"{row['endpoint']} {row['version']}: {row['weight']:g}{' (shadow)' if row['shadow'] else ''}"


def _check(endpoint: str, after: list[dict[str, Any]]) -> None:
    """Refuse weights that the server would not follow: then those that are declared would hold, without a word here."""
    weights = {row["version"]: row["weight"] for row in after if not row["shadow"]}
    if not any(weights.values()):
        said = ", ".join(f"{version}=0" for version in weights) or "each of its versions would be a shadow"
        raise HeadraceError(
            f"nobody would answer {endpoint}: {said}",
            hint=f"give a version a weight above 0, for example {next(iter(weights), after[0]['version'])}=1 (a shadow "
            "answers only with --live); nothing was set",
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
