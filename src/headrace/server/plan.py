"""What a server is started with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.server.composition import DEFAULT
from headrace.server.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What to serve.

    Attributes
    ----------
    app
        The app file, or `file.py:name`.
    data
        The data folder; None: the app's own.
    reload
        One process for everything, started again when the app's files change. While they are broken, requests are
        answered 503 with the reason; while another process has the data folder, too, and it is tried again.
    composition
        Where the child processes find what they are made of, as `module:name`.
    announce
        Told the URL whenever everything serves, and of every reload and what keeps it from serving.
    """

    app: str
    settings: Settings
    data: str | None = None
    reload: bool = False
    composition: str = DEFAULT
    announce: Callable[[str], None] = print
