"""Signals for child processes that asyncio watches."""

from __future__ import annotations

import os
from contextlib import suppress
from signal import Signals


def tell(pid: int, number: Signals) -> None:
    """Send a signal to a child, if it is still there.

    `asyncio.subprocess.Process.send_signal` first asks whether the child has ended, and so takes its status: where it
    just has, asyncio itself finds none, says so in the log, and tells 255 for it.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, number)
