"""A fresh virtual environment with the core alone: its size on disk and how long `import headrace` takes."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from harness.figures import Result, median
from harness.setting import ROOT, Setting

_IMPORT = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
MB = 1_000_000


def run(setting: Setting) -> Result:
    """Installs from this checkout; needs a package index."""
    result = Result("install")
    folder = setting.folder("install") / "venv"
    venv.create(folder, with_pip=True)
    empty = _size(folder)
    pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", ROOT], check=True, cwd=folder.parent, capture_output=True)
    python = folder / "bin" / "python"
    times = setting.pick(3, 11)
    bare = [_timed(python, "import headrace") for _ in range(times)]
    app = [_timed(python, "import headrace; headrace.App") for _ in range(times)]
    result.add("installed, pip included", _size(folder) / MB, "MB", target=120, better="less")
    result.add("installed, without the empty environment", (_size(folder) - empty) / MB, "MB", better="less")
    result.add("import headrace", median(bare), "s", target=0.3, better="less", runs=bare)
    result.add("import headrace; headrace.App", median(app), "s", better="less", runs=app)
    result.notes.append(
        "Names are loaded on first use: the second import figure loads everything that declares and runs an app, the"
        " SQL parser included, and is what an app file waits for."
    )
    return result


def _timed(python: Path, statement: str) -> float:
    done = subprocess.run(
        [python, "-c", _IMPORT.format(statement)], check=True, capture_output=True, text=True, cwd=python.parent
    )
    return float(done.stdout)


def _size(folder: Path) -> int:
    """Bytes on disk, hard links once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        found = path.lstat()
        seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())
