"""`headrace simulate`: what the policies of model upstreams do when something goes wrong, in virtual time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.screen import print_table
from headrace.core.durations import format_duration

if TYPE_CHECKING:
    from headrace.models.simulation.result import Finding, Phase
    from headrace.models.simulation.scenarios import Result
    from headrace.stats.interval import Interval

PHASES = ("phase", "calls", "in time", "per second", "first p50", "first p99", "total p50", "total p99", "extra",
"cost",
          "fairness")  # fmt: skip


@click.command
@click.argument("settings", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="What goes wrong; all of them if not given.")
@click.option("--seed", type=int, default=1, show_default=True, help="What is drawn; the same gives the same result.")
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True), metavar="FILE",
    help="Write the results to FILE as JSON (- for standard output).",
)  # fmt: skip
@click.option("--list", "listed", is_flag=True, help="List the scenarios and end.")
def simulate(settings: Path | None, names: tuple[str, ...], seed: int, file: Path | None, listed: bool) -> None:
    """Show how your upstream settings hold when something goes wrong.

    SETTINGS is a YAML file of policies, upstreams and load; what it leaves out has its default. The policies are the
    ones that run in production; only the upstreams and the clock are simulated. Nothing is sent anywhere.

    Ends with 1 if something that must hold does not.
    """
    from headrace.models.simulation.scenarios import SCENARIOS, find, run
    from headrace.models.simulation.settings import Simulation, load_settings

    if listed:
        for one in SCENARIOS.values():
            click.echo(f"{one.name:17} {one.about}")
        return
    simulation = Simulation() if settings is None else load_settings(settings)
    scenarios = [find(name) for name in names] or list(SCENARIOS.values())
    results: list[Result] = []
    for scenario in scenarios:
        results.append(run(scenario, simulation, seed))
        if file is None or str(file) != "-":
            _print(results[-1])
    if file is not None:
        _write(results, file)
    sys.exit(0 if all(result.holds for result in results) else 1)


def _write(results: list[Result], file: Path) -> None:
    text = json.dumps([result.as_json() for result in results], indent=2) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
    else:
        file.write_text(text, encoding="utf-8")


def _print(result: Result) -> None:
    click.echo(click.style(result.scenario, bold=True) + f"  {result.about}")
    click.echo(f"seed {result.seed}, {result.rate:.1f} calls/s, the upstreams can answer {result.capacity:.1f}")
    print_table([_row(phase) for phase in result.phases], PHASES)
    for finding in result.findings:
        _tell(finding)
    click.echo()


def _row(phase: Phase) -> dict[str, Any]:
    return {
        "phase": phase.name,
        "calls": phase.calls,
        "in time": phase.good,
        "per second": f"{phase.goodput:.1f}",
        "first p50": seconds(phase.first_p50),
        "first p99": seconds(phase.first_p99),
        "total p50": seconds(phase.total_p50),
        "total p99": seconds(phase.total_p99),
        "extra": f"{100 * phase.extra:.1f}%",
        "cost": None if phase.cost is None else f"{phase.cost:.4f}",
        "fairness": f"{phase.fairness:.2f}",
    }


def seconds(interval: Interval) -> str:
    """A quantile of times for a person.

    >>> from headrace.stats.interval import quantile
    >>> seconds(quantile([0.42, 0.5, 1.25], 0.5)), seconds(quantile([], 0.5))
    ('500ms', '-')
    """
    return format_duration(round(interval.value * 1_000_000)) if interval.n else "-"


COLOURS = {"pass": "green", "fail": "red", "undecided": "yellow"}


def _tell(finding: Finding) -> None:
    verdict = finding.verdict.value
    value = finding.value
    between = "" if value.low == value.high else f", 95 % between {value.low:.3g} and {value.high:.3g}"
    limit = f"{'at most' if finding.at_most else 'at least'} {finding.limit:.3g}"
    click.echo(
        f"{click.style(f'{verdict:9}', fg=COLOURS[verdict])} {finding.name}: {value.value:.3g} ({limit}{between}; "
        f"n = {value.n})"
    )
