"""`headrace conformance`: suites that run over what is not ours."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import Address, OutFile, Whole, positive
from headrace.core.errors import DeclarationError
from headrace.core.files import write_text

if TYPE_CHECKING:
    from headrace.mockllm.handle import Mock
    from headrace.mockllm.truth import Case, Gateway, Outcome


@click.group
def conformance() -> None:
    """Check that another program keeps what it must."""


@conformance.command
@click.argument("base_url", type=Address())
@click.option("--upstream-port", type=Whole(1, 65535), default=8791, show_default=True,
              help="Where the mock listens that the gateway must ask.")  # fmt: skip
@click.option("--model", default="mock-model", show_default=True, help="The model that leads to it.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each request.")
@click.option("--api", "apis", multiple=True, type=click.Choice(["chat", "responses", "messages"]),
              help="Only these; all if not given.")  # fmt: skip
@click.option("--case", "names", multiple=True, metavar="WORD", help="Only cases with this word in their name.")
@click.option("--texts", is_flag=True, help="Compare texts, not bytes: for gateways that write events anew.")
@click.option("--patience", type=positive(3600), default=2.0, show_default=True,
              help="Seconds until an answer is called open; a refusal has ten at least.")  # fmt: skip
@click.option("--recover", type=positive(3600), default=30.0, show_default=True,
              help="Seconds until breakers must be closed.")  # fmt: skip
@click.option("--json", "file", type=OutFile(), help="Write the results to a file.")
@click.option("--list", "listed", is_flag=True, help="List the cases and end.")
def gateway(
    base_url: str,
    upstream_port: int,
    model: str,
    headers: tuple[str, ...],
    apis: tuple[str, ...],
    names: tuple[str, ...],
    texts: bool,
    patience: float,
    recover: float,
    file: Path | None,
    listed: bool,
) -> None:
    """Check that the gateway at BASE_URL tells the truth when its upstream fails.

    A mock of OpenAI's and Anthropic's APIs is started on --upstream-port; let it be the only upstream of the gateway.
    Ends with 1 if a case is not kept.
    """
    from headrace.mockllm.running import mock_llm
    from headrace.mockllm.truth import CASES, Gateway

    cases = [case for case in CASES if (not apis or case.api in apis) and all(name in case.name for name in names)]
    if listed:
        for case in cases:
            click.echo(case.name)
        return
    if not cases:
        raise DeclarationError(f"no case has {' and '.join(names)} in its name", hint="--list shows all of them")
    tested = Gateway(
        base_url, model, dict(_header(text) for text in headers), exact=not texts, patience=patience, recover=recover
    )
    with mock_llm(port=upstream_port, tokens_per_second="200", output_tokens="40") as mock:
        outcomes = asyncio.run(_run(tested, mock, cases))
    if file is not None:
        results = [{"case": one.case.name, "problems": one.problems, "notes": one.notes} for one in outcomes]
        write_text(file, json.dumps(results, indent=2) + "\n")
    broken = sum(not outcome.kept for outcome in outcomes)
    click.echo(f"{len(outcomes) - broken} of {len(outcomes)} cases are kept")
    sys.exit(1 if broken else 0)


async def _run(tested: Gateway, mock: Mock, cases: Sequence[Case]) -> list[Outcome]:
    from headrace.mockllm.truth import check_all

    outcomes: list[Outcome] = []
    async for outcome in check_all(tested, mock, cases):
        verdict = click.style("kept  ", fg="green") if outcome.kept else click.style("BROKEN", fg="red")
        click.echo(f"{verdict} {outcome.case.name}" + "".join(f"\n         {text}" for text in outcome.problems))
        for note in outcome.notes:
            click.echo(click.style(f"         {note}", dim=True))
        outcomes.append(outcome)
    return outcomes


def _header(text: str) -> tuple[str, str]:
    """
    >>> _header("Authorization: Bearer x")
    ('Authorization', 'Bearer x')
    """
    name, found, value = text.partition(":")
    if not found or not name.strip():
        raise DeclarationError(f"{text!r:.60} is no header", hint="write 'Authorization: Bearer KEY'")
    return name.strip(), value.strip()
