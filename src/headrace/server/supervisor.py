"""One server as a small family of processes: a parent, one engine that writes, and HTTP workers that read.

The parent holds the listening socket, starts the engine and then the workers, and starts again whichever ends. While
the engine is away, workers go on reading; ages grow, and pushes are answered 503 until it is back.

To stop (SIGTERM or SIGINT):

1. the parent closes its listening socket, workers stop accepting and finish requests in flight;
2. when the last worker has ended, the engine is told to stop: it finishes what was pushed, fsyncs, closes;
3. the parent removes the server's folder and ends with 0.

A second signal, or the timeout, kills what is left: nothing that was acknowledged is lost, because it is on disk. The
same signal twice within 50 ms is one wish: whoever signals a process group reaches the parent a second time that way.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import signal
import tempfile
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

from headrace.core.clock import Clock, SystemClock
from headrace.core.errors import DeclarationError, HeadraceError, MigrationRefused, StoreLocked
from headrace.core.restarts import Restarts
from headrace.server.child import Child
from headrace.server.listening import address, bind
from headrace.server.plan import Plan
from headrace.server.process import Role
from headrace.server.standin import StandIn
from headrace.server.watch import Stamps, changed, stamps

log = logging.getLogger("headrace.server")

_LONG = 5.0
"""Seconds after which it is said that an app is still being loaded."""
_POLL = 0.4
"""Seconds between two looks at the files of an app that is being developed."""
_SILENT = 0.5
"""Seconds of stopping without a word: most end sooner."""
_CLOSING = 5.0
"""Seconds that a process has to close what it holds, once what is under way has had its time."""
_ECHO = 0.05
"""Seconds within which the same signal again is no second wish: `timeout` tells its child, and then the whole group."""


def serve(plan: Plan) -> int:
    """Serve until told to stop; the exit status.

    Raises
    ------
    HeadraceError
        The app cannot be served as declared, or the address cannot be bound.
    """
    plan.settings.check()
    return asyncio.run(Supervisor(plan).run())


class Supervisor:
    """Keeps the processes of one server running."""

    def __init__(self, plan: Plan, *, clock: Clock | None = None) -> None:
        self._plan = plan
        self._clock = clock or SystemClock()
        self._stopping = asyncio.Event()
        self._hard = False
        self._told: tuple[int, float] | None = None
        self._children: list[Child] = []
        self._seen: Stamps = {}
        self._stand_in: StandIn | None = None
        self._url = ""
        self._said = ""

    async def run(self) -> int:
        """Start everything, keep it running, and stop it in order; the exit status."""
        listening = bind(self._plan.settings)
        self._stand_in = StandIn(listening) if self._plan.reload else None
        # A short path of its own: a Unix socket's path has room for about a hundred bytes.
        folder = Path(tempfile.mkdtemp(prefix="headrace-"))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal, number)
        try:
            self._url = address(listening)
            return await self._family(folder, listening.fileno(), listening.close)
        finally:
            self._stopping.set()  # what ends from here on is not to be started again
            for child in reversed(self._children):
                await child.stop(5.0)
            await self._make_way()
            listening.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            shutil.rmtree(folder, ignore_errors=True)

    async def _family(self, folder: Path, fd: int, close: Callable[[], None]) -> int:
        if self._plan.reload:
            groups = [[self._child("single", folder, 0, fd)]]
        else:
            workers = [self._child("worker", folder, number, fd) for number in range(self._plan.settings.workers)]
            groups = [[self._child("engine", folder, 0, None)], workers]
        keepers: list[list[asyncio.Task[None]]] = []
        for group in groups:
            if not await self._begin(group):
                break
            keepers.append([asyncio.create_task(self._keep(child)) for child in group])
        else:
            if all(child.running for child in self._children):
                self._serving()
            await self._wait_for_end(keepers)
        self._stopping.set()
        await self._make_way()
        close()
        return await self._stop(list(zip(groups, keepers, strict=False)))

    def _child(self, role: Role, folder: Path, number: int, fd: int | None) -> Child:
        child = Child(self._plan, role, folder, number, fd, self._clock)
        self._children.append(child)
        return child

    async def _begin(self, group: list[Child]) -> bool:
        """Start a group; False when the server was told to stop meanwhile. A child that cannot start is an error."""
        starting = asyncio.gather(*(self._load(child) for child in group))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        stopping.cancel()
        try:
            starting.result()
        except HeadraceError as error:
            if self._stand_in is None or _cause(group[0], error) is Cause.PLACE:
                raise
            await self._stand_in_for(self._stand_in, group[0], error)
        return True

    def _serving(self) -> None:
        self._said = ""
        self._plan.announce(f"serving {self._plan.app} on {self._url}")

    async def _stand_in_for(self, stand_in: StandIn, child: Child, error: HeadraceError) -> None:
        """In development, tell whoever writes the app what is wrong, once, and whoever asks meanwhile."""
        awaited = _AWAITED[_cause(child, error)].format(app=self._plan.app, url=self._url)
        what = f"{error}\n{awaited}"
        if what != self._said:
            self._plan.announce(what)
        self._said = what
        await stand_in.show(error)

    async def _make_way(self) -> None:
        if self._stand_in is not None:
            await self._stand_in.hide()

    async def _wait_for_end(self, keepers: list[list[asyncio.Task[None]]]) -> None:
        """Until told to stop; an error inside a keeper is one of ours and comes out here."""
        stopping = asyncio.create_task(self._stopping.wait())
        every = [task for group in keepers for task in group]
        await asyncio.wait({stopping, *every}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in every:
            if task.done():
                task.result()

    async def _keep(self, child: Child) -> None:
        """Start a child again whenever it ends, or whenever the app's files change."""
        restarts, again = Restarts(), Restarts(first=1.0)
        while not self._stopping.is_set():
            locked = isinstance(child.refused, StoreLocked)
            fresh = await self._end_or_change(child, again.delay(child.lived) if locked else math.inf)
            if self._stopping.is_set():
                return
            if not fresh:
                wait = restarts.delay(child.lived)
                log.warning("%s ended with %s; starting it again in %.1f s", child.name, child.status, wait)
                if await self._stopped_within(wait):
                    return
            await self._start_again(child)

    async def _end_or_change(self, child: Child, patience: float) -> bool:
        """Wait until the child ends (False) or, in development, is to be started anew (True).

        That is when a file has changed, for which the child is stopped, or when one that could not start has waited
        for `patience` seconds.
        """
        if not self._plan.reload:
            await child.wait()
            return False
        refused = child.refused is not None
        until = self._clock.monotonic() + patience
        while refused or child.running:
            if await self._stopped_within(_POLL):
                return True
            file = self._change(child)
            if file is not None:
                self._again(file)
                await self._end_for_another(child)
                return True
            if refused and self._clock.monotonic() >= until:
                return True
        return False

    async def _end_for_another(self, child: Child) -> None:
        """Stop a child whose app is to be loaded again. Where that takes a while, say so, also to whoever asks."""
        ending = asyncio.create_task(child.stop(self._plan.settings.drain_timeout + _CLOSING))
        try:
            await asyncio.wait({ending}, timeout=_SILENT)
            if not ending.done():
                await self._tell_of_ending()
            await ending
        finally:
            ending.cancel()

    async def _tell_of_ending(self) -> None:
        if self._stand_in is None or self._stopping.is_set():
            return
        patience = f"{self._plan.settings.drain_timeout:g} s"
        self._plan.announce(f"what is under way has up to {patience} to end before {self._plan.app} is loaded again")
        what = f"{self._plan.app} is loaded again once what is under way has ended, which has up to {patience}"
        await self._stand_in.show(HeadraceError(what, hint="ask again in a moment"), loading=True)

    @property
    def _app_file(self) -> Path:
        path, _, name = self._plan.app.rpartition(":")
        return Path(path if path and name.isidentifier() else self._plan.app).resolve()

    def _look(self, child: Child) -> None:
        """Remember the files before they are loaded: what is saved while they are is a change as well."""
        if self._plan.reload:
            self._seen = dict.fromkeys(child.files) | stamps(self._app_file, child.files)

    def _change(self, child: Child) -> Path | None:
        """A file that has changed since; of those that the child has read for the first time, since it did."""
        return next(iter(changed(child.files | self._seen, stamps(self._app_file, child.files))), None)

    async def _load(self, child: Child) -> None:
        """Start a child. In development, anew with each change: a file that never ends loading can be mended."""
        while True:
            self._look(child)
            starting, changing = asyncio.create_task(child.start()), asyncio.create_task(self._changed(child))
            try:
                await asyncio.wait({starting, changing}, timeout=_LONG, return_when=asyncio.FIRST_COMPLETED)
                if not starting.done() and not changing.done():
                    await self._tell_of_loading()
                    await asyncio.wait({starting, changing}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    return await self._make_way()
                self._again(changing.result())
                while not starting.done():
                    child.kill()  # it serves nobody yet; again, in case that it was not there yet
                    await asyncio.wait({starting}, timeout=_POLL)
                starting.exception()  # that it ended is no news
            finally:
                starting.cancel()
                changing.cancel()

    async def _tell_of_loading(self) -> None:
        """Say that the app takes long, once; in development, to whoever asks meanwhile as well."""
        what = f"{self._plan.app} is still being loaded, after {_LONG:g} s"
        if what != self._said:
            self._plan.announce(what)
        self._said = what
        if self._stand_in is not None and not self._stopping.is_set():
            hint = "wait, or mend what it waits for: it is loaded again when it is saved"
            await self._stand_in.show(HeadraceError(what, hint=hint), loading=True)

    async def _changed(self, child: Child) -> Path:
        """The first file that changes; never, where nobody looks at them."""
        if not self._plan.reload:
            await asyncio.get_running_loop().create_future()
        while True:
            await self._clock.sleep(_POLL)
            file = self._change(child)
            if file is not None:
                return file

    def _again(self, file: Path) -> None:
        self._said = ""
        self._plan.announce(f"{file.name} changed: loading again")

    async def _start_again(self, child: Child) -> None:
        await self._make_way()
        try:
            await self._load(child)
        except HeadraceError as error:
            if self._stand_in is None:
                log.error("%s cannot start: %s", child.name, error)
            else:
                await self._stand_in_for(self._stand_in, child, error)
        else:
            if self._plan.reload:
                self._serving()

    async def _stopped_within(self, seconds: float) -> bool:
        """Wait, but not longer than until the server is told to stop; whether it was."""
        sleeping = asyncio.create_task(self._clock.sleep(seconds))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        sleeping.cancel()
        stopping.cancel()
        return self._stopping.is_set()

    async def _stop(self, groups: list[tuple[list[Child], list[asyncio.Task[None]]]]) -> int:
        """Workers first, the engine last; 0 when all of them went by themselves."""
        clean, patience = True, self._plan.settings.drain_timeout
        why = f"stopping: what is under way has up to {patience:g} s to end; a second signal (Ctrl-C) ends at once"
        telling = asyncio.get_running_loop().call_later(_SILENT, self._plan.announce, why)
        for children, keepers in reversed(groups):
            for keeper in keepers:
                keeper.cancel()
            stopped = await asyncio.gather(*(child.stop(patience + _CLOSING) for child in children))
            clean = clean and all(stopped)
        telling.cancel()
        return 0 if clean and not self._hard else 1

    def _signal(self, number: int) -> None:
        """Begin to stop; at the second signal, end what is left: whoever waits for a child then sees it gone."""
        now = self._clock.monotonic()
        if self._told is not None and self._told[0] == number and now - self._told[1] < _ECHO:
            return
        self._told = (number, now)
        if self._stopping.is_set():
            self._hard = True
            for child in self._children:
                child.kill()
        self._stopping.set()


class Cause(Enum):
    """Why an app that is being developed cannot be served."""

    FILE = auto()
    LOCK = auto()
    PLACE = auto()


_AWAITED = {
    Cause.FILE: "waiting until {app} is mended, to serve it on {url}",
    Cause.LOCK: "trying again by itself, to serve {app} on {url}",
    Cause.PLACE: "start again once that is right, or save {app} without it, to serve it on {url}",
}
"""What is waited for, where one waits at all: a save cannot mend what is missing where the server runs."""


def _cause(child: Child, error: HeadraceError) -> Cause:
    """What a save may mend is said while the file is loaded, names a line of it, or is about what it declares."""
    if isinstance(error, StoreLocked):
        return Cause.LOCK
    line = error.where.rpartition(":")[2] if isinstance(error, DeclarationError) else ""
    declared = isinstance(error, MigrationRefused) or line.isdecimal()
    return Cause.PLACE if child.loaded and not declared else Cause.FILE
