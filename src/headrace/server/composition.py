"""What the processes of a server are made of. `headrace.composition` has the real one; tests bring their own."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from headrace.core.errors import DeclarationError
from headrace.core.events import Problem
from headrace.http1 import Handler, Request, Response
from headrace.server.catalog import Catalog
from headrace.server.ports import Health, Reads, Writes
from headrace.server.problem import Problem as Document
from headrace.server.settings import Settings

DEFAULT = "headrace.composition:composition"
"""Where the processes find their composition, as `module:name`."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The one writing side of an app, running."""

    writes: Writes
    health: Health | None = None


class Handlers(Protocol):
    """Serves paths of its own as plain `http1` handlers, before ASGI: what is asked often pays for no framework.

    Its requests pass the same guard, the same bound on requests in flight and the same meter as all others.
    """

    @property
    def checks_keys(self) -> bool:
        """Whether it knows API keys of its own. `Host` and `Origin` are checked all the same; keys are left to it."""
        ...

    @property
    def lasts(self) -> bool:
        """Whether it serves on while nothing can be stored or the engine is away: then the server is ready, too."""
        ...

    def find(self, request: Request) -> Handler | None:
        """The handler for a request; None: its path belongs to somebody else. Called for each request: be quick."""
        ...

    def refused(self, request: Request, problem: Document) -> Response | None:
        """The answer to a request that others refuse (the gate, the connection), in words of its own; None: a problem.

        Called for every path, also with a request that was read in part.
        """
        ...

    def openapi(self) -> dict[str, Any]:
        """Paths to add to `/openapi.json`."""
        ...

    def metrics(self) -> Iterable[str]:
        """Lines in the Prometheus text format to add to `/metrics`."""
        ...

    def problems(self) -> Iterable[Problem]:
        """What is wrong with it now and does not keep it from serving; shown in `/freshness`."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """A reading side of an app, open. `handlers` serve beside it, in the order in which they are asked."""

    reads: Reads
    catalog: Catalog
    handlers: Sequence[Handlers] = ()


class Composition(Protocol):
    """Builds the sides of an app. Each process loads the app file itself: nothing of the user's is ever pickled."""

    def load(self, app_file: str) -> Any:
        """The declared app of a file (or `file.py:name`). Raises `DeclarationError`."""
        ...

    def engine(self, app: Any, data: str | None) -> AbstractAsyncContextManager[Engine]:
        """Open the store for writing, start the sources; on exit drain, fsync and close. `data`: the data folder."""
        ...

    def reader(self, app: Any, data: str | None, settings: Settings) -> AbstractAsyncContextManager[Reader]:
        """Open the store for reading, and what serves beside it under the server's settings."""
        ...


def find(path: str) -> Composition:
    """The composition at `module:name`."""
    module, _, name = path.partition(":")
    try:
        return cast("Composition", getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise DeclarationError(f"there is no composition at {path!r}: {error}", hint="write module:name") from error
