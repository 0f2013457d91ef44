"""When the writer commits what waits, and when it waits for more to come.

Every transaction has a price of its own: about 0.1 ms, and 3 ms where each batch touches a thousand tiles of a rollup.
Under load it pays to wait until there is much to commit; when traffic is light, or whoever sends waits for our answer
before sending more, waiting only makes everyone slower. The two are told apart by what arrives while a transaction is
under way: whoever waits for an answer sends nothing then.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Growth:
    """How many rows a group may have while a bulk load of one table has the writer to itself.

    Keys in random order touch most pages of a large table in every group, so that a group of twice the rows costs far
    less than twice (a million rows of six columns: 8.4 us a row in groups of 50,000, 6.5 us in groups of 100,000).
    Whatever is written beside it waits until the group is committed, so groups grow only while nothing else was written
    for `calm` seconds, and only as far as a commit takes `hold` seconds.

    Examples
    --------
    >>> growth = Growth(group=50_000, most=100_000)
    >>> growth.rows
    50000
    >>> growth.committed(50_000, 0.4, now=1.0, company=False)
    >>> growth.rows
    93750
    >>> growth.committed(90_000, 0.5, now=2.0, company=True)
    >>> growth.rows
    50000
    """

    group: int
    most: int
    hold: float = 0.75
    calm: float = 10.0
    rows: int = 0
    _company: float = float("-inf")

    def __post_init__(self) -> None:
        self.rows = self.group

    def committed(self, rows: int, seconds: float, *, now: float, company: bool) -> None:
        """A group was committed; `company` says whether anything in it, or behind it, was not of the same bulk load."""
        if company:
            self._company = now
        if now - self._company < self.calm:
            self.rows = self.group
        elif rows >= self.group:  # small groups say nothing about the price of a row in large ones
            self.rows = max(self.group, min(self.most, int(rows * self.hold / max(seconds, 1e-9))))


class Pace:
    """Decides how long to wait; the caller keeps the time (seconds) and does the waiting.

    Parameters
    ----------
    small, linger
        A group of fewer than `small` rows waits `linger` seconds.
    group, patience
        Under load a group waits until it has `group` rows or nothing more comes, at most `patience` seconds.

    Examples
    --------
    >>> pace = Pace(small=500, linger=0.002, group=50_000, patience=0.02)
    >>> pace.arrive(0.0)
    >>> pace.look(0.0, refilled=False)
    >>> pace.pause(0.0, 1_000)
    0.0
    >>> pace.took(1_000)
    >>> pace.arrive(0.003)
    >>> pace.look(0.005, refilled=True)
    >>> pace.pause(0.005, 1_000)
    0.006
    """

    def __init__(self, *, small: int, linger: float, group: int, patience: float) -> None:
        self.small = small
        self.linger = linger
        self.group = group
        self.patience = patience
        self._arrived: float | None = None
        self._gap = 0.0
        self._looked = 0.0
        self._last = 0
        self._loaded = False

    @property
    def enough(self) -> int:
        """With so many rows there is no more waiting."""
        return self.group if self._loaded else self.small

    def arrive(self, now: float) -> None:
        """Something came."""
        self._gap = 0.0 if self._arrived is None else now - self._arrived
        self._arrived = now

    def took(self, rows: int) -> None:
        """So many rows go into a transaction now."""
        self._last = rows

    def look(self, now: float, *, refilled: bool) -> None:
        """The writer has time again; `refilled` when something came while it had none."""
        self._looked = now
        self._loaded = refilled and self._last >= self.small

    def pause(self, now: float, rows: int) -> float:
        """How long to wait for more, with `rows` waiting; if nothing comes meanwhile, nobody is about to send more."""
        if rows >= self.enough:
            return 0.0
        if not self._loaded:
            return max(self._looked + self.linger - now, 0.0)
        # Twice the time that passed between the last two: judging a large batch may take longer than `linger`.
        return max(min(max(self.linger, 2 * self._gap), self._looked + self.patience - now), 0.0)
