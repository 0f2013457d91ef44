"""`headrace push`: give records to a running server."""

from __future__ import annotations

from typing import BinaryIO
from urllib.parse import quote

import click

from headrace.cli.remote import Remote, remote_options
from headrace.cli.screen import json_option, print_json


@click.command
@click.argument("table")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--idempotency-key", metavar="KEY", help="Repeating a push with the same key applies it once.")
@remote_options
@json_option
def push(table: str, file: BinaryIO, idempotency_key: str | None, url: str, api_key: str | None, as_json: bool) -> None:
    """Push records to TABLE, from FILE or standard input (-).

    The input is one JSON object, an array of objects, or one object a line. {"op": "delete", "key": ...} deletes.
    It is on disk when the command returns. Records that break the contract wait in quarantine.

    \b
    Examples:
      echo '{"item_id": "i1", "price": 9.5, "stock": 3}' | headrace push items
      headrace push items rows.jsonl
    """
    headers = {"content-type": "application/x-ndjson"}
    if idempotency_key is not None:
        headers["idempotency-key"] = idempotency_key
    receipt = Remote(url, api_key).push(f"/push/{quote(table, safe='')}", file.read(), headers)
    if as_json:
        print_json(receipt)
        return
    repeats = f", duplicates {receipt['duplicates']}" if receipt["duplicates"] else ""
    click.echo(f"accepted {receipt['accepted']}, quarantined {receipt['quarantined']}{repeats}")
    if receipt["replayed"]:
        click.echo("this idempotency key was used before: nothing was applied again")
    if receipt["quarantined"]:
        click.echo(f"see why: headrace quarantine list --table {table}")
