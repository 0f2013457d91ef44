"""Sessions: connections to the server that were asked for, all to the same host, with the settings that we rely on."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from headrace.core.errors import MissingExtra, SourceError
from headrace.sources.postgres.dsn import several, with_defaults, without_hosts
from headrace.sources.postgres.trouble import ConnectionLost, failure, refused, said
from headrace.sources.postgres.values import SETTINGS

if TYPE_CHECKING:
    import psycopg
    from psycopg import pq

PATIENCE: dict[str, str] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "synchronize_seqscans": "off",
}
"""Settings of our sessions: a copy takes as long as it takes, and reads a table in the order in which it lies there."""


def load() -> None:
    """Import the driver.

    Raises
    ------
    MissingExtra
        It is not installed.
    """
    try:
        import psycopg  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MissingExtra("reading from PostgreSQL", extra="postgres") from error


class Server:
    """One server, found by the first connection: a DSN may name several hosts.

    Parameters
    ----------
    application
        The name under which our connections are seen in pg_stat_activity.
    """

    def __init__(self, dsn: str, application: str) -> None:
        self.dsn = dsn
        self.user = "the user"
        self._application = application
        self._pinned: dict[str, Any] | None = None
        self._passed: list[int] = []

    def forget(self) -> None:
        """Look for the server anew with the next connection: the primary may be another one by now."""
        self._pinned = None
        self._passed = []

    @property
    def is_one_of_several(self) -> bool:
        """Whether the DSN names more hosts than one."""
        from psycopg.conninfo import conninfo_to_dict

        return bool(several(conninfo_to_dict(self.dsn)))

    def pass_over(self) -> bool:
        """Look for another server than the one that was found, among the hosts of the DSN; False: there is no other.

        Two of them take writes when the primary of before a failover comes back.
        """
        from psycopg.conninfo import conninfo_to_dict

        pinned, given = self._pinned or {}, conninfo_to_dict(self.dsn)
        hosts = several(given)
        here = [i for i, host in enumerate(hosts) if host == (pinned.get("host"), pinned.get("port"))]
        self._passed += here
        self._pinned = None
        return bool(here) and len(set(self._passed)) < len(hosts)

    def session(self) -> Session:
        """A new ordinary connection, in autocommit mode.

        Raises
        ------
        SourceError
            It cannot be made.
        """
        return Session(self, self._connect())

    def replication(self) -> Session:
        """A new connection that takes replication commands."""
        return Session(self, self._connect(replication="database"))

    def _connect(self, **more: str) -> psycopg.Connection[Any]:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        try:
            given = without_hosts(with_defaults(conninfo_to_dict(self.dsn), self._application), self._passed)
            # Nothing is prepared: some statements are two in one, and none is run often.
            parameters: dict[str, Any] = {**given, **(self._pinned or {}), **more}
            made = psycopg.connect(make_conninfo("", **parameters), autocommit=True, prepare_threshold=None)
            self.user = made.info.user
            if self._pinned is None:
                self._pinned = _where(made.info)
            _configure(made, self.dsn)
        except psycopg.Error as error:
            user = conninfo_to_dict(self.dsn).get("user") or self.user
            raise failure(error, self.dsn, "connecting", user=str(user)) from None
        return made


class Session:
    """One connection. Its methods may be called from any thread, one at a time."""

    def __init__(self, server: Server, connection: psycopg.Connection[Any]) -> None:
        self.server = server
        self.lock = threading.Lock()
        self._connection = connection

    @property
    def pgconn(self) -> pq.abc.PGconn:
        """The driver's bare connection."""
        return self._connection.pgconn

    @property
    def pid(self) -> int:
        """The process at the server."""
        return self._connection.info.backend_pid

    def rows(self, query: str, parameters: Sequence[Any] = (), *, doing: str = "a query") -> list[dict[str, Any]]:
        """What a query answers.

        Raises
        ------
        SourceError
            It failed; `doing` says what for.
        """
        from psycopg.rows import dict_row

        return self._rows(query, parameters, doing, dict_row)

    def tuples(self, query: str, parameters: Sequence[Any] = (), *, doing: str = "a query") -> list[tuple[Any, ...]]:
        """The same as tuples, for columns without names."""
        from psycopg.rows import tuple_row

        return self._rows(query, parameters, doing, tuple_row)

    def _rows(self, query: str, parameters: Sequence[Any], doing: str, factory: Any) -> list[Any]:
        import psycopg

        with self.lock, self.errors(doing):
            cursor = psycopg.Cursor(self._connection, row_factory=factory)
            cursor.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    def one(self, query: str, parameters: Sequence[Any] = (), *, doing: str = "a query") -> dict[str, Any]:
        """The only row that a query answers."""
        return self.rows(query, parameters, doing=doing)[0]

    def run(self, statement: str, *, doing: str) -> None:
        """Do something that answers nothing."""
        self.rows(statement, doing=doing)

    def command(self, command: str, *, doing: str) -> list[str | None]:
        """A replication command; the first row that it answers.

        Raises
        ------
        SourceError
            It failed.
        """
        from psycopg import pq

        with self.lock:
            result = self.pgconn.exec_(command.encode())
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.COPY_BOTH):
            raise self.refusal(result, doing)
        if result.status != pq.ExecStatus.TUPLES_OK or not result.ntuples:
            return []
        values = [result.get_value(0, i) for i in range(result.nfields)]
        return [None if value is None else bytes(value).decode() for value in values]

    def refusal(self, result: pq.abc.PGresult, doing: str) -> SourceError:
        """The error for a result that is one."""
        import psycopg
        from psycopg import errors

        message = result.error_message.decode(errors="replace").strip() or "the connection is gone"
        from psycopg import pq

        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        kind = errors.lookup(state.decode()) if state and _known(state.decode()) else psycopg.OperationalError
        return failure(kind(message), self.server.dsn, doing, user=self.server.user)

    def lost(self, doing: str) -> ConnectionLost:
        """The error for a connection that broke while its bare functions were used."""
        text = said(self.pgconn.error_message.decode(errors="replace"), self.server.dsn) or "the connection is gone"
        return ConnectionLost(
            f"{doing}: the connection to the server broke: {text}",
            hint="is the server up, and reachable from here? It is tried again",
            source="postgres",
        )

    @contextlib.contextmanager
    def errors(self, doing: str) -> Generator[None]:
        """Raise the driver's errors as ours."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise failure(error, self.server.dsn, doing, user=self.server.user) from None

    def cut(self) -> None:
        """Break the connection off, from any thread: whoever waits for an answer gets an error at once."""
        import psycopg

        gone = (OSError, ValueError, psycopg.Error)  # the driver's, when the server has ended the connection already
        with contextlib.suppress(*gone), socket.socket(fileno=os.dup(self.pgconn.socket)) as end:
            end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; the server notices at once."""
        with self.lock:
            self._connection.close()


def _known(state: str) -> bool:
    from psycopg import errors

    try:
        errors.lookup(state)
    except KeyError:
        return False
    return True


def _where(info: psycopg.ConnectionInfo) -> dict[str, Any]:
    """The host that answered, so that all further connections go to the same one."""
    found: dict[str, Any] = {"host": info.host, "port": str(info.port), "target_session_attrs": "any"}
    if info.hostaddr:
        found["hostaddr"] = info.hostaddr
    return found


def _configure(connection: psycopg.Connection[Any], dsn: str) -> None:
    from psycopg import pq

    wanted = dict(SETTINGS) | PATIENCE
    statement = "; ".join(f"SET {name} = '{value}'" for name, value in wanted.items())
    result = connection.pgconn.exec_(statement.encode())
    if result.status != pq.ExecStatus.COMMAND_OK:
        connection.close()
        raise refused(
            f"the server does not take the settings of our sessions: {said(result.error_message.decode(), dsn)}",
            "connect to the server itself, not through a pooler",
        )
