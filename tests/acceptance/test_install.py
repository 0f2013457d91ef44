"""A fresh virtual environment with the core install only: it is small, it starts, and it says what it lacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 120_000_000
"""Bytes that the core install may take on disk, `pip` and bytecode included."""

pytestmark = [pytest.mark.install, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def bare() -> Iterator[Path]:
    """A virtual environment with nothing but the core install; the package is built as users get it."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-install-"))
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    run(*pip, "-c", str(ROOT / "constraints.txt"), str(ROOT))
    yield folder / "venv"
    shutil.rmtree(folder)


def run(*command: str, fails: bool = False) -> str:
    """What a command prints."""
    done = subprocess.run(
        command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False
    )
    assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}"
    return done.stdout


def size(folder: Path) -> int:
    """Bytes in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def test_the_core_install_is_small(bare: Path, measured: list[str]) -> None:
    total = size(bare)
    measured.append(f"core install: {total / 1e6:.1f} MB on disk, pip included")
    assert total <= LARGEST


def test_the_command_starts(bare: Path) -> None:
    assert run(str(bare / "bin/headrace"), "--version").startswith("headrace ")
    assert "explain" in run(str(bare / "bin/headrace"), "--help")


def test_nothing_optional_is_imported(bare: Path) -> None:
    code = "import sys, headrace; print(*sys.modules)"
    modules = set(run(str(bare / "bin/python"), "-c", code).split())
    heavy = {"sqlglot", "starlette", "uvicorn", "httpx", "rich", "yaml", "pyarrow", "sqlalchemy", "mcp"}
    assert modules & heavy == set()


def test_import_time_is_told(bare: Path, measured: list[str]) -> None:
    code = (
        "from time import perf_counter as now; a = now(); import headrace; b = now(); headrace.App; c = now();"
        "print(f'import headrace: {b - a:.3f} s, with App: {c - a:.3f} s')"
    )
    run(str(bare / "bin/python"), "-c", code)  # the first import compiles
    measured.append(run(str(bare / "bin/python"), "-c", code).strip())


OPEN = """
import asyncio, headrace as hr
from headrace.core.clock import SystemClock
from headrace.core.schema import Column, ColumnType, Schema, TableKind
schema = Schema("items", TableKind.TABLE, (Column("item_id", ColumnType.TEXT),), key=("item_id",))
opening = hr.sources.Opening(schema=schema, resume={{}}, clock=SystemClock())
async def run():
    for partition in await {source}.open(opening):
        await partition.next_batch()
asyncio.run(run())
"""


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import asyncio, headrace.server.mcp as m; asyncio.run(m.run_stdio(None, None))", "mcp"),
        (OPEN.format(source="hr.sources.Poll('sqlite://', 'SELECT 1')"), "sql"),
    ],
)
def test_a_missing_extra_says_the_exact_command(bare: Path, code: str, extra: str) -> None:
    told = run(str(bare / "bin/python"), "-c", code, fails=True)
    assert f'pip install "headrace[{extra}]"' in told
