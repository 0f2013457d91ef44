"""What can be simulated by name: what goes wrong, what must hold, and which policy is to be thanked.

Each scenario has `off`: settings that switch off the policies it is about. With them it must fail, or it proves
nothing; the tests see to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.core.errors import UnknownName
from headrace.core.names import suggest
from headrace.models.failure import Failure
from headrace.models.simulation.arrivals import Step
from headrace.models.simulation.driver import Driver, Log
from headrace.models.simulation.faults import Fault
from headrace.models.simulation.played import Played
from headrace.models.simulation.result import (
    Finding,
    Phase,
    extra_load,
    interval_json,
    phase,
    ratio,
)
from headrace.models.simulation.room import FULL, Room, Shortage, room
from headrace.models.simulation.settings import Server, Simulation
from headrace.stats.interval import Interval, quantile, wilson

RUNS = 6
"""How often a scenario is played at most, unless it is said: the fewest that have an interval of their median."""
Findings = Callable[[Played], list[Finding]]
"""Judges what was played."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that goes wrong.

    Attributes
    ----------
    name, about
        How it is called, and what happens in it.
    start, end, until
        When it goes wrong, when that ends, and when the last call comes (seconds).
    findings
        What must hold.
    change
        Settings that it needs, given the user's.
    load
        How much more often calls come during the fault: given the user's settings.
    faults
        What goes wrong.
    off
        Settings without the policies that it is about.
    allowed
        The share of calls that may go without an answer in time, where there is room for all.
    beside
        What differs in a run of the same calls to compare with; None: there is none. `faultless` leaves the faults
        out, other names are settings.
    needs
        What it needs that a user's settings lack, so that no policies could hold; empty: nothing, it is applicable.
    """

    name: str
    about: str
    start: float
    end: float
    until: float
    findings: Findings
    change: Callable[[Simulation], dict[str, Any]] = field(default=lambda _: {})
    load: Callable[[Simulation], float] = field(default=lambda _: 1.0)
    faults: Callable[[Simulation], Sequence[Fault]] = field(default=lambda _: ())
    off: dict[str, Any] = field(default_factory=dict[str, Any])
    allowed: float = 0.02
    beside: dict[str, Any] | None = None
    needs: Callable[[Simulation], str] = field(default=lambda _: "")


@dataclass(frozen=True, slots=True)
class Result:
    """What a scenario showed. One that is not applicable is not played: it has no phases and no findings.

    Attributes
    ----------
    capacity, rate
        Calls per second that the upstreams of the first tier can answer, and that come as a rule.
    too_long
        Share of calls that take longer than the deadline wherever they go, and are not counted in findings.
    phases, log
        Of the first run.
    rooms
        What could be answered, by phase.
    findings, shortages
        Of all runs.
    runs
        How often it was played.
    needs
        What it needs and does not have, where it is not applicable.
    """

    scenario: str
    about: str
    seed: int
    capacity: float
    rate: float
    too_long: float = 0.0
    phases: tuple[Phase, ...] = ()
    rooms: tuple[Room, ...] = ()
    findings: tuple[Finding, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    runs: int = 0
    log: Log = field(default_factory=Log)
    needs: str = ""

    @property
    def holds(self) -> bool:
        """Whether no finding fails; undecided ones do not, nor does a lack of capacity."""
        return all(finding.verdict != "fail" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "runs": self.runs,
            "capacity": round(self.capacity, 3),
            "rate": round(self.rate, 3),
            "too_long": round(self.too_long, 4),
            "holds": self.holds,
            "not_applicable": f"needs {self.needs}" if self.needs else None,
            "phases": [
                {**there.as_json(), "capacity": round(one.left, 3)}
                for one, there in zip(self.rooms, self.phases, strict=True)
            ],
            "shortages": [one.as_json() for one in self.shortages],
            "findings": [
                {
                    "name": one.name,
                    "verdict": one.verdict.value,
                    **interval_json(one.value),
                    "limit": one.limit,
                    "limit_is": "at most" if one.at_most else "at least",
                }
                for one in self.findings
            ],
        }


def run(scenario: Scenario, simulation: Simulation, seed: int, most: int = RUNS) -> Result:
    """Play a scenario on a user's settings: `most` times where one run cannot decide; the same seed gives the same."""
    simulation = simulation.changed(scenario.change(simulation))
    capacity, rate, needs = simulation.capacity(), simulation.rate(), scenario.needs(simulation)
    if needs:
        return Result(scenario.name, scenario.about, seed, capacity, rate, needs=needs)
    played = _played(scenario, simulation, [str(seed)])
    findings = scenario.findings(played)
    if most > 1 and any(finding.verdict == "undecided" for finding in findings):
        more = _played(scenario, simulation, [f"{seed} again {number}" for number in range(1, most)])
        played = replace(played, runs=played.runs + more.runs, beside=played.beside + more.beside)
        findings = scenario.findings(played)
    rooms = tuple(played.rooms.values())
    return Result(
        scenario=scenario.name,
        about=scenario.about,
        seed=seed,
        capacity=capacity,
        rate=rate,
        too_long=played.too_long,
        phases=tuple(phase(one.phase, played.runs[0], one.start, one.end) for one in rooms),
        rooms=rooms,
        findings=tuple(findings),
        shortages=tuple(played.shortages()),
        runs=len(played.runs),
        log=played.runs[0],
    )


def _played(scenario: Scenario, simulation: Simulation, seeds: Sequence[str]) -> Played:
    """A run for each seed, and those to compare with."""
    runs = tuple(_play(scenario, simulation, seed) for seed in seeds)
    other = scenario.beside
    beside = runs if other is None else tuple(_beside(scenario, simulation, other, seed) for seed in seeds)
    return Played(simulation, {one.phase: one for one in _rooms(scenario, simulation)}, runs, beside, scenario.allowed)


def _rooms(scenario: Scenario, simulation: Simulation) -> tuple[Room, ...]:
    """The phases of a scenario, and what can be answered in each."""
    spans = [("before", 10.0, scenario.start, 1.0)]
    spans.append(("during", scenario.start, scenario.end, scenario.load(simulation)))
    if scenario.end < scenario.until:
        spans.append(("after", scenario.end, scenario.until, 1.0))
    faults = scenario.faults(simulation)
    return tuple(room(simulation, faults, name, start, end, factor) for name, start, end, factor in spans)


def _play(scenario: Scenario, simulation: Simulation, seed: str, *, faultless: bool = False) -> Log:
    """One run."""
    steps = [Step(scenario.start, scenario.end, scenario.load(simulation))]
    faults = () if faultless else scenario.faults(simulation)
    return Driver(simulation, steps, faults, seed).run(scenario.until)


def _beside(scenario: Scenario, simulation: Simulation, differs: dict[str, Any], seed: str) -> Log:
    """The run to compare with."""
    settings = {path: value for path, value in differs.items() if path != "faultless"}
    return _play(scenario, simulation.changed(settings), seed, faultless=bool(differs.get("faultless")))


def find(name: str) -> Scenario:
    """The scenario of this name.

    Raises
    ------
    UnknownName
        There is none.
    """
    if name not in SCENARIOS:
        raise UnknownName(f"there is no scenario {name!r:.100}", hint=suggest(name, SCENARIOS))
    return SCENARIOS[name]


# Parts ---------------------------------------------------------------------------------------------------------------


def _first(simulation: Simulation) -> tuple[str, ...]:
    """The upstream that falls ill: the first of those that are asked first."""
    return (min(simulation.upstreams, key=lambda one: one.tier).name,)


def _another(simulation: Simulation) -> str:
    """What a hang of one call in ten needs. With one upstream each of these calls takes a second attempt there, or is
    lost: whatever the policies, too much extra load or too many calls without an answer.
    """
    return "" if len(simulation.upstreams) > 1 else "at least two upstreams"


def _impatient(simulation: Simulation) -> dict[str, Any]:
    """Clients that leave before any timeout of the router."""
    timeouts = simulation.policies.timeouts
    return {"load.patience": simulation.load.patience or min(timeouts.first_token, simulation.load.deadline) / 2}


def _peers(simulation: Simulation) -> str:
    """What a choice needs. The balancer and hedges choose within a tier: where the first has one upstream, they do the
    same as upstreams in turns.
    """
    tiers = [one.tier for one in simulation.upstreams]
    return "" if tiers.count(min(tiers)) > 1 else "at least two upstreams in the first tier"


def _totals(runs: Iterable[Log], start: float, end: float, q: float) -> Interval:
    came = [one for log in runs for one in log.records if start <= one.began < end]
    good = [one for one in came if one.good and one.ended is not None]
    return quantile(sorted(one.ended - one.began for one in good if one.ended is not None), q)


def _firsts(runs: Iterable[Log], start: float, end: float, q: float, *, most_prompt: int) -> Interval:
    """A quantile of the time to the first byte of prompts up to a length. Calls without an answer never got one."""
    came = [one for log in runs for one in log.records if start <= one.began < end]
    came = [one for one in came if one.arrival.prompt <= most_prompt]
    waits = [one.first - one.began if one.first is not None else float("inf") for one in came]
    return quantile(sorted(waits), q)


# Scenarios -----------------------------------------------------------------------------------------------------------


def _grey(played: Played) -> list[Finding]:
    there, without = _totals(played.runs, 60, 360, 0.99), _totals(played.beside, 60, 360, 0.99)
    return [
        Finding("p99 of the whole answer, over that of healthy upstreams", ratio(there, without), 1.5),
        *played.answered("during"),
        Finding("extra load", extra_load(played.runs, 60, 360), 0.05),
    ]


def _hole(played: Played) -> list[Finding]:
    name, upstreams = _first(played.simulation)[0], len(played.simulation.upstreams)
    there = [where for log in played.runs for at, where, _ in log.attempts if 60 <= at < 240]
    attracted = wilson(sum(where == name for where in there), len(there))
    share = Finding("share of attempts that the black hole attracts", attracted, 1 / upstreams)
    return [*([share] if upstreams > 1 else []), *played.answered("during")]  # the only one attracts all of them


def _overload(played: Played) -> list[Finding]:
    return [
        played.share(played.rooms["during"], "goodput during the overload, over the capacity", FULL),
        *played.recovers(),
    ]


def _reset(played: Played) -> list[Finding]:
    tried = sum(60 <= at < 240 for log in played.runs for at, _, _ in log.attempts)
    failures = [failure for log in played.runs for at, _, failure in log.failures if 60 <= at < 240]
    refused = failures.count(Failure.RATE_LIMITED)
    return [
        Finding("share of attempts that are refused by a rate limit", wilson(refused, tried), 0.01),
        played.share(played.rooms["during"], "goodput at the limit, over the limit", 0.85),
        *played.recovers(),
    ]


def _slowdown(played: Played) -> list[Finding]:
    return [Finding("extra load while everything is slow", extra_load(played.runs, 60, 120), 0.05)]


def _mixed(played: Played) -> list[Finding]:
    there = _firsts(played.runs, 60, 240, 0.95, most_prompt=10_000)
    without = _firsts(played.beside, 60, 240, 0.95, most_prompt=10_000)
    return [
        Finding(
            "p95 of the first token of short prompts, over that with upstreams in turns", ratio(there, without), 0.85
        )
    ]


def _noisy(played: Played) -> list[Finding]:
    quiet = [one for one in played.counted(60, 120) if one.arrival.tenant == "quiet"]
    return [
        Finding(
            "calls of the quiet tenant without an answer in time",
            wilson(sum(not one.good for one in quiet), len(quiet)),
            0.05,
        )
    ]


def _limit(simulation: Simulation) -> float:
    """Calls per second that the rate limits let through."""
    return sum((one.server.requests_per_minute or 0.0) / 60 for one in simulation.upstreams)


def _limits(simulation: Simulation) -> dict[str, Any]:
    """Rate limits a third above the load, of which each upstream has its part."""
    each = 60 * simulation.rate() * 4 / 3 / len(simulation.upstreams)
    return {
        "load.rate": simulation.rate(),
        "upstreams": [
            {**one.model_dump(), "server": {**one.server.model_dump(), "requests_per_minute": each}}
            for one in simulation.upstreams
        ],
    }


def _large(simulation: Simulation) -> dict[str, Any]:
    """Upstreams that take many times as much as any limit starts from, answers that are long, and hardly any calls."""
    upstreams = [
        {**one.model_dump(), "server": {**one.server.model_dump(), **_times(one.server, _LARGE)}}
        for one in simulation.upstreams
    ]
    load = simulation.load
    long = {"output": 4 * load.output, "max_tokens": 4 * load.max_tokens, "deadline": 4 * load.deadline}
    changes = {"upstreams": upstreams} | {f"load.{name}": value for name, value in long.items()}
    return changes | {"load.rate": simulation.changed(changes).capacity() / 100}


def _times(server: Server, factor: int) -> dict[str, Any]:
    """A server that can do so many times as much."""
    return {"slots": factor * server.slots, "prefill": factor * server.prefill}


_LARGE = 16
_QUIET_AND_LOUD = [{"name": "quiet", "weight": 1.0}, {"name": "loud", "weight": 9.0}]
_TURNS: dict[str, Any] = {"policies.balancer.rule": "turns", "policies.hedge.enabled": False}
_PLAIN: dict[str, Any] = {"policies.admission.enabled": False}

_ALL = (
    Scenario(
        "grey-failure",
        "The first upstream hangs on one call in ten from 60 s on, and answers the others as always.",
        60,
        360,
        360,
        _grey,
        faults=lambda simulation: [Fault("hang", _first(simulation), 60, share=0.1)],
        off=_TURNS,
        allowed=0.01,
        beside={"faultless": True},
        needs=_another,
    ),
    Scenario(
        "black-hole",
        "The first upstream refuses every call within 5 ms from 60 s on, with status 429 and no headers.",
        60,
        240,
        240,
        _hole,
        faults=lambda simulation: [Fault("refuse", _first(simulation), 60)],
        off={
            "policies.balancer.failures": "elapsed",
            "policies.quota.enabled": False,
            "policies.concurrency.kind": "fixed",
        },
    ),
    Scenario(
        "silence",
        "The first upstream takes every call from 60 s on and never answers; clients leave before a timeout is over.",
        60,
        240,
        240,
        lambda played: played.answered("during"),
        change=_impatient,
        faults=lambda simulation: [Fault("dark", _first(simulation), 60)],
        off=_TURNS | {"policies.breaker.enabled": False},
        allowed=0.05,
        needs=_another,
    ),
    Scenario(
        "overload",
        "From 60 s to 120 s three times as many calls come as all upstreams can answer.",
        60,
        120,
        240,
        _overload,
        load=lambda simulation: 3 * simulation.capacity() / simulation.rate(),
        off=_PLAIN,
    ),
    Scenario(
        "outage",
        "From 60 s to 120 s no upstream answers anything; clients send twice again what fails.",
        60,
        120,
        240,
        Played.recovers,
        change=lambda simulation: {"load.client_retries": max(simulation.load.client_retries, 2)},
        faults=lambda _: [Fault("dark", (), 60, 120)],
        off=_PLAIN | {"policies.budget.unlimited": True},
    ),
    Scenario(
        "rate-limit-reset",
        "At 60 s all rate limits are used up, and until 120 s half as many calls again come as they let through.",
        60,
        120,
        240,
        _reset,
        change=_limits,
        load=lambda simulation: 1.5 * _limit(simulation) / simulation.rate(),
        faults=lambda _: [Fault("limit", (), 60, 61)],
        off={
            "policies.quota.enabled": False,
            "policies.budget.unlimited": True,
            "policies.concurrency.kind": "fixed",
        },
    ),
    Scenario(
        "slowdown",
        "From 60 s to 120 s all upstreams take three times as long for everything.",
        60,
        120,
        240,
        _slowdown,
        faults=lambda _: [Fault("slow", (), 60, 120, factor=3.0)],
        off={"policies.budget.unlimited": True, "policies.hedge.busy": 1.0, "policies.hedge.failing": 1.0},
    ),
    Scenario(
        "mixed-prompts",
        "Three prompts in a hundred have 50,000 tokens; the others must not wait behind them.",
        60,
        240,
        240,
        _mixed,
        change=lambda _: {"load.long_prompts": 0.03},
        off=_TURNS,
        beside=_TURNS,
        needs=_peers,
    ),
    Scenario(
        "cold-start",
        "Hardly any calls come until 60 s, then at once as many as upstreams of 16 times the size answer, with answers"
        " of four times the length.",
        60,
        120,
        120,
        lambda played: played.answered("during"),
        change=_large,
        load=lambda simulation: 0.8 * simulation.capacity() / simulation.rate(),
        off={"policies.concurrency.kind": "fixed", "policies.concurrency.initial": 16},
    ),
    Scenario(
        "noisy-neighbour",
        "From 60 s to 120 s twice as many calls come as can be answered, nine of ten from one of two tenants.",
        60,
        120,
        240,
        _noisy,
        change=lambda _: {"load.tenants": _QUIET_AND_LOUD},
        load=lambda simulation: 2 * simulation.capacity() / simulation.rate(),
        off=_PLAIN,
    ),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
"""All scenarios by name."""
