"""The shell of the simulator: carries the router's actions to simulated servers, and their events back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from headrace.models.action import Action, Attempt, Deliver, Done, Refused, Start, Stop
from headrace.models.billing import Billing
from headrace.models.call import Call, Priority, Usage
from headrace.models.cost import Prices
from headrace.models.estimate import Tokens
from headrace.models.failure import Failure
from headrace.models.headers import Limits
from headrace.models.router import Router
from headrace.models.simulation.agenda import Agenda
from headrace.models.simulation.arrivals import Arrival, Step, arrivals
from headrace.models.simulation.faults import Fault
from headrace.models.simulation.server import SimulatedServer
from headrace.models.simulation.settings import Simulation
from headrace.models.spending import Spending

_FOR_EVER = 1e9
"""A period of spending longer than any run (seconds): budgets are for the whole of it."""


@dataclass(slots=True)
class Record:
    """What became of one call, with instants in seconds of virtual time.

    Attributes
    ----------
    arrival
        The call.
    again
        How often its client had sent it before.
    first, ended
        When its first byte came, and when it ended well or not; None: it did not.
    good
        Whether the whole answer came in time.
    outcome
        `done`, or why it was refused.
    cost
        Of all its attempts; None where a price is not known.
    too_long
        Whether it would take longer than the deadline at any upstream, with nothing else to do there.
    """

    arrival: Arrival
    again: int
    began: float
    first: float | None = None
    ended: float | None = None
    good: bool = False
    outcome: str = ""
    cost: Decimal | None = None
    attempts: int = 0
    too_long: bool = False

    @property
    def counts(self) -> bool:
        """Whether findings count it: not what took too long wherever it went, nor what was sent again, which would
        count one call several times."""
        return not self.too_long and self.again == 0


@dataclass(slots=True)
class Log:
    """Everything that happened in a run.

    Attributes
    ----------
    records
        All calls in the order in which they came, those that clients sent again included.
    attempts
        When each attempt began, where, and whether it was an extra one.
    failures
        When each failure that an upstream told came, where, and what it was.
    over
        How often an attempt was started at an upstream that had as many in flight as its limit; always 0.
    """

    records: list[Record] = field(default_factory=list[Record])
    attempts: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])
    failures: list[tuple[float, str, Failure]] = field(default_factory=list[tuple[float, str, Failure]])
    over: int = 0


class Driver:
    """One run.

    Parameters
    ----------
    simulation
        Settings of the user.
    steps, faults
        What the scenario adds.
    seed
        Calls, servers and policies each draw from a generator of their own made of it: with other policies, the same
        calls come.
    """

    def __init__(self, simulation: Simulation, steps: Sequence[Step], faults: Sequence[Fault], seed: int | str) -> None:
        self.simulation = simulation
        self.agenda = Agenda()
        self.log = Log()
        self._steps = steps
        self._seed = seed
        self._ids = itertools.count(1)
        self._tokens = Tokens()
        self._open: dict[str, Record] = {}
        billing = Billing(Prices(simulation.prices), Spending(dict(simulation.budgets), period=_FOR_EVER))
        specs = [upstream.spec for upstream in simulation.upstreams]
        self.router = Router(specs, simulation.policies, Random(f"{seed} policies"), billing=billing)
        self.servers = {
            one.name: SimulatedServer(one, self.agenda, Random(f"{seed} server {one.name}"), faults, self)
            for one in simulation.upstreams
        }
        servers = [one.server for one in simulation.upstreams]
        self._kinds = [one for place, one in enumerate(servers) if one not in servers[:place]]
        self._wake: float | None = None

    def run(self, until: float) -> Log:
        """Let calls come up to an instant, and give the last ones time to end."""
        load, random = self.simulation.load, Random(f"{self._seed} calls")
        self._next(arrivals(load, self.simulation.rate(), self._steps, until, random))
        self.agenda.run(until + load.deadline * (1 + load.client_retries))
        return self.log

    # Calls ---------------------------------------------------------------------------------------------------------

    def _next(self, coming: Iterator[Arrival]) -> None:
        arrival = next(coming, None)
        if arrival is not None:
            self.agenda.at(arrival.at, lambda: (self._submit(arrival, 0), self._next(coming)))

    def _submit(self, arrival: Arrival, again: int) -> None:
        now = self.agenda.now
        load = self.simulation.load
        call = Call(
            id=f"c{next(self._ids)}",
            prompt_tokens=arrival.prompt,
            output_tokens=self._tokens.output(now, max_tokens=load.max_tokens),
            deadline=now + load.deadline,
            tenant=arrival.tenant,
            priority=Priority(arrival.priority),
            session=arrival.session,
            stream=arrival.stream,
            key=arrival.tenant,
        )
        too_long = all(one.seconds(arrival.prompt, arrival.output) > load.deadline for one in self._kinds)
        record = self._open[call.id] = Record(arrival, again, now, too_long=too_long)
        self.log.records.append(record)
        if load.patience is not None:
            self.agenda.at(now + load.patience, lambda: self._leave(call))
        self._act(self.router.submit(now, call))

    def _leave(self, call: Call) -> None:
        """The client of a call has waited for long enough."""
        record = self._open.get(call.id)
        if record is not None and record.first is None:
            self._act(self.router.cancel(self.agenda.now, call.id))

    # What servers tell ---------------------------------------------------------------------------------------------

    def first_token(self, attempt: Attempt) -> None:
        """The first byte of an attempt."""
        self._act(self.router.on_first_token(self.agenda.now, attempt.id))

    def progress(self, attempt: Attempt) -> None:
        """More of a stream."""
        self.router.on_progress(self.agenda.now, attempt.id)

    def end(self, attempt: Attempt, usage: Usage, limits: Limits) -> None:
        """A whole answer."""
        now = self.agenda.now
        self._tokens.observe(now, prompt_bytes=0, prompt_tokens=usage.prompt_tokens, output_tokens=usage.output_tokens)
        self._act(self.router.on_end(now, attempt.id, usage, limits))

    def failure(self, attempt: Attempt, failure: Failure, limits: Limits) -> None:
        """A failed attempt."""
        self.log.failures.append((self.agenda.now, attempt.upstream, failure))
        self._act(self.router.on_failure(self.agenda.now, attempt.id, failure, limits))

    # What the router says ------------------------------------------------------------------------------------------

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(attempt):
                    self._start(attempt)
                case Stop(attempt):
                    self.servers[attempt.upstream].cancel(attempt)
                case Deliver(attempt):
                    record = self._open[attempt.call.id]
                    record.first = self.agenda.now if record.first is None else record.first
                case Done(call, _, _, cost):
                    self._close(call, "done", cost)
                case Refused(call, reason, _, _, cost):
                    self._close(call, reason.value, cost)
        self._sleep()

    def _start(self, attempt: Attempt) -> None:
        now = self.agenda.now
        record = self._open[attempt.call.id]
        record.attempts += 1
        upstream = self.router.selection.named(attempt.upstream)
        self.log.over += upstream.in_flight > upstream.limit.current
        self.log.attempts.append((now, attempt.upstream, "first" if attempt.extra is None else attempt.extra.value))
        self.servers[attempt.upstream].accept(attempt, record.arrival.output)

    def _close(self, call: Call, outcome: str, cost: Decimal | None) -> None:
        now = self.agenda.now
        record = self._open.pop(call.id)
        record.ended, record.outcome, record.cost = now, outcome, cost
        record.good = outcome == "done" and now <= call.deadline
        if not record.good and record.again < self.simulation.load.client_retries:
            self.agenda.at(now, lambda: self._submit(record.arrival, record.again + 1))

    def _sleep(self) -> None:
        """See to it that the router is polled when it wants to be."""
        wake = self.router.wake
        if wake is not None and (self._wake is None or wake < self._wake or self._wake <= self.agenda.now):
            self._wake = wake
            self.agenda.at(wake, self._poll)

    def _poll(self) -> None:
        if self._wake is not None and self._wake <= self.agenda.now:
            self._wake = None
        self._act(self.router.poll(self.agenda.now))
