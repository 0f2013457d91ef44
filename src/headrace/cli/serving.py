"""What `headrace dev` and `headrace serve` have in common: one server over one app, and the note of where it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from headrace.cli.options import Whole

F = TypeVar("F", bound=Callable[..., Any])

NOTE = "serving.url"
"""A file in the data folder that holds the URL of the server that runs on it; gone when it has stopped."""


def port_option(command: F) -> F:
    """The option --port."""
    return click.option(
        "--port",
        type=Whole(0, 65535),
        default=8787,
        show_default=True,
        envvar="HEADRACE_PORT",
        help="Port to listen on; 0 takes any free one.",
    )(command)


def keys_option(command: F) -> F:
    """The option --keys."""
    return click.option(
        "--keys",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="HEADRACE_KEYS",
        help="File of the keys for /v1.  [default: keys.yaml in the data folder]",
    )(command)


@contextmanager
def noted(folder: Path) -> Generator[None]:
    """Remove the note when the server has stopped."""
    try:
        yield
    finally:
        with suppress(OSError):  # it is a convenience: a folder that cannot be written has other, louder complaints
            (folder / NOTE).unlink(missing_ok=True)


def note(folder: Path, message: str) -> None:
    """Write down the URL in what a server announces: "serving app.py on http://127.0.0.1:8787"."""
    _, found, url = message.rpartition(" on http")
    if found and folder.is_dir():
        with suppress(OSError):
            (folder / NOTE).write_text(f"http{url}\n")


def noted_url(folder: Path) -> str | None:
    """Where the server that runs on this data folder is, if it left a note."""
    try:
        return (folder / NOTE).read_text().strip()
    except OSError:
        return None


def check_log() -> None:
    """Refuse a `HEADRACE_LOG` that names no level: whoever set it waits for lines that never come."""
    from headrace.server.settings import LOG_LEVELS

    wanted = os.environ.get("HEADRACE_LOG", "")
    if wanted and wanted.lower() not in LOG_LEVELS:
        raise click.UsageError(
            f"HEADRACE_LOG is {wanted!r:.40}, which is no level: write one of {', '.join(LOG_LEVELS)}"
        )


def api_keys(file: Path | None) -> tuple[str, ...]:
    """API keys from the environment and from a file."""
    from headrace.server.settings import load_keys

    environ = dict(os.environ)
    if file is not None:
        environ["HEADRACE_API_KEYS_FILE"] = str(file)
    return load_keys(environ)
