"""Who waits, who goes next, and who is turned away, when there is more to do than can be done.

- Priorities: critical before normal before sheddable. A share of the concurrency is kept free for critical calls as
  long as any came lately (the router asks `Admission.reserved`).
- Among tenants of one priority: deficit round robin by tokens. Each round gives every tenant the same number of tokens;
  a tenant with ten times the calls, or with prompts ten times as long, gets no more of them.
- Within a tenant: the earliest deadline first. A call whose deadline does not leave enough for it is turned away when
  its turn comes, or when its deadline passes: what nobody waits for any more is not worth an upstream's time. So is one
  that all upstreams are closed to for longer than its deadline leaves.
- A queue that stands is shortened (`Codel`, one per tenant), critical calls excepted, and the only one in it. While it
  stands, sheddable calls are turned away at the door. What waits for a limit to be found (`concurrency.py`) is no queue
  that stands.
- It is bounded: beyond `most` calls somebody is turned away, with a word about when to come again. That is whoever
  comes, unless a call of lower priority waits, or a tenant has at least two more in the queue than its own has: then it
  is the one of those that came last.

With `enabled=False` it is one plain queue, first come first served, as long as it gets.

References
----------
M. Shreedhar, G. Varghese: Efficient fair queuing using deficit round robin. SIGCOMM 1995.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from pydantic import ConfigDict

from headrace.models.bounds import STRICT, Count, Positive, Seconds, Share
from headrace.models.call import Call, Priority
from headrace.models.codel import Codel
from headrace.models.lane import Lane

_ORDER = tuple(Priority)
_NOBODY: Sequence[tuple[Call, Turned]] = ()


class Turned(enum.StrEnum):
    """Why a call was turned away from the queue."""

    FULL = "queue_full"
    SHED = "shed"
    DEADLINE = "deadline"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """How calls wait.

    Parameters
    ----------
    enabled
        Off: first come first served, nobody is turned away.
    most
        Longest queue (calls).
    quantum
        Tokens that a tenant may send per round.
    target, interval
        Of `Codel` (seconds).
    reserve
        Share of the concurrency that is kept for critical calls.
    reserve_for
        Seconds since the last critical call after which nothing is kept.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    enabled: bool = True
    most: Count = 2000
    quantum: Positive = 2000.0
    target: Seconds = 0.5
    interval: Seconds = 2.0
    reserve: Share = 0.2
    reserve_for: Seconds = 60.0


@dataclass(slots=True)
class Next:
    """What `Admission.take` found: a call to start, and calls that were turned away on the way to it."""

    call: Call | None = None
    turned: list[tuple[Call, Turned]] = field(default_factory=list[tuple[Call, Turned]])


class _Place(NamedTuple):
    lane: Lane
    ticket: int
    again: bool
    """Whether it is a retry, which nobody may push out."""


class Admission:
    """The queue before the upstreams of one model.

    Examples
    --------
    >>> queue = Admission(AdmissionRules())
    >>> for name, deadline in (("late", 30.0), ("soon", 10.0)):
    ...     turned_away = queue.offer(0.0, Call(name, 100, 100, deadline))
    >>> queue.take(0.0, lambda call: 1.0, lambda call: True).call.id
    'soon'
    """

    def __init__(self, rules: AdmissionRules) -> None:
        self.rules = rules
        self._lanes: list[dict[str, Lane]] = [{} for _ in Priority]
        self._rounds: list[deque[Lane]] = [deque() for _ in Priority]
        self._plain: deque[Call] = deque()
        self.places: dict[str, _Place | None] = {}
        """The calls that wait, by id, with where they do; None in the plain queue."""
        self._critical = -math.inf

    def __len__(self) -> int:
        return len(self.places)

    def reserved(self, now: float, call: Call | None = None) -> float:
        """The share of the concurrency that a call must leave free for critical ones now; without one: any other."""
        rules = self.rules
        if call is not None and call.priority is Priority.CRITICAL:
            return 0.0
        if now - self._critical > rules.reserve_for or not rules.enabled:
            return 0.0
        return rules.reserve

    def offer(self, now: float, call: Call, *, again: bool = False) -> Sequence[tuple[Call, Turned]]:
        """Let a call wait; who is turned away for it, and why: it, or another. A retry (`again`) always finds room."""
        if call.priority is Priority.CRITICAL:
            self._critical = now
        if not self.rules.enabled:
            self._plain.append(call)
            self.places[call.id] = None
            return _NOBODY
        turned: Sequence[tuple[Call, Turned]] = _NOBODY
        lane = self._lanes[call.priority].get(call.tenant)
        if not again and lane and call.priority is Priority.SHEDDABLE and lane.codel.overloaded:
            return [(call, Turned.SHED)]
        if not again and len(self) >= self.rules.most:
            other = self._last(call)
            turned = [(other, Turned.FULL)]
            if other is call:
                return turned
            self.withdraw(other)
        lane = lane or self._lane(call)
        self._enter(lane, call.priority)
        self.places[call.id] = _Place(lane, lane.push(now, call), again)
        return turned

    def straight(self, now: float, call: Call) -> None:
        """A call starts at once because nobody waits: account for it as if it had been offered and taken.

        Only while the queue is empty, for a call whose deadline leaves enough and that fits.
        """
        if not self.rules.enabled:
            return
        priority = call.priority
        if priority is Priority.CRITICAL:
            self._critical = now
        for higher in _ORDER[:priority]:
            if self._rounds[higher]:
                self._clear(now, higher, None)
        lanes = self._rounds[priority]
        if lanes and lanes[0].tenant == call.tenant:
            lane = lanes[0]
        else:
            lane = self._lane(call)
            self._enter(lane, priority)
            self._clear(now, priority, lane)
        lane.codel.watch(now, 0.0)
        credit, tokens = lane.credit, call.prompt_tokens + call.output_tokens
        if credit < tokens:
            if len(lanes) > 1:
                lanes.rotate(-1)
                self._clear(now, priority, lane)
            credit += self._rounds_to(credit, tokens) * self.rules.quantum
        lane.credit = credit - tokens

    def withdraw(self, call: Call) -> bool:
        """The call waits no more (its client left, its deadline passed); whether it was there."""
        if call.id not in self.places:
            return False
        place = self.places.pop(call.id)
        if place is None:
            self._plain.remove(call)
        else:
            place.lane.remove(place.ticket)
        return True

    def take(
        self,
        now: float,
        usual: Callable[[Call], float],
        fits: Callable[[Call], bool],
        closed: Callable[[Call], float] = lambda _: 0.0,
        untried: bool = False,
    ) -> Next:
        """The next call that can start now.

        Parameters
        ----------
        usual
            Seconds that a call usually takes: less than that before its deadline it is turned away.
        fits
            Whether an upstream can take the call now. A call that does not fit keeps its place, and holds up its own
            tenant only.
        closed
            Seconds for which, for sure, no upstream will take a call that does not fit.
        untried
            Whether calls wait only because of a limit that no upstream has shown yet. A queue does not stand then.
        """
        found = Next()
        if not self.rules.enabled:
            if self._plain and fits(self._plain[0]):
                found.call = self._plain.popleft()
                del self.places[found.call.id]
            return found
        for priority in _ORDER:
            found.call = self._round(now, priority, usual, fits, closed, untried, found.turned)
            if found.call is not None:
                break
        return found

    def peek(self) -> Call | None:
        """A call that is next in its lane, of the highest priority that has any; None when nothing waits."""
        if self._plain:
            return self._plain[0]
        heads = (lane.head() for priority in Priority for lane in self._rounds[priority])
        return next((head for head in heads if head is not None), None)

    def oldest(self, now: float) -> float:
        """How long (seconds) the call that waits longest has waited."""
        return max((lane.oldest(now) for lanes in self._rounds for lane in lanes), default=0.0)

    def _round(
        self,
        now: float,
        priority: Priority,
        usual: Callable[[Call], float],
        fits: Callable[[Call], bool],
        closed: Callable[[Call], float],
        untried: bool,
        turned: list[tuple[Call, Turned]],
    ) -> Call | None:
        """One call of this priority, by deficit round robin; None when none fits."""
        lanes = self._rounds[priority]
        blocked = 0
        short: list[tuple[Lane, int]] = []
        """Lanes that this pass has found without the credit for their next call, with the tokens of that."""
        while lanes and blocked < len(lanes):
            lane = lanes[0]
            lane.codel.watch(now, 0.0 if untried else lane.oldest(now))
            call = self._head(now, lane, usual, closed, turned)
            if call is None:
                self._drop(priority, lanes)
            elif not fits(call):
                if call.deadline - now < closed(call) + usual(call):
                    lane.pop()
                    del self.places[call.id]
                    turned.append((call, Turned.CLOSED))
                else:
                    lanes.rotate(-1)
                    blocked += 1
            elif lane.credit < call.tokens:
                if short and short[0][0] is lane:
                    self._pass_over(short)
                short.append((lane, call.tokens))
                lane.credit += self.rules.quantum
                lanes.rotate(-1)
                blocked = 0
            else:
                lane.credit -= call.tokens
                lane.pop()
                lane.codel.served(now)
                del self.places[call.id]
                return call
        return None

    def _pass_over(self, short: list[tuple[Lane, int]]) -> None:
        """A whole pass has let nobody go: make the passes that will not, either, in one step.

        What a call takes is what its client says: a hundred million tokens would be fifty thousand passes.
        """
        empty = min(self._rounds_to(lane.credit, tokens) for lane, tokens in short) - 1
        for lane, _ in short:
            lane.credit += max(empty, 0) * self.rules.quantum
        short.clear()

    def _rounds_to(self, credit: float, tokens: int) -> int:
        """After how many rounds a credit is enough."""
        return math.ceil((tokens - credit) / self.rules.quantum)

    def _last(self, call: Call) -> Call:
        """Which of those in a full queue and of this one has the least right to wait."""
        for priority in reversed(_ORDER[call.priority :]):
            lanes, most = self._rounds[priority], 0
            if priority is call.priority:
                own = self._lanes[priority].get(call.tenant)
                most = 1 + (len(own) if own is not None else 0)
                if len(lanes) >= len(self):
                    break  # each of many tenants has one: nobody needs to look at all of them
            longest = max(lanes, key=len, default=None)
            if longest is None or len(longest) <= most:
                continue
            for other in longest.newest():
                place = self.places[other.id]
                if place is not None and not place.again:
                    return other
        return call

    def _head(
        self,
        now: float,
        lane: Lane,
        usual: Callable[[Call], float],
        closed: Callable[[Call], float],
        turned: list[tuple[Call, Turned]],
    ) -> Call | None:
        """The first call of a lane that is worth starting; the others are turned away."""
        while (call := lane.head()) is not None:
            if call.deadline <= now or call.deadline - now < usual(call):
                reason = Turned.DEADLINE
            elif call.priority is not Priority.CRITICAL and len(lane) > 1 and lane.codel.sheds(lane.waited(now)):
                reason = Turned.CLOSED if closed(call) > 0 else Turned.SHED
            else:
                return call
            lane.pop()
            del self.places[call.id]
            turned.append((call, reason))
        return None

    def _lane(self, call: Call) -> Lane:
        lanes = self._lanes[call.priority]
        lane = lanes.get(call.tenant)
        if lane is None:
            codel = Codel(self.rules.target, self.rules.interval)
            lane = lanes[call.tenant] = Lane(call.tenant, codel)
        return lane

    def _enter(self, lane: Lane, priority: Priority) -> None:
        """A lane takes part in the round from now on."""
        if not lane.in_round:
            lane.in_round, lane.credit = True, 0.0
            self._rounds[priority].append(lane)

    def _clear(self, now: float, priority: Priority, until: Lane | None) -> None:
        """Drop lanes, which are empty, from the front of a round up to one of them; None: all."""
        lanes = self._rounds[priority]
        while lanes and lanes[0] is not until:
            lanes[0].codel.watch(now, 0.0)
            self._drop(priority, lanes)

    def _drop(self, priority: Priority, lanes: deque[Lane]) -> None:
        """The first lane of a round is empty. When it is well it needs no memory: tenants come and go without end."""
        lane = lanes.popleft()
        lane.in_round = False
        if not lane.codel.overloaded:
            self._lanes[priority].pop(lane.tenant, None)
