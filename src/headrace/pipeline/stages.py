"""Where the time of one request goes, by stage, without anybody starting a clock.

What runs before the handler first uses its context is *preprocess*; while it reads, *context*; while it waits for a
model, *model*; what runs between a read and the first call is *preprocess* still, and what follows a call, or the last
use of the context, is *postprocess*. A stage that the handler names itself overrides all of them.
"""

from __future__ import annotations

PREPROCESS, CONTEXT, MODEL, POSTPROCESS = "preprocess", "context", "model", "postprocess"


class Stages:
    """The stages of one run of a handler.

    Parameters
    ----------
    now
        Seconds of the monotonic clock.

    Examples
    --------
    >>> stages = Stages(0.0)
    >>> stages.enter("context", 1.0)
    >>> stages.leave("context", 1.5)
    >>> stages.enter("model", 2.0)
    >>> stages.leave("model", 5.0)
    >>> stages.end(5.5)
    {'preprocess': 1.5, 'context': 0.5, 'model': 3.0, 'postprocess': 0.5}
    """

    __slots__ = ("_closed", "_depth", "_gap", "_named", "_since", "_used", "seconds")

    def __init__(self, now: float) -> None:
        self.seconds: dict[str, float] = {}
        self._since = now
        self._depth = {CONTEXT: 0, MODEL: 0}
        self._named: list[str] = []
        self._gap = PREPROCESS
        self._used = False
        self._closed = False

    @property
    def current(self) -> str:
        """The stage that runs now."""
        if self._named:
            return self._named[-1]
        if self._depth[MODEL]:
            return MODEL
        if self._depth[CONTEXT]:
            return CONTEXT
        return self._gap

    @property
    def last(self) -> str:
        """The stage that runs now, where nothing of the run comes after it: what ends it is told with its name.

        >>> stages = Stages(0.0)
        >>> stages.enter("context", 1.0)
        >>> stages.leave("context", 1.5)
        >>> stages.current, stages.last
        ('preprocess', 'postprocess')
        """
        current = self.current
        return POSTPROCESS if self._used and current == PREPROCESS == self._gap else current

    def enter(self, kind: str, now: float) -> None:
        """A read or a call begins; several may run at a time."""
        self._add(now)
        self._depth[kind] += 1
        self._used = True

    def leave(self, kind: str, now: float) -> None:
        """A read or a call has ended."""
        self._add(now)
        self._depth[kind] -= 1
        if kind == MODEL:
            self._gap = POSTPROCESS

    def begin(self, name: str, now: float) -> None:
        """The handler begins a stage of its own."""
        self._add(now)
        self._named.append(name)

    def finish(self, now: float) -> None:
        """The innermost stage of the handler's own has ended."""
        self._add(now)
        self._named.pop()

    def end(self, now: float) -> dict[str, float]:
        """The handler has returned; seconds per stage."""
        if self._closed:
            return self.seconds
        if self._used and self._gap == PREPROCESS:
            self._gap = POSTPROCESS
        self._add(now)
        return self.seconds

    def close(self, now: float) -> None:
        """The run is over and another one begins: what comes later is that one's."""
        self.end(now)
        self._closed = True

    def _add(self, now: float) -> None:
        name = self.current
        self.seconds[name] = self.seconds.get(name, 0.0) + (now - self._since)
        self._since = now
