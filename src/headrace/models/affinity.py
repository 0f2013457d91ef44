"""Calls of one session go to one upstream, whose prompt cache is warm for them, unless that one has too much to do.

Every session ranks the upstreams by a hash of both names (rendezvous hashing): when one comes or goes, only its own
sessions move. The first of the ranks that is not loaded beyond `bound` times the average takes the call, so a
popular session cannot overload its upstream.

References
----------
V. Mirrokni, M. Thorup, M. Zadimoghaddam: Consistent hashing with bounded loads. SODA 2018 (the bound).
D. G. Thaler, C. V. Ravishankar: Using name-based mappings to increase hit rates. IEEE/ACM ToN 6(1), 1998 (the ranks).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from headrace.models.balancer import Load, best_score


def rank(session: str, name: str) -> int:
    """Where an upstream stands for a session; the highest is first. The same in every process.

    >>> rank("s1", "a") == rank("s1", "a"), rank("s1", "a") == rank("s2", "a")
    (True, False)
    """
    return int.from_bytes(hashlib.blake2b(f"{session}\0{name}".encode(), digest_size=8).digest(), "big")


def preferred(
    now: float,
    session: str,
    loads: Sequence[Load],
    *,
    work: float,
    bound: float = 1.25,
    patience: float = 3.0,
    floor: float = 0.05,
) -> Load | None:
    """The upstream that a session's call should go to; None when the balancer had better choose.

    Parameters
    ----------
    loads
        Those that may be used.
    work
        Work of the call.
    bound
        An upstream may hold at most so many times the average work, this call included.
    patience
        A warm cache saves time only where the upstream is well: not where its score is more than so many
        times the best.
    floor
        A score that is less than so much (seconds) above the best is well all the same: between upstreams that answer
        in milliseconds, factors are noise.

    Examples
    --------
    >>> a, b = Load("a"), Load("b")
    >>> first = preferred(0.0, "s1", [a, b], work=1.0)
    >>> first.work = 10.0
    >>> preferred(0.0, "s1", [a, b], work=1.0).name == first.name
    False
    """
    lowest = best_score(loads)
    best = min((load.expected(now, lowest) for load in loads if load.score.measured), default=0.0)
    limit = max(patience * best, best + floor)
    most = bound * max((sum(load.work for load in loads) + work) / len(loads), work)
    for load in sorted(loads, key=lambda one: rank(session, one.name), reverse=True):
        well = not load.score.measured or load.expected(now, lowest) <= limit
        if well and load.work + work <= most:
            return load
    return None
