"""Which files of an app changed: what `headrace dev` reloads on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
_SUFFIXES = frozenset({".py", ".sql", ".yaml", ".yml", ".toml"})
_MOST_FILES = 5_000

Stamps = dict[Path, tuple[int, int] | None]
"""None, or nothing at all, for a file that is not there."""


def stamps(app_file: Path, others: Iterable[Path] = ()) -> Stamps:
    """Modification time (ns) and size of the app file, of the code in its folder, and of other files."""
    found: Stamps = {}
    for path in [app_file, *others, *_files(app_file.parent)]:
        try:
            status = path.stat()
        except OSError:
            continue  # It went away between being listed and being looked at: that is a change as well.
        found[path] = (status.st_mtime_ns, status.st_size)
        if len(found) >= _MOST_FILES:
            break
    return found


def changed(before: Stamps, after: Stamps) -> list[Path]:
    """The files that appeared, went or were written."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _files(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif entry.suffix in _SUFFIXES:
            yield entry
