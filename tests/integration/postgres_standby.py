"""A physical replica of a temporary server, made with pg_basebackup, that can be cut off and promoted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import psycopg

from headrace.core.errors import HeadraceError
from headrace.demo.postgres import USER, TemporaryPostgres

SLOT = "standby"
"""The physical slot at the primary that keeps what the replica has not received."""

KEEPS_SLOTS_SINCE = 17
"""The first version whose replicas keep logical slots in step."""


class Standby(TemporaryPostgres):
    """A replica that follows `primary` until it is promoted.

    Parameters
    ----------
    settings
        Those of the primary, so that the replica may take its place.
    """

    def __init__(self, primary: TemporaryPostgres, settings: Mapping[str, str]) -> None:
        super().__init__({**settings, "hot_standby_feedback": "on"}, folder=primary.binaries)
        self._primary = primary

    def create(self) -> None:
        """Copy the primary's data folder; -R writes down where to follow it."""
        if self._owner:
            shutil.chown(self._place.name, self._owner)
        where = f"host=127.0.0.1 port={self._primary.port} user={USER} dbname=postgres"
        command = [str(self.binaries / "pg_basebackup"), "-D", str(self.data), "-d", where, "-R", "-C", "-S", SLOT]
        made = self._run([*command, "-X", "stream", "-c", "fast", "--no-sync"])
        if made.returncode:
            raise HeadraceError(f"pg_basebackup failed: {made.stderr.strip()[-500:]}", hint="see the message above")

    def connect(self) -> psycopg.Connection:
        """A connection to it, in autocommit mode."""
        return psycopg.connect(self.dsn, autocommit=True)

    def cut(self) -> None:
        """Receive nothing more from the primary."""
        with self.connect() as sql:
            sql.execute("ALTER SYSTEM SET primary_conninfo = ''")
            sql.execute("SELECT pg_reload_conf()")
            while sql.execute("SELECT 1 FROM pg_stat_wal_receiver").fetchall():
                sql.execute("SELECT pg_sleep(0.01)")

    def promote(self) -> None:
        """Become a primary, on a new timeline."""
        with self.connect() as sql:
            if sql.execute("SELECT pg_promote(true, 20)").fetchone() != (True,):
                raise HeadraceError(f"it was not promoted: {self.log()[-800:]}", hint="see the end of its log above")
