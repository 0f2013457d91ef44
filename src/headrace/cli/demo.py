"""`headrace demo`: what stale context costs, in a simulated city."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.core.durations import parse_duration


@click.command
@click.option("--seconds", type=click.FloatRange(min=1), help="Stop after this long (real time).")
@click.option("--json", "report", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here.")
@click.option("--batch", default="5m", show_default=True, help="How often the batch copy is refreshed (simulated time).")
@click.option("--speed", type=click.FloatRange(min=1), help="Simulated seconds per real second.")
@click.option("--seed", type=int, default=7, show_default=True, help="Another seed, another day in the city.")
@click.option("--plain", is_flag=True, help="Print lines instead of drawing a screen.")
def demo(
    seconds: float | None, report: Path | None, batch: str, speed: float | None, seed: int, plain: bool
) -> None:
    """Run a food-delivery city, and compare live context with a batch copy of it.

    A simulator sells dishes out, starts promotions, takes orders and moves couriers. Two recommenders and two support
    agents do the same work side by side: one reads a copy that is refreshed every --batch, one reads live. The screen
    shows what the difference costs.
    """
    parse_duration(batch)
