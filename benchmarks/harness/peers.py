"""Peers live in virtual environments of their own, made when they are first needed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from harness.setting import BENCHMARKS, ROOT, Setting

VARIABLE = "HEADRACE_BENCH_PEERS"
"""Names a folder with ready environments `<peer>/bin/python`; otherwise they are made in `.venv-peers`."""


def python(peer: str, setting: Setting) -> Path | None:
    """The interpreter of a peer's environment, or None when peers do not take part.

    Installs `peers/requirements-<peer>.txt` the first time, which takes minutes and needs a package index.
    """
    if not setting.peers:
        return None
    folder = Path(os.environ.get(VARIABLE, ROOT / ".venv-peers")) / peer
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        _create(folder, peer)
    return interpreter


def _create(folder: Path, peer: str) -> None:
    print(f"installing the peer {peer} into {folder} (once; minutes)", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True)
    requirements = BENCHMARKS / "peers" / f"requirements-{peer}.txt"
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", "-r", requirements], check=True)
