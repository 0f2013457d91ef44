"""The money of attempts: set aside when one starts, settled when it ends.

An attempt that was cancelled or timed out is charged its prompt, and what was written of its answer by then: providers
bill both, and a client that leaves before the last word must not have the answer for nothing. One that was refused
costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from headrace.models.call import Call, Usage
from headrace.models.cost import Price, Prices
from headrace.models.failure import MAYBE_READ, Failure
from headrace.models.spending import Hold, Spending

_NOTHING = Decimal(0)
_NOBODYS = Hold("", _NOTHING)
"""What is set aside for a call without a key."""


class _Found(dict[str, Price | None]):
    """The prices of models, each looked up once: these are the models of upstreams, and so they are few."""

    def __init__(self, prices: Prices) -> None:
        super().__init__()
        self._prices = prices

    def __missing__(self, model: str) -> Price | None:
        price = self[model] = self._prices.find(model)
        return price


@dataclass(slots=True)
class Billing:
    """Prices and limits of one router.

    Parameters
    ----------
    prices
        What models cost; without one, costs are unknown and nothing is reserved.
    spending
        Limits per key.
    epoch
        What to add to a router's `now` to get seconds since 1970, so that periods of spending begin at midnight.

    Examples
    --------
    >>> billing = Billing(Prices.parse('models: {m: {input: "1", output: "2"}}'), Spending({"k": Decimal("0.01")}))
    >>> call = Call("1", prompt_tokens=1000, output_tokens=4000, deadline=9.0, key="k")
    >>> hold = billing.reserve(0.0, call, "m")
    >>> billing.reserve(0.0, call, "m") is None
    True
    >>> billing.settle(hold, "m", Usage(1000, 500))
    Decimal('0.0020000000')
    """

    prices: Prices = field(default_factory=Prices)
    spending: Spending = field(default_factory=lambda: Spending({}))
    epoch: float = 0.0
    _found: _Found = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._found = _Found(self.prices)

    def reserve(self, now: float, call: Call, model: str) -> Hold | None:
        """Money for an attempt; None when the key has not enough left. A call without a key spends nobody's."""
        if not call.key:
            return _NOBODYS
        price = self._found[model]
        most = _NOTHING if price is None else price.most(call)
        return self.spending.reserve(now + self.epoch, call.key, most)

    def held_up(self, now: float, call: Call, model: str) -> bool:
        """Whether the money that `reserve` did not find is only set aside for other attempts."""
        price = self._found[model]
        return price is not None and self.spending.held_up(now + self.epoch, call.key, price.most(call))

    def settle(self, hold: Hold, model: str, usage: Usage | None) -> Decimal | None:
        """The attempt ended and used this; what it cost, None when its model has no price."""
        price = self._found[model]
        cost = None if price is None else _NOTHING if usage is None else price.of(usage)
        if hold.key:
            self.spending.settle(hold, cost or _NOTHING)
        return cost

    def wait(self, now: float) -> float:
        """Seconds until the next period of spending begins."""
        return self.spending.wait(now + self.epoch)


def read_anyway(call: Call, failure: Failure, written: int = 0) -> Usage | None:
    """What a failed attempt is charged for: its prompt where that may have been read, and what it had written.

    >>> read_anyway(Call("1", 10, 10, 0.0), Failure.TIMEOUT, 4), read_anyway(Call("1", 10, 10, 0.0), Failure.OVERLOADED)
    (Usage(prompt_tokens=10, output_tokens=4), None)
    """
    return Usage(call.prompt_tokens, written) if failure in MAYBE_READ else None
