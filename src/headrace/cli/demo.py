"""`headrace demo`: what stale context costs, in a simulated city."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.options import Address, Number, OutFile


@click.command
@click.option("--seconds", type=Number(min=1, max=1e6), help="Stop after this long (real time).  [default: a minute]")
@click.option("--json", "report", type=OutFile(), help="Write the figures to a file.")
@click.option("--batch", default="5m", show_default=True, help="How often the batch copy is refreshed, in city time.")
@click.option(
    "--speed",
    type=Number(min=1, max=1e6),
    help="City seconds per real second.  [default: 60, and 5 with --openai-url]",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Another seed, another day in the city.")
@click.option("--plain", is_flag=True, help="Print lines instead of drawing a screen.")
@click.option("--postgres", is_flag=True, help="Let the city write into a PostgreSQL, and follow its commits.")
@click.option("--dsn", help="Use this database instead of a temporary server; the demo makes a schema in it.")
@click.option(
    "--openai-url",
    type=Address(),
    metavar="URL",
    help="Let a real model answer: the base URL of an OpenAI-like server.",
)
@click.option("--openai-model", metavar="NAME", help="Its model there.  [default: gpt-4.1-mini]")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the live store in this folder.")
def demo(
    seconds: float | None,
    report: Path | None,
    batch: str,
    speed: float | None,
    seed: int,
    plain: bool,
    data: Path | None,
    postgres: bool,
    dsn: str | None,
    openai_url: str | None,
    openai_model: str | None,
) -> None:
    """Run a food-delivery city, and compare live context with a batch copy of it.

    A simulator sells dishes out, starts promotions, takes orders and moves couriers. Two recommenders and two support
    agents do the same work side by side: one reads a copy that is refreshed every --batch, the other reads live. The
    screen shows what the difference costs. Ctrl-C ends it with a summary.

    The agents are endpoints that ask a model: `headrace mock-llm`, inside of the demo, or a real one at --openai-url,
    with the key in OPENAI_API_KEY.
    """
    from headrace.demo.run import run_demo

    run_demo(
        seconds,
        report,
        seed,
        batch,
        speed,
        plain,
        data,
        postgres=postgres,
        dsn=dsn,
        openai_url=openai_url,
        openai_model=openai_model,
    )
