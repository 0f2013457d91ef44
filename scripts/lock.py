"""Writes constraints.txt: the exact versions that a development install pulls, on every supported Python.

    python scripts/lock.py [python3.11 python3.12 python3.13]

Interpreters that are not there are left out, and that is said. Only names and versions are written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Exact versions of a development install (`make lock` writes this file).\n"


def resolve(python: str) -> dict[str, str]:
    """The versions that pip would install with this interpreter, by normalised name."""
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = subprocess.run([*command, "-e", ".[all,dev]"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = {item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(report)["install"]}
    return {normalise(name): version for name, version in found.items() if normalise(name) != "headrace"}


def normalise(name: str) -> str:
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def works(python: str) -> bool:
    """Whether this interpreter can be asked."""
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def main(pythons: list[str]) -> None:
    """Resolve with each interpreter, and write what they agree on; a disagreement is an error."""
    versions: dict[str, str] = {}
    for python in pythons:
        if not works(python):
            print(f"left out: {python} is not here", file=sys.stderr)
            continue
        for name, version in resolve(python).items():
            if versions.setdefault(name, version) != version:
                sys.exit(f"{name}: {versions[name]} and {version} ({python}); add a bound to pyproject.toml")
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines))
    print(f"constraints.txt: {len(lines)} packages")


if __name__ == "__main__":
    main(sys.argv[1:] or ["python3.11", "python3.12", "python3.13"])
