"""Keeping Python's garbage collector out of bulk work.

A batch makes tens of thousands of small tuples that live until its commit. Each 700 of them start a collection, and
some of those walk over everything that the process holds: up to half of the time of an ingest. None of the objects are
garbage, and none are in cycles, so the collector is paused while they are made, for the milliseconds of one batch.
"""

from __future__ import annotations

import gc
import threading
from types import TracebackType


class CollectorPause:
    """A `with` block without garbage collection.

    The switch is the process's own, so blocks of several threads may overlap: whoever found it on turns it on again,
    and then a collection follows soon. It is never left off, and one that the user turned off stays off.

    Examples
    --------
    >>> with CollectorPause():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """

    __slots__ = ("_was_on",)
    _switching = threading.Lock()
    """Asking and turning are one step: a block that ends between them turns on what is then turned off for good."""

    def __enter__(self) -> None:
        with self._switching:
            self._was_on = gc.isenabled()
            gc.disable()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._was_on:
            with self._switching:
                gc.enable()
