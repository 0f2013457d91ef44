"""`headrace mock-llm`: a model to run against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headrace.cli.options import Whole, positive
from headrace.core.errors import DeclarationError


@click.command("mock-llm")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=Whole(0, 65535), default=8790, show_default=True,
              envvar="HEADRACE_MOCK_PORT", help="Port; 0: any free one.")  # fmt: skip
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file; options count before it.",
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model that it has; others are refused then.")
@click.option("--first-token", metavar="TIME", help='Time to first token: "300ms", "lognormal(300ms, p99=2s)".')
@click.option("--tokens-per-second", metavar="RATE", help='Speed of an answer: "70", "lognormal(70, p1=30)".')
@click.option("--prefill", type=positive(), metavar="TOKENS", help="Prompt tokens read per second.")
@click.option("--output-tokens", metavar="COUNT", help="Length of answers that no rule gives.")
@click.option(
    "--fit", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Times and lengths of a recorded trace."
)
@click.option("--slots", type=Whole(min=1), help="Requests that are worked on at once.")
@click.option("--queue", type=Whole(min=0), help="Requests that may wait for a slot.")
@click.option("--overflow", type=click.Choice(["429", "503", "529"]), help="Status beyond slots and queue.")
@click.option("--rpm", type=positive(), metavar="N", help="Requests per minute.")
@click.option("--tpm", type=positive(), metavar="N", help="Tokens per minute.")
@click.option("--fail", "fails", multiple=True, metavar="KIND=SHARE", help="Share of requests that fail: 500=0.02.")
@click.option(
    "--answers", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Python file with answer(prompt)."
)
@click.option("--api-key", envvar="HEADRACE_MOCK_API_KEY", help="Key that requests must carry.")
@click.option("--seed", type=int, help="Fixes what is drawn.")
def mock_llm(host: str, port: int, settings: Path | None, **options: Any) -> None:
    """Run a server that answers as OpenAI's and Anthropic's do, without a model.

    It answers from the data in the prompt, so that answers can be checked exactly; times, rate limits and failures are
    what you say. By default it answers at once. GET /mock/stats tells what it counted.
    """
    from headrace.http1 import run
    from headrace.mockllm.running import serve
    from headrace.mockllm.settings import load_settings

    parsed = load_settings(settings, _changes(options))

    def announce(url: str) -> None:
        click.echo(f"A mock of a model answers at {url} (OpenAI: base_url {url}/v1; Anthropic: base_url {url})")

    run(serve(parsed, host, port, announce))


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    """What the options change of the settings."""
    names = {"rpm": "requests_per_minute", "tpm": "tokens_per_minute"}
    changes = {names.get(name, name): value for name, value in options.items() if value not in (None, ())}
    if "models" in changes:
        changes["any_model"] = False
    if "overflow" in changes:
        changes["overflow"] = int(changes["overflow"])
    if "fails" in changes:
        changes["failures"] = dict(_share(text) for text in changes.pop("fails"))
    return changes


def _share(text: str) -> tuple[str, float]:
    """
    >>> _share("500=2%"), _share("stall=0.01")
    (('500', 0.02), ('stall', 0.01))
    """
    kind, _, share = text.partition("=")
    try:
        return kind.strip(), float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        raise DeclarationError(f"{text!r:.60} is no share of failures", hint="write 500=0.02 or stall=1%") from None
