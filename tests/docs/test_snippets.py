"""The snippets of the documentation do what they say.

What a fenced block is for stands after its language, where renderers do not show it:

    ```python file=app.py     is written to app.py in the page's own folder (any language)
    ```python run             is run as a script
    ```console run            lines after `$ ` are run by bash; the lines below are what they print (`...`: anything)
    ```console run fails      the same, and the last command must fail
    ```console serve          the command is started and stays; the next block runs once it answers (several may)
    ```console stop           what was started is ended, as by Ctrl-C (`stop kill`: as by kill -9)
    ```console postgres       a PostgreSQL server is started; 127.0.0.1:5432 is where it listens, and its programs find
                              it (`postgres restart`: it is restarted)

A page's blocks run in order in one folder. Python blocks without a word must at least be Python.
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from headrace.core.clock import SystemClock
from headrace.demo.postgres import TemporaryPostgres, binaries

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)(?P<words>[^\n]*)\n(?P<text>.*?)^(?P=indent)```", re.M | re.S)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PATIENCE = 30
"""Seconds for a command, and for a server to answer."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """Where its text is to be written."""
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    @property
    def runs(self) -> bool:
        """Whether it does anything."""
        return bool(self.file or {"run", "serve", "stop", "postgres"} & set(self.words))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            words=tuple(match["words"].split()),
            text=re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M),
        )
        for match in FENCE.finditer(text)
    ]


@dataclass
class Stage:
    """Where one page's blocks run: a folder, free ports in place of the default ones, and what was started."""

    folder: Path
    port: int
    mock_port: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    database: TemporaryPostgres | None = None
    written: list[Path] = field(default_factory=list)
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        shims = self.folder / ".bin"
        shims.mkdir()
        # Not a link: Python finds its virtual environment by the path that it was started with.
        for name, words in (("headrace", " -m headrace"), ("python", "")):
            shim = shims / name
            shim.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
            shim.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{shims}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "HEADRACE_PORT": str(self.port),
            "HEADRACE_MOCK_PORT": str(self.mock_port),
            "HEADRACE_URL": f"http://127.0.0.1:{self.port}",
            "PYTHONWARNINGS": "error",
            "COLUMNS": "120",
        }

    def play(self, block: Block) -> None:
        """Do what the block says."""
        text = block.text.replace("127.0.0.1:8787", f"127.0.0.1:{self.port}")
        text = text.replace("127.0.0.1:8790", f"127.0.0.1:{self.mock_port}")
        if self.database is not None:
            text = text.replace("127.0.0.1:5432", f"127.0.0.1:{self.database.port}")
        if "postgres" in block.words:
            self.postgres(restart="restart" in block.words)
        elif block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            self.written.append(path)
        elif "stop" in block.words:
            self.stop(signal.SIGKILL if "kill" in block.words else signal.SIGINT)
        elif "serve" in block.words:
            self.serve(commands(text)[0][0])
        elif block.language == "python":
            self.run([sys.executable, "-c", text], "", fails=False)
        else:
            steps = commands(text)
            for number, (command, expected) in enumerate(steps, 1):
                fails = "fails" in block.words and number == len(steps)
                self.run(["bash", "-euo", "pipefail", "-c", command], expected, fails=fails)

    def run(self, command: list[str], expected: str, *, fails: bool) -> None:
        """Run a command and compare what it prints with what the page shows."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        shown = f"{command[-1]}\n--- status {done.returncode}, printed:\n{done.stdout}"
        assert (done.returncode != 0) == fails, shown
        if expected:
            assert doctest.OutputChecker().check_output(expected, done.stdout, FLAGS), f"{shown}--- page:\n{expected}"

    def serve(self, command: str) -> None:
        """Start a server and wait until it answers."""
        started = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment)
        self.started.append(started)
        port = self.mock_port if command.startswith("headrace mock-llm") else self.port
        clock = SystemClock()
        deadline = clock.monotonic() + PATIENCE
        while not self.answers(port):
            assert started.poll() is None, f"{command} ended with {started.returncode}"
            assert clock.monotonic() < deadline, f"{command} does not answer"

    def answers(self, port: int) -> bool:
        """Whether the server is ready."""
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1).is_success
        except httpx.TransportError:
            return False

    def postgres(self, *, restart: bool) -> None:
        """Start a database server, or restart the one that runs."""
        if restart:
            assert self.database is not None, "no server was started on this page"
            self.database.restart()
            return
        self.database = TemporaryPostgres().__enter__()
        for path in self.written:
            path.write_text(path.read_text().replace("127.0.0.1:5432", f"127.0.0.1:{self.database.port}"))
        self.environment |= {
            "PATH": f"{self.folder / '.bin'}:{self.database.binaries}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.database.port),
            "PGUSER": "postgres",
        }

    def close(self) -> None:
        """End everything."""
        self.stop(signal.SIGKILL)
        if self.database is not None:
            self.database.__exit__(None, None, None)

    def stop(self, number: signal.Signals) -> None:
        """End what was started."""
        while self.started:
            started = self.started.pop()
            started.send_signal(number)
            started.wait(PATIENCE)


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it prints. A line after `> ` continues the command above it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            command, expected = found.pop()
            continues = line.startswith("> ") and not expected
            found.append((f"{command}\n{line[2:]}", "") if continues else (command, f"{expected}{line}\n"))
    return found


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A fresh folder and free ports."""
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = probe.getsockname()[1], other.getsockname()[1]
    stage = Stage(tmp_path, *ports)
    yield stage
    stage.close()


def needs(page: Path) -> list[pytest.MarkDecorator]:
    """The markers of what a page cannot run without."""
    found = blocks(page)
    curl = [pytest.mark.needs("curl")] if any("curl " in block.text for block in found) else []
    postgres = any("postgres" in block.words for block in found)
    return [*curl, *([pytest.mark.skipif(binaries() is None, reason="no PostgreSQL server is here")] * postgres)]


RUNNING = [
    pytest.param(page, id=str(page.relative_to(ROOT)), marks=needs(page))
    for page in PAGES
    if any(block.runs for block in blocks(page))
]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", RUNNING)
def test_the_snippets_of_a_page_run(page: Path, stage: Stage) -> None:
    for block in blocks(page):
        if block.runs:
            stage.play(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python" and page.parent.name != "reference":
            compile(block.text, f"{page}:{block.line}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_commands_are_told_from_output() -> None:
    text = "$ echo 'a\n> b'\na\n> b\n$ true\n"
    assert commands(text) == [("echo 'a\nb'", "a\n> b\n"), ("true", "")]
