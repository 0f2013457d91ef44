"""The program of a worker process: loads the model once, then answers one batch after the other.

Started as `python -m headrace.models.local.child DESCRIPTOR`, with one end of a socket pair. It must never outlive the
process that started it, also not while the model runs or hangs:

1. on Linux the kernel kills it when its parent ends;
2. everywhere a thread watches the socket, whose end says the same, and ends the whole process group: with it go
   processes that the model has started.

SIGUSR1 writes the stack of every thread to the standard error, as does a crash: so that a model that hangs or dies
shows its line.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from headrace.core.clock import SystemClock
from headrace.core.errors import DeclarationError
from headrace.models.local.frames import LARGEST_VALUE, Answer, Charge, Done, Loaded, NotLoaded, Work, pack, receive
from headrace.models.local.isolation import Fate, Outcome, answer_json, described, one_by_one
from headrace.models.local.loading import Loader, mark_worker, user_line

_NO_MODULE = 'write "module:function" of a module that is installed, or stands beside the app file'
CANNOT_LOAD = 78
"""Exit status of a worker whose model could not be loaded (EX_CONFIG of sysexits.h)."""
GRACE = 1.0
"""Seconds that a worker has to end by itself."""
_PR_SET_PDEATHSIG = 1

Model = Callable[[list[Any]], Any]


def main() -> int:
    """Serve until the pool closes the socket; the exit status."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    _die_with_parent(channel)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the pool, who says when it is time
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    with suppress(ConnectionError):  # the pool is gone: there is nobody to tell
        return _serve(channel)
    return 0


def _serve(channel: socket.socket) -> int:
    charge = receive(channel, Charge)
    if charge is None:
        return 0
    loaded = _load(charge)
    if isinstance(loaded, NotLoaded):
        _send(channel, loaded)
        return CANNOT_LOAD
    _send(channel, Loaded())
    while (work := receive(channel, Work)) is not None:
        _send(channel, _answer(loaded, work))
    return 0


def _load(charge: Charge) -> Model | NotLoaded:
    sys.path[:] = charge.path
    mark_worker()
    try:
        _limit_memory(charge.memory)
        model = Loader(charge.module, charge.file, charge.function).find()()
        if not callable(model):
            name = type(model).__name__
            raise DeclarationError(
                f"{charge.function} returned a {name}, which cannot be called",
                hint=f"{charge.function} must return the model: something that is called with a list of inputs",
            )
    except DeclarationError as error:
        return NotLoaded(error.message, user_line(error), hint=error.hint)
    # The boundary to user code: loading a model can raise anything, and its author needs the line.
    except Exception as error:
        where = user_line(error)
        if (
            isinstance(error, ModuleNotFoundError) and not where
        ):  # no code of the user's has run: no line would tell more
            return NotLoaded(f"there is no module {error.name!r}", hint=_NO_MODULE)
        return NotLoaded(described(error).decode(), where, "".join(traceback.format_exception(error)))
    return model if charge.batch else one_by_one(model)


def _answer(model: Model, work: Work) -> Done:
    clock = SystemClock()
    until = clock.monotonic() + work.patience
    outcomes = [_bounded(outcome) for outcome in answer_json(model, work.inputs, lambda: clock.monotonic() < until)]
    trace = next((outcome.trace for outcome in outcomes if outcome.trace), "")
    return Done([(int(outcome.fate), outcome.data) for outcome in outcomes], trace)


def _bounded(outcome: Outcome) -> Outcome:
    size = len(outcome.data)
    if size <= LARGEST_VALUE:
        return outcome
    return Outcome(Fate.FAILED, f"an output of {size:,} bytes is over the limit of {LARGEST_VALUE:,}".encode())


def _send(channel: socket.socket, message: Answer) -> None:
    channel.sendall(pack(message))


def _limit_memory(size: int) -> None:
    """Allocations over the limit fail, with `MemoryError` in Python. Data only: mapped model files do not count."""
    if size:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _die_with_parent(channel: socket.socket) -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel was asked
            os._exit(0)
    threading.Thread(target=partial(_watch, channel.fileno()), name="parent", daemon=True).start()


def _watch(descriptor: int) -> None:
    """Wait for the other end to close, without reading; a worker that is idle then ends by itself, in good order."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    poll.poll()
    threading.Event().wait(GRACE)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
