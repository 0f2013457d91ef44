"""A declared model as the gateway offers it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.models.call import Usage
from headrace.models.declared import DeclaredModel
from headrace.models.estimate import Lengths
from headrace.models.reply import Caller
from headrace.models.routed import RoutedModel
from headrace.models.upstream import UpstreamState


@dataclass(slots=True)
class Offer:
    """One model that clients may name.

    Attributes
    ----------
    name
        What clients write as `model`.
    caller
        What carries their requests.
    deadline
        Seconds that a request has when it does not ask for less.
    priced
        Whether the price of any of its upstreams is known.
    unpriced
        The models of those whose price is not: keys with a budget do not get them.
    """

    name: str
    caller: Caller
    deadline: float = 60.0
    priced: bool = False
    unpriced: tuple[str, ...] = ()
    _lengths: Lengths = field(default_factory=Lengths, init=False)
    _ratio: float = field(default=4.0, init=False)

    @classmethod
    def of(cls, model: DeclaredModel, caller: Caller) -> Offer:
        """The offer of a declared model."""
        unpriced = model.unpriced
        priced = len(unpriced) < len(model.named())
        return cls(model.name, caller, model.deadline, priced, tuple(dict.fromkeys(unpriced.values())))

    def states(self) -> Iterable[UpstreamState]:
        """How its upstreams are now, where that is known."""
        return self.caller.states() if isinstance(self.caller, RoutedModel) else ()

    def tokens(self, now: float, size: int, output: int | None) -> int:
        """What a request with a body of `size` bytes is to be reckoned with.

        `output` is the most that its answer may have; where it does not say, what answers usually have.
        """
        prompt = math.ceil(size / self._ratio)
        return prompt + (self._lengths.output(now, max_tokens=None) if output is None else output)

    def observe(self, now: float, size: int, usage: Usage) -> None:
        """What an answer to a body of `size` bytes took."""
        if usage.prompt_tokens > 0:
            self._ratio += 0.1 * (min(size / usage.prompt_tokens, 100.0) - self._ratio)
        if usage.output_tokens > 0:
            self._lengths.add(now, usage.output_tokens)
