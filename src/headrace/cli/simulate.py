"""`headrace simulate`: what the policies of model upstreams do when something goes wrong, in virtual time."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import OutFile, Whole, positive
from headrace.cli.screen import print_table
from headrace.cli.target import load
from headrace.core.durations import format_duration
from headrace.core.errors import DeclarationError, UnknownName
from headrace.core.files import write_text
from headrace.core.names import suggest

if TYPE_CHECKING:
    from headrace.models.declared import DeclaredModel
    from headrace.models.simulation.result import Finding, Phase
    from headrace.models.simulation.room import Shortage
    from headrace.models.simulation.scenarios import Result, Scenario
    from headrace.models.simulation.settings import Simulation
    from headrace.stats.interval import Interval

UPSTREAMS = ("upstream", "model", "tier", "slots", "beyond them", "first token", "tokens/s")
PHASES = ("phase", "calls", "in time", "per second", "first p50", "first p99", "total p50", "total p99", "extra",
"cost",
          "fairness")  # fmt: skip
MOST = 5_000
"""Calls per second that can be played: a scenario takes four minutes of them, and a call a tenth of a millisecond."""
LEAST = 1 / 240
"""Calls per second of which one comes in four minutes."""
_WORTH_TELLING = 0.0005
"""The share of calls that take too long from which on it is told: less is 0.0 %."""


@click.command
@click.argument("target", metavar="[TARGET]", required=False)
@click.option("--model", "model", metavar="NAME", help="Which model of the app, when it declares several.")
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="What goes wrong; all of them if not given.")
@click.option("--rate", type=positive(), metavar="N",
              help="Calls per second.  [default: 60 % of what the upstreams can do]")  # fmt: skip
@click.option("--prompt-tokens", metavar="COUNT", help='Length of prompts: "600", "lognormal(600, p99=4000)".')
@click.option("--output-tokens", metavar="COUNT", help="Length of answers, likewise.")
@click.option("--first-token", metavar="TIME", help='Time to a first token: "350ms", "lognormal(350ms, p99=2s)".')
@click.option("--tokens-per-second", type=positive(), metavar="N",
              help="Speed of an answer.")  # fmt: skip
@click.option("--slots", type=Whole(min=1), metavar="N", help="Calls that an upstream works on at once.")
@click.option("--fit", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="TRACE",
              help="Times and lengths of recorded calls; the options above count before it.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="What is drawn; the same gives the same result.")
@click.option("--runs", type=Whole(1, 1000), default=6, show_default=True, metavar="N",
              help="How often a scenario is played at most: once, and N times where once cannot decide.")  # fmt: skip
@click.option(
    "--json", "file", type=OutFile(allow_dash=True), metavar="FILE",
    help="Write the results to FILE as JSON (- for standard output).",
)  # fmt: skip
@click.option("--list", "listed", is_flag=True, help="List the scenarios and end.")
def simulate(
    target: str | None,
    model: str | None,
    names: tuple[str, ...],
    seed: int,
    runs: int,
    file: Path | None,
    listed: bool,
    **known: Any,
) -> None:
    """Show how your upstream settings hold when something goes wrong.

    TARGET is the file that declares the app (app.py, or app.py:name): policies, upstreams, tiers, prices and the
    deadline are those of its model. How fast servers are and how many calls come is not declared: say it with the
    options, or with a trace. TARGET may also be a YAML file of policies, upstreams and load; what it leaves out has its
    default.

    The policies are the ones that run in production; only the upstreams and the clock are simulated. Nothing is sent
    anywhere.

    Ends with 1 if a finding fails. One that stays undecided does not fail, nor does too little capacity ("short"):
    policies are judged by what the upstreams that are left can answer. Nor does a scenario that is not applicable: it
    needs more upstreams than there are. Where that is so of all that are asked for, it ends with 1 and says so.
    """
    from headrace.models.simulation.scenarios import SCENARIOS, find, run

    if listed:
        for one in SCENARIOS.values():
            click.echo(f"{one.name:17} {one.about}")
        return
    scenarios = [find(name) for name in names] or list(SCENARIOS.values())
    simulation = adjust(_simulation(target, model), seed, known)
    _check_rate(simulation)
    _check_applicable(scenarios, simulation)
    to_screen = file is None or str(file) != "-"
    if to_screen:
        _tell_upstreams(simulation)
    results: list[Result] = []
    for scenario in scenarios:
        results.append(run(scenario, simulation, seed, runs))
        if to_screen:
            _print(results[-1])
    if file is not None:
        _write(results, file)
    sys.exit(0 if all(result.holds for result in results) else 1)


def _check_rate(simulation: Simulation) -> None:
    """Raises DeclarationError where so many calls come that nobody would wait for the end, or none at all."""
    rate = simulation.rate()
    if rate > MOST:
        raise DeclarationError(
            f"{rate:,.0f} calls per second are more than the {MOST:,} that can be played",
            hint="play a part: as many fewer slots or upstreams, and --rate",
        )
    if rate < LEAST:
        raise DeclarationError(
            f"with {rate:.3g} calls per second none comes in the four minutes that are played",
            hint="give another --rate; without one it is 60 % of what the upstreams can do: are prompts and answers of "
            "such lengths meant?",
        )


def _check_applicable(scenarios: Sequence[Scenario], simulation: Simulation) -> None:
    """Raises DeclarationError where none of the scenarios is applicable."""
    needs = {one.name: one.needs(simulation) for one in scenarios}
    if all(needs.values()):
        raise DeclarationError(
            f"not applicable: {'; '.join(f'{name} needs {what}' for name, what in needs.items())}",
            hint="name another scenario (--list shows all), or declare another upstream",
        )


def _simulation(target: str | None, model: str | None) -> Simulation:
    """What TARGET says."""
    from headrace.models.simulation.settings import Simulation, load_settings

    if target is not None and not _is_settings(target):
        from headrace.models.simulation.declared import of_model

        return of_model(_model(target, model))
    if model is not None:
        raise DeclarationError("--model chooses a model of an app", hint="name the app's file as well: app.py")
    return Simulation() if target is None else load_settings(Path(target))


def _is_settings(target: str) -> bool:
    """
    >>> _is_settings("settings.yaml"), _is_settings("app.py"), _is_settings("app.py:app"), _is_settings("shop.app")
    (True, False, False, False)
    """
    path = Path(target)
    return path.suffix in (".yaml", ".yml") or (path.suffix != ".py" and path.is_file())


def _model(target: str, name: str | None) -> DeclaredModel:
    """The model of an app that is meant."""
    models = load(target).models
    if not models:
        raise DeclarationError(f"{target} declares no model", hint='declare one: app.model("llm", ...)')
    if name is None and len(models) > 1:
        raise DeclarationError(
            f"{target} declares {len(models)} models: {', '.join(models)}",
            hint=f"choose one: --model {next(iter(models))}",
        )
    if name is not None and name not in models:
        raise UnknownName(f"{target} declares no model {name!r:.100}", hint=suggest(name, models))
    return models[name] if name is not None else next(iter(models.values()))


def adjust(simulation: Simulation, seed: int, known: Mapping[str, Any]) -> Simulation:
    """The simulation with what a trace says, and then what the options say.

    >>> from headrace.models.simulation.settings import Simulation
    >>> known = {"first_token": "200ms", "output_tokens": "lognormal(80, p99=400)", "slots": 4}
    >>> adjusted = adjust(Simulation(), 1, known)
    >>> adjusted.upstreams[0].server.first_token, adjusted.upstreams[0].server.slots, adjusted.load.output
    (0.2, 4, 80.0)
    """
    from headrace.models.simulation.fitting import read_trace
    from headrace.models.simulation.traced import traced

    server: dict[str, Any] = {}
    calls: dict[str, Any] = {}
    if known.get("fit") is not None:
        found = traced(read_trace(known["fit"]), Random(f"{seed} trace"))
        server |= found.server
        calls |= found.load
    server |= _lognormal(known.get("first_token"), "first_token", "spread")
    calls |= _lognormal(known.get("prompt_tokens"), "prompt", "prompt_spread")
    calls |= _lognormal(known.get("output_tokens"), "output", "output_spread")
    plain = {"slots": (server, "slots"), "tokens_per_second": (server, "speed"), "rate": (calls, "rate")}
    for option, (where, name) in plain.items():
        if known.get(option) is not None:
            where[name] = known[option]
    return simulation.adjusted(server=server, load=calls) if server or calls else simulation


def _lognormal(text: str | None, median: str, spread: str) -> dict[str, float]:
    """The settings that a distribution gives; a plain value is a median, and leaves the spread as it is."""
    from headrace.models.simulation.distribution import Always, Lognormal, parse_distribution

    if text is None:
        return {}
    hint = _COUNTS if median in ("prompt", "output") else _TIMES
    try:
        found = parse_distribution(text)
    except DeclarationError as error:
        raise DeclarationError(error.message, hint=hint) from None
    if isinstance(found, Lognormal):
        return {median: found.median, spread: found.sigma}
    if isinstance(found, Always) and found.value > 0:
        return {median: found.value}
    raise DeclarationError(
        f"{text!r:.80} cannot be simulated",
        hint=hint,
    )


def _tell_upstreams(simulation: Simulation) -> None:
    """What is assumed of the servers: the results are worth no more than that."""
    rows = [
        {
            "upstream": one.name,
            "model": one.model,
            "tier": one.tier,
            "slots": one.server.slots,
            "beyond them": f"{one.server.overflow}s",
            "first token": format_duration(round(one.server.first_token * 1_000_000)),
            "tokens/s": f"{one.server.speed:.4g}",
        }
        for one in simulation.upstreams
    ]
    print_table(rows, UPSTREAMS, title="simulated")
    calls = simulation.load
    click.echo(
        f"prompts of {calls.prompt:.0f} tokens, answers of {calls.output:.0f}, a deadline of"
        f" {format_duration(round(calls.deadline * 1_000_000))}\n"
    )


def _write(results: list[Result], file: Path) -> None:
    text = json.dumps([result.as_json() for result in results], indent=2) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
    else:
        write_text(file, text)


def _print(result: Result) -> None:
    click.echo(click.style(result.scenario, bold=True) + f"  {result.about}")
    if result.needs:
        click.echo(click.style("not applicable", fg="yellow") + f": needs {result.needs}\n")
        return
    click.echo(f"seed {result.seed}, {result.rate:.1f} calls/s, the upstreams can answer {result.capacity:.1f}")
    if result.runs > 1:
        click.echo(f"played {result.runs} times: the table shows the first, the findings are of all")
    if result.too_long >= _WORTH_TELLING:
        click.echo(
            f"{100 * result.too_long:.1f} % of the calls take longer than the deadline wherever they go: the findings"
            " do not count them"
        )
    print_table([_row(phase) for phase in result.phases], PHASES)
    for finding in result.findings:
        _tell(finding)
    for shortage in result.shortages:
        click.echo(click.style(f"{'short':9}", fg="yellow") + f" {told(shortage)}")
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


def told(shortage: Shortage) -> str:
    """Too little capacity for a person: what came, what could be answered, what was, and what is missing.

    >>> from headrace.models.simulation.room import Room, Shortage
    >>> for part in told(Shortage(Room("during", 60, 240, 8.9, 8.9, left=7.4), answered=7.2)).split(". "):
    ...     print(part)
    during: 8.9 calls/s come, the upstreams can then answer 7.4, 7.2 were answered in time
    No policy can answer all: it takes 1.41 times the capacity (slots or upstreams), or at most 6.3 calls/s.
    """
    room, times = shortage.room, shortage.times
    if times is None:
        return (
            f"{room.phase}: {room.rate:.1f} calls/s come, and no upstream is left that can answer. No policy can answer"
            " them: it takes another upstream, or a fallback."
        )
    return (
        f"{room.phase}: {room.rate:.1f} calls/s come, the upstreams can then answer {room.left:.1f},"
        f" {shortage.answered:.1f} were answered in time. No policy can answer all: it takes {times:.2f} times the"
        f" capacity (slots or upstreams), or at most {room.most:.1f} calls/s."
    )


_TIMES = 'write a median, "350ms", or one and a quantile: "lognormal(350ms, p99=2s)"'
_COUNTS = 'write a median, "600", or one and a quantile: "lognormal(600, p99=4000)"'
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
