"""The stream: one thread that reads what the server sends, and puts whole transactions on the conveyor."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Sequence

from headrace.core.changes import Batch
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.sources.postgres.assembly import Assembler, Item
from headrace.sources.postgres.conveyor import Closed, Conveyor
from headrace.sources.postgres.fence import Fence
from headrace.sources.postgres.lsn import Lsn, format_lsn
from headrace.sources.postgres.session import Session
from headrace.sources.postgres.tables import literal, quoted
from headrace.sources.postgres.trouble import ConnectionLost, said
from headrace.sources.postgres.wire import XLogData, read_wire, status_update

AHEAD = 16 << 20
"""Bytes that lie on the conveyor at most, as the server sent them; then the socket is not read."""

SHORT_QUEUE = 2
"""Items up to which small groups leave at once; behind more, gathering goes on: larger groups commit faster."""

ROOM_WAIT = 0.005
STATUS_WAIT = 0.1
"""Seconds: between two looks whether there is room; between two status updates that only say what is on disk."""

PLACE_BYTES = 16 << 20
PLACE_SECONDS = 10.0
"""How far, or for how long, the log may go on without changes for us until its place is committed as our position.
So the server can forget it, and the slot never stands further than we do."""

_XLOG_DATA = ord("w")

HEARD_EVERY = 1.0
"""Seconds after which a stream that is behind says that it is still there."""


class Stream:
    """Reads one slot from one place on.

    Parameters
    ----------
    patience
        The server's `wal_sender_timeout`, seconds: either side counts the other one as gone after that.
    """

    def __init__(
        self,
        session: Session,
        assembler: Assembler,
        conveyor: Conveyor[Item],
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        self._session = session
        self._pgconn = session.pgconn
        self._assembler = assembler
        self._conveyor = conveyor
        self._clock = clock
        self._patience = max(patience, 1.0)
        self._lock = threading.Lock()
        self._fences: list[Fence] = []
        self._flushed: Lsn = assembler.received
        self._reported: Lsn = 0
        self._reply_wanted = self._ask_for_place = False
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        self._thread = threading.Thread(target=self._run, name="headrace-postgres-stream", daemon=True)
        now = clock.monotonic()
        self._said = self._heard = self._placed = self._spoke = now

    @property
    def is_waiting(self) -> bool:
        """Whether fences wait although everything that was sent has been taken."""
        return len(self._assembler.fences) > 1 and self._conveyor.is_empty

    def start(self, slot: str, publication: str, protocol: int) -> None:
        """Ask for the stream, and begin to read.

        Raises
        ------
        SourceError
            The server refuses.
        """
        options = f"proto_version '{protocol}', publication_names {literal(quoted(publication))}, streaming 'on'"
        at = format_lsn(self._flushed)
        self._session.command(
            f"START_REPLICATION SLOT {quoted(slot)} LOGICAL {at} ({options})", doing=f"starting to read the slot {slot}"
        )
        self._pgconn.nonblocking = 1
        self._thread.start()

    def confirm(self, lsn: Lsn) -> None:
        """Everything up to `lsn` is on disk here."""
        with self._lock:
            self._flushed = max(self._flushed, lsn)
        self._wake()

    def fence(self, fence: Fence) -> None:
        """A new fence is to be passed."""
        with self._lock:
            self._fences.append(fence)
        self._wake()

    def stop(self) -> None:
        """End the thread, wait for it, and let go of what is unfinished."""
        self._stopping = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._assembler.clear()
        for end in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(end)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
            os.write(self._wake_write, b".")

    def _run(self) -> None:
        try:
            with self._session.errors("reading the stream"):
                self._loop()
        except Closed:
            pass
        except HeadraceError as error:
            self._conveyor.fail(error)
        except Exception as error:  # boundary of the thread: the partition raises it where it is seen
            self._conveyor.fail(error)

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._pgconn.socket, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        room = select.poll()
        room.register(self._wake_read, select.POLLIN)
        while not self._stopping:
            self._take_fences()
            if not self._conveyor.has_room:
                self._say_status()
                self._drain_wake(room.poll(ROOM_WAIT * 1000))
                self._heard = self._clock.monotonic()  # we do not listen: silence says nothing
                continue
            drained = self._read()
            self._settle(drained)
            self._say_status()
            if drained:
                self._wait(poll)

    def _wait(self, poll: select.poll) -> None:
        found = poll.poll(self._rest() * 1000)
        self._drain_wake(found)
        if any(fd != self._wake_read for fd, _ in found):
            self._heard = self._clock.monotonic()
            self._pgconn.consume_input()
        elif self._clock.monotonic() - self._heard > self._patience:
            raise ConnectionLost(
                f"the server was silent for {self._patience:.0f} s, longer than its wal_sender_timeout",
                hint="is the network cut? It is tried again",
                source="postgres",
            )

    def _rest(self) -> float:
        if self._assembler.is_gathering:
            return ROOM_WAIT
        return STATUS_WAIT if self._flushed > self._reported else min(1.0, self._patience / 3)

    def _drain_wake(self, found: Sequence[tuple[int, int]]) -> None:
        if any(fd == self._wake_read for fd, _ in found):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _take_fences(self) -> None:
        with self._lock:
            fences, self._fences = self._fences, []
        for fence in fences:
            self._assembler.fences.add(fence)
            self._ask_for_place = fence.lsn > self._assembler.received

    def _read(self) -> bool:
        """Take what has arrived; False when there may be more, and no room for it."""
        get, feed, assembler = self._pgconn.get_copy_data, self._assembler.feed, self._assembler
        while True:
            size, view = get(1)
            if size <= 0:
                break
            data = bytes(view)
            if data[0] == _XLOG_DATA:  # nearly all messages are, so the rest of its head is not read
                feed(data)
            else:
                self._keepalive(data)
            if assembler.ready:
                self._deliver()
                if not self._conveyor.has_room:
                    self._heard = self._clock.monotonic()
                    return False
        if size < 0:
            raise self._ended(size)
        return True

    def _keepalive(self, data: bytes) -> None:
        found = read_wire(data)
        if isinstance(found, XLogData):
            return
        self._assembler.heard(found.end)
        self._reply_wanted = self._reply_wanted or found.reply

    def _ended(self, size: int) -> ConnectionLost:
        if size == -1:
            result = self._pgconn.get_result()
            given = result.error_message.decode(errors="replace") if result is not None else ""
            text = said(given, self._session.server.dsn)
            return ConnectionLost(
                f"the server ended the stream: {text or 'it is shutting down'}",
                hint="is the server restarting? It is tried again",
                source="postgres",
            )
        return self._session.lost("reading the stream")

    def _settle(self, drained: bool) -> None:
        """Everything that has arrived was read: let go of what may go."""
        if not drained:
            return
        assembler, now = self._assembler, self._clock.monotonic()
        passed = assembler.passed()
        if assembler.is_gathering:
            if passed is not None or self._conveyor.count <= SHORT_QUEUE:
                assembler.flush(frontier=passed)
        else:
            moved = assembler.unplaced
            place = moved > 0 and (moved >= PLACE_BYTES or now - self._placed >= PLACE_SECONDS or self._reply_wanted)
            if place or passed is not None:
                self._placed = now if place else self._placed
                assembler.flush(frontier=passed, place=place)
            elif len(assembler.fences) and now - self._spoke >= HEARD_EVERY:
                assembler.ready.append(([Batch(())], 1))
        self._deliver()

    def _deliver(self) -> None:
        ready = self._assembler.ready
        if ready:
            self._spoke = self._clock.monotonic()
        for item, weight in ready:
            self._conveyor.put(item, weight, wait=False)
        ready.clear()

    def _say_status(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            flushed = self._flushed
        since = now - self._said
        due = since >= self._patience / 3 or (flushed > self._reported and since >= STATUS_WAIT)
        if not (due or self._reply_wanted or self._ask_for_place):
            return
        ask, self._ask_for_place = self._ask_for_place or due, False
        self._reply_wanted = False
        received = max(self._assembler.received, flushed)
        message = status_update(received, flushed, flushed, now=self._clock.now(), reply=ask)
        self._pgconn.put_copy_data(message)
        self._pgconn.flush()
        self._said, self._reported = now, flushed
