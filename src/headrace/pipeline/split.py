"""Which version of an endpoint answers whom: by weight, sticky by user, changed by rows and not by a deploy.

Each version runs a race for each user: it draws a time from an exponential distribution whose rate is its weight, and
the first one wins. The draw is a hash of the endpoint, the user and the version, so nothing is stored and every process
decides alike. What follows from it:

- a version wins the share of users that its weight is of all weights;
- a draw depends on no other version: when weights change, a user leaves only a version whose weight fell or goes only
  to one whose weight rose, and between two versions exactly the difference moves;
- order and scale of the weights do not matter: 90 and 10 are 0.9 and 0.1.

With three versions and more, no rule without a memory moves as few users as a single change would need: of the halves
(a, b), (b, c) and (a, c) each pair would have to agree on half of the users, and that contradicts itself. The race is
one that no other rule beats everywhere (Moulton and Jiang, "Maximally consistent sampling and the Jaccard index of
probability distributions", 2018): when shares differ by d in total variation, at most 2d / (1 + d) of the users move.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from headrace.core.errors import DeclarationError
from headrace.core.events import Problem
from headrace.core.names import ROUTES, suggest

TABLE = ROUTES
"""The table whose rows say it: endpoint, version, weight, shadow."""

SMALLEST, LARGEST = 1e-9, 1e9
"""Between what a weight lies that is not 0: far beyond these, draws would no longer be told apart."""


@dataclass(frozen=True, slots=True)
class Route:
    """How much of an endpoint's traffic a version gets.

    Attributes
    ----------
    weight
        Its part of the users, against the sum of all weights. Of a shadow: the share of users (0 to 1) whose requests
        it gets as well.
    shadow
        Whether its answers are thrown away.
    """

    version: str
    weight: float
    shadow: bool = False


class Split:
    """The versions of one endpoint and who gets which. It does not change: new rows make a new one.

    Parameters
    ----------
    endpoint
        The endpoint's path.
    defaults
        What holds of a version without a row: at least one route that is not a shadow has a weight.
    rows
        Rows of `headrace_routes`, those of other endpoints among them. Each says what holds of its version and of no
        other. One that cannot be followed is left out and told in `problem`; when nobody would answer, the declared
        weights hold. Serving never stops.
    salt
        Another salt deals all users anew, for an experiment that is to be independent of the last one.

    Raises
    ------
    DeclarationError
        The defaults themselves cannot be followed.

    Examples
    --------
    >>> split = Split("/recommend", [Route("v1", 1), Route("v2", 0)], rows=[
    ...     {"endpoint": "/recommend", "version": "v1", "weight": 90, "shadow": False},
    ...     {"endpoint": "/recommend", "version": "v2", "weight": 10, "shadow": False}])
    >>> split.choose("ann") == split.choose("ann")
    True
    >>> sum(split.choose(str(user)) == "v2" for user in range(10_000))
    1018
    """

    def __init__(
        self, endpoint: str, defaults: Sequence[Route], rows: Iterable[Mapping[str, Any]] = (), *, salt: str = ""
    ) -> None:
        self.endpoint = endpoint
        self._race = _key("race", endpoint, salt)
        self._mirror = _key("mirror", endpoint, salt)
        names = tuple(dict.fromkeys(route.version for route in defaults))
        declared = _Routes(endpoint, names)
        for route in defaults:
            declared.add(route.version, route.weight, route.shadow)
        if declared.faults or not declared.any_weight:
            raise DeclarationError(
                f"the versions of {endpoint} cannot be split: {'; '.join(declared.faults) or 'no weight is above 0'}",
                hint="give each version a weight of 0 or more, and one of them more than 0",
            )
        given = _Routes(endpoint, names)
        for row in rows:
            if row.get("endpoint") == endpoint:
                given.add(row.get("version"), row.get("weight"), row.get("shadow", False))
        weights = given.over(declared.weights) | given.weights
        answered = any(weight > 0 for weight in weights.values())
        if not answered:
            given.faults.append("no version has a weight above 0: the declared weights hold")
        self.weights = weights if answered else declared.weights
        """Weight by version, of those that may be chosen."""
        self.mirrored = given.over(declared.shadows) | given.shadows
        """Share of users by version, of the shadows."""
        self.problem = given.problem()
        """What is wrong with the rows, for people; None when nothing is."""
        self._racing = tuple((name, weight) for name, weight in sorted(self.weights.items()) if weight > 0)

    def choose(self, user: str) -> str:
        """The version that answers `user`, always the same while the weights are.

        For somebody unknown give what is known (a session), or the id of the request: then it is a fair draw.
        """
        if len(self._racing) == 1:
            return self._racing[0][0]
        return min((-math.log(_draw(self._race, name, user)) / weight, name) for name, weight in self._racing)[1]

    def shadows(self, user: str) -> tuple[str, ...]:
        """The versions that get the user's requests as well, without a say in the answer; never the chosen one."""
        if not self.mirrored:
            return ()
        chosen = self.choose(user)
        return tuple(
            name
            for name, share in self.mirrored.items()
            if name != chosen and share > 0 and _draw(self._mirror, name, user) <= share
        )


class _Routes:
    """Routes as they are read: those that can be followed, and what is wrong with the others."""

    def __init__(self, endpoint: str, names: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._names = names
        self.weights: dict[str, float] = {}
        self.shadows: dict[str, float] = {}
        self.faults: list[str] = []

    @property
    def any_weight(self) -> bool:
        return any(weight > 0 for weight in self.weights.values())

    def over(self, declared: Mapping[str, float]) -> dict[str, float]:
        """What is left of what is declared: that of the versions of which these routes say nothing."""
        return {name: number for name, number in declared.items() if name not in {**self.weights, **self.shadows}}

    def add(self, version: Any, weight: Any, shadow: Any) -> None:
        if version not in self._names:
            self.faults.append(f"there is no version {version!r:.80} ({suggest(str(version), list(self._names))})")
            return
        number = _number(weight)
        kept = self.shadows if shadow else self.weights
        if version in kept:
            self.faults.append(f"{version!r} is named twice: the first row holds")
        elif number is None:
            self.faults.append(f"{version!r} has the weight {weight!r:.80}, which is not 0 and not {_RANGE}")
        elif shadow and number > 1:
            self.faults.append(f"the shadow {version!r} has the weight {weight!r}, and a share of users is 0 to 1")
        else:
            kept[version] = number

    def problem(self) -> Problem | None:
        if not self.faults:
            return None
        return Problem(
            subject=f"endpoint:{self._endpoint}",
            kind="bad_route",
            message=f"rows of {TABLE} for {self._endpoint} are left out: {'; '.join(self.faults)}",
            hint=f"`headrace route list` shows the rows; the versions are {', '.join(self._names)}",
        )


_RANGE = f"between {SMALLEST:g} and {LARGEST:g}"


def _number(weight: Any) -> float | None:
    """The weight as a number; None when it is not one that can be followed."""
    if isinstance(weight, bool) or not isinstance(weight, int | float | Decimal):
        return None
    try:
        number = float(weight)
    except OverflowError:
        return None
    return number if number == 0 or SMALLEST <= number <= LARGEST else None


def _key(*words: str) -> bytes:
    return hashlib.sha256("\0".join(words).encode(errors="surrogatepass")).digest()


def _draw(key: bytes, version: str, user: str) -> float:
    """A number above 0 and at most 1 that depends on nothing but what is given."""
    text = f"{len(version)}:{version}{user}".encode(errors="surrogatepass")
    drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "big")
    return (drawn + 1) / 2**64
