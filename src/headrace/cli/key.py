"""`headrace key`: make, list and revoke the keys of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.cli.options import Whole
from headrace.cli.screen import json_option, print_json, print_table
from headrace.cli.serving import keys_option
from headrace.cli.target import app_argument, data_folder, data_option
from headrace.core.clock import SystemClock, to_datetime
from headrace.core.durations import parse_duration
from headrace.core.errors import DeclarationError

if TYPE_CHECKING:
    from headrace.models.periods import Spent
    from headrace.server.gateway.keys import VirtualKey

F = TypeVar("F", bound=Callable[..., Any])
LONGEST = 200
"""Characters of a key's name."""
MOST = 10**12
"""Requests, or tokens, a minute."""
COLUMNS = ("name", "id", "state", "models", "views", "rpm", "tpm", "budget", "spent today", "this month", "in all")


@click.group
def key() -> None:
    """Make, list and revoke the keys with which clients use the gateway (/v1)."""


def place(command: F) -> F:
    """Where the keys are: APP, --data and --keys."""
    return app_argument(data_option(keys_option(command)))


@key.command
@place
@click.argument("name")
@click.option("--budget", "budgets", multiple=True, metavar="AMOUNT/PERIOD", help="5/day, 100/month or 1000/total.")
@click.option("--rpm", type=Whole(1, MOST), help="Requests a minute.")
@click.option("--tpm", type=Whole(1, MOST), help="Tokens a minute, of prompts and answers.")
@click.option("--model", "models", multiple=True, help="A model that it may call; all, where none is given.")
@click.option("--view", "views", multiple=True, help="A view whose rows it may have in its prompts; * is all of them.")
@click.option("--tenant", default="", help="Whom its calls are fair to; its name, where it is not given.")
@click.option(
    "--priority",
    type=click.Choice(["critical", "normal", "sheddable"]),
    default="normal",
    show_default=True,
    help="The highest that its requests may have.",
)
@click.option("--expires", metavar="WHEN", help="A duration (30d) or an instant (2027-01-01T00:00:00Z).")
@json_option
def create(
    target: str,
    data: Path | None,
    keys: Path | None,
    name: str,
    budgets: tuple[str, ...],
    expires: str | None,
    as_json: bool,
    **limits: Any,
) -> None:
    """Make a key named NAME for the gateway of APP and print it: once, since only its digest is kept."""
    from headrace.models.periods import parse_budget
    from headrace.server.gateway import keyfile
    from headrace.server.gateway.keys import Budget, VirtualKey

    _check_app(target, data)
    if not (name.strip() and name.isprintable() and len(name) <= LONGEST):
        raise DeclarationError(f"{name!r:.80} is no name of a key", hint=f"use 1 to {LONGEST} printable characters")
    clock = SystemClock()
    now = to_datetime(clock.now()).replace(microsecond=0)
    until = None if expires is None else _instant(expires, clock.now())
    limits_of = parse_budget(budgets)
    if len(limits_of) < len(budgets):
        raise DeclarationError(f"two budgets for one period: {', '.join(budgets)}", hint="give one for each period")
    budget = Budget.model_validate(limits_of)

    def make(number: str, digest: str) -> VirtualKey:
        return VirtualKey(id=number, name=name, sha256=digest, created=now, budget=budget, expires=until, **limits)

    _check_names(target, limits["models"], limits["views"])
    path = key_file(target, data, keys)
    secret, made = keyfile.create(path, make)
    if as_json:
        print_json({"name": made.name, "id": made.id, "key": secret, "file": str(path)})
        return
    click.echo(secret)
    click.echo(f"this is the key {made.name!r} ({made.id}); it is not shown again", err=True)


@key.command("list")
@place
@json_option
def list_(target: str, data: Path | None, keys: Path | None, as_json: bool) -> None:
    """List the keys of APP, what they may, and what they have spent."""
    from headrace.server.gateway import keys as files
    from headrace.server.gateway import ledger
    from headrace.server.gateway.accounts import SPENDING

    _check_app(target, data)
    path = key_file(target, data, keys)
    found = files.load(path).keys if path.exists() else ()
    spent = {one.key: one for one in ledger.read(data_folder(target, data) / SPENDING)}
    now = SystemClock().now()
    rows = [_row(one, spent.get(one.id), now) for one in found]
    if as_json:
        print_json(rows)
        return
    print_table(rows, COLUMNS)
    if not rows:
        click.echo(f"there are no keys in {path}", err=True)


@key.command
@place
@click.argument("name")
def revoke(target: str, data: Path | None, keys: Path | None, name: str) -> None:
    """Revoke the key of that NAME (or id). A running server takes note within about a second."""
    from headrace.server.gateway import keyfile

    _check_app(target, data)
    gone = keyfile.revoke(key_file(target, data, keys), name, to_datetime(SystemClock().now()).replace(microsecond=0))
    click.echo(f"the key {gone.name!r} ({gone.id}) is revoked")


def key_file(target: str, data: Path | None, keys: Path | None) -> Path:
    """The file of the keys of an app.

    >>> str(key_file("shop/app.py", None, None))
    'shop/.headrace/keys.yaml'
    """
    from headrace.server.gateway.accounts import KEYS

    return keys or data_folder(target, data) / KEYS


def _check_app(target: str, data: Path | None) -> None:
    """A misspelt file would mean another folder of keys, which no server reads."""
    file = target.partition(":")[0]
    if data is None and file.endswith(".py") and not Path(file).exists():
        raise DeclarationError(f"there is no file {file!r}", hint="give the path of the file that declares the app")


def _check_names(target: str, models: tuple[str, ...], views: tuple[str, ...]) -> None:
    """A key for what the app does not have would let nobody do anything, without a word."""
    if not models and set(views) <= {"*"}:
        return
    from headrace.app import load_app
    from headrace.core.names import unknown

    app = load_app(target)
    for what, given, known in (("model", models, app.models), ("view", views, app.views)):
        wrong = next((name for name in given if name != "*" and name not in known), None)
        if wrong is not None:
            raise unknown(what, wrong, known)


def _instant(text: str, now: int) -> datetime:
    """When a key ends: a duration from now on, or an instant that is still to come."""
    try:
        return to_datetime(now + parse_duration(text)).replace(microsecond=0)
    except DeclarationError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise DeclarationError(f"{text!r} is no time to end", hint="write 30d, or 2027-01-01T00:00:00Z")
    if at <= to_datetime(now):
        raise DeclarationError(f"{text} is over: such a key would be of no use", hint="write 30d, or a later instant")
    return at


def _row(one: VirtualKey, spent: Spent | None, now: int) -> dict[str, Any]:
    from headrace.server.gateway.keys import ALL, moment

    state = one.ended(now) or (f"until {moment(one.expires)}" if one.expires else "valid")
    row: dict[str, Any] = {
        "name": one.name,
        "id": one.id,
        "state": state,
        "models": ", ".join(one.models) or "all",
        "views": "all" if ALL in one.views else ", ".join(one.views) or "none",
        "rpm": one.rpm,
        "tpm": one.tpm,
        "budget": ", ".join(f"{amount}/{period}" for period, amount in one.budget.limits.items()) or None,
    }
    today, month, total = (Decimal(0),) * 3 if spent is None else spent.at(now)
    return row | {"spent today": f"{today:f}", "this month": f"{month:f}", "in all": f"{total:f}"}
