"""One worker process, as the pool sees it: started, loaded, given a batch at a time, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from headrace.core.signalling import tell
from headrace.models.local.child import GRACE
from headrace.models.local.frames import HEAD, Answer, Charge, Done, Loaded, NotLoaded, Work, pack

_SHOW = 0.5
"""Seconds that a worker which hangs has to write the stacks of its threads before it is killed."""
_STDERR = 2


class WorkerEnded(Exception):
    """The process ended, or its socket did, before it answered; the message says how, for people."""


class WorkerProcess:
    """A worker process and the socket to it.

    Make one with `begin`; whoever does must `end` it, whatever happens.
    """

    def __init__(
        self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, charge: Charge
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ended_by_us = False
        self._writer.write(pack(charge))

    @classmethod
    async def begin(cls, charge: Charge, environment: Mapping[str, str]) -> WorkerProcess:
        """Start the process; the model is not loaded yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # What the model prints goes where logs go: the standard output may be somebody's protocol (MCP).
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "headrace.models.local.child",
                    str(theirs.fileno()),
                    stdin=DEVNULL,
                    stdout=_STDERR,
                    pass_fds=(theirs.fileno(),),
                    env=environment,
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        try:
            ours.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()
            tell(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return cls(process, reader, writer, charge)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def loaded(self) -> Loaded | NotLoaded:
        """Wait until the model is loaded, or is not. Raises `WorkerEnded`."""
        answer = await self._next()
        if isinstance(answer, Done):
            raise WorkerEnded("the worker answered what it was not asked")
        return answer

    async def run(self, work: Work) -> Done:
        """Have a batch answered. Raises `WorkerEnded`."""
        self._writer.write(pack(work))
        answer = await self._next()
        if not isinstance(answer, Done) or len(answer.outcomes) != len(work.inputs):
            raise WorkerEnded("the worker answered what it was not asked")
        return answer

    async def gone(self) -> str:
        """Wait until it ends without being asked; how it did, for people."""
        how = ended(await self._process.wait())
        return "was ended" if self._ended_by_us else how

    async def show(self) -> None:
        """Have it write the stacks of its threads to the standard error: it hangs, and is about to be killed."""
        tell(self._process.pid, signal.SIGUSR1)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _SHOW)

    async def end(self, *, kindly: bool = False) -> None:
        """End it and all that it has started, and wait until it is gone.

        `kindly`: an idle one may end by itself, so that what the model registered with `atexit` runs.
        """
        self._ended_by_us |= self._process.returncode is None
        self._writer.close()
        if kindly:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), GRACE)
        with suppress(ProcessLookupError, PermissionError):  # macOS says the second for a group of the dead
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _next(self) -> Answer:
        try:
            head = await self._reader.readexactly(HEAD.size)
            return msgspec.msgpack.decode(await self._reader.readexactly(HEAD.unpack(head)[0]), type=Answer)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            raise WorkerEnded(await self._how()) from None

    async def _how(self) -> str:
        """How it ended; one that only closed its socket is as good as gone."""
        try:
            return ended(await asyncio.wait_for(self._process.wait(), GRACE))
        except TimeoutError:
            return "closed its socket"


def ended(status: int) -> str:
    """How a process ended, for people.

    >>> ended(-11), ended(-9), ended(3)
    ('was killed by SIGSEGV', 'was killed by SIGKILL (out of memory?)', 'ended with status 3')
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}{' (out of memory?)' if -status == signal.SIGKILL else ''}"
