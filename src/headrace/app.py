"""The face of the package: declare an app, run it in this process, load it from a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.core.clock import Clock, SystemClock
from headrace.core.errors import DeclarationError, HeadraceError
from headrace.core.events import Recorder
from headrace.core.targets import a_folder, check_place
from headrace.declaration.declaration import Declaration
from headrace.declaration.place import place_of
from headrace.models.provider import Provider
from headrace.models.reply import Caller
from headrace.portal import SyncPortal
from headrace.runtime.desk import check
from headrace.runtime.live import Live


class App(Declaration):
    """An AI app's data: declared once, then fed, served and watched.

    Examples
    --------
    >>> import headrace as hr
    >>> app = hr.App("food-delivery")
    >>> class Item(hr.Record):
    ...     item_id: str
    ...     restaurant_id: str
    ...     price: float = hr.Field(gt=0)
    ...     stock: int = hr.Field(ge=0)
    >>> items = app.table(Item, key="item_id", index=["restaurant_id"], freshness="2s")
    >>> menu = app.view("menu", "SELECT item_id, price FROM items WHERE restaurant_id = :restaurant_id AND stock > 0")
    """

    @asynccontextmanager
    async def run(
        self,
        *,
        data: str | Path = ".headrace",
        clock: Clock | None = None,
        models: Mapping[str, Caller | Provider] | None = None,
        recorder: Recorder | None = None,
    ) -> AsyncGenerator[Live]:
        """Run the app in this process: read its sources, keep its views, answer reads.

        Parameters
        ----------
        data
            The folder of the live store; made if it is not there.
        clock
            What time it is; the machine's clock if not given.
        models
            What stands in for declared models, by their names: a `headrace.testing.ScriptedModel` for the whole model,
            or an upstream such as `models.OpenAI(mock.base_url)` for all its upstreams.
        recorder
            Hears of each answer of an endpoint (`core.events.Answered`) and each call to a model (`ModelCalled`). Its
            `record(event)` is called on the way of requests: it must return at once and must not raise.

        Raises
        ------
        UnknownName
            `models` names one that is not declared.
        StoreLocked
            Another process runs on this folder.
        MigrationRefused
            The declaration changed in a way that the stored rows cannot follow.
        DeclarationError
            A model could not be loaded; or this process is a worker of a local model.
        """
        async with Live(self, data=Path(data), clock=clock or SystemClock(), models=models, recorder=recorder) as live:
            yield live

    @contextmanager
    def run_sync(
        self,
        *,
        data: str | Path = ".headrace",
        clock: Clock | None = None,
        models: Mapping[str, Caller | Provider] | None = None,
        recorder: Recorder | None = None,
    ) -> Generator[Any]:
        """The same for code that is not async: `with app.run_sync() as live: live.menu(restaurant_id="r7")`."""
        with SyncPortal(lambda: self.run(data=data, clock=clock, models=models, recorder=recorder)) as live:
            yield live


def load_app(target: str | Path) -> App:
    """The one `App` of a Python file (`app.py`), of a module (`package.module`), or a named one (`app.py:app`).

    Raises
    ------
    DeclarationError
        When there is no such file, no app in it, or more than one; and for whatever goes wrong while the file runs,
        with the file's own line.
    """
    app = _find(str(target))
    check(app)
    return app


def _find(target: str) -> App:
    place, _, name = target.partition(":")
    module = _load(place)
    found = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if name:
        if name in found:
            return found[name]
        raise DeclarationError(f"{place} has no app {name!r}", hint=f"it has: {', '.join(found) or 'none'}")
    apps = {id(app): app for app in found.values()}
    if len(apps) != 1:
        raise DeclarationError(
            f"{place} has {len(apps)} apps, and one is needed",
            hint='write app = headrace.App("name")' if not apps else f"say which: {place}:{next(iter(found))}",
        )
    return next(iter(apps.values()))


def _load(place: str) -> ModuleType:
    check_place(place)
    try:
        return _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    except DeclarationError as error:
        error.where = error.where or place_of(error)
        raise
    except HeadraceError:
        raise
    except SystemExit as error:  # else it would end the command, or the server, without a word
        raise DeclarationError(
            f"the file ends Python while it is loaded (sys.exit, status {error.code})",
            hint='keep what is not the declaration under: if __name__ == "__main__":',
            where=place_of(error),
        ) from error
    # The boundary to user code: an app file can raise anything, and its author needs the line of that file.
    except Exception as error:
        hint = "the file raised this while it was loaded; `headrace explain APP --debug` shows the whole traceback"
        said: object = error
        if isinstance(error, SyntaxError):  # its text has the line once more
            said, hint = error.msg, "Python cannot read the file: correct this line, or one above it"
        raise DeclarationError(f"{type(error).__name__}: {said}", hint=hint, where=place_of(error)) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise DeclarationError(
            f"there is no file {str(path)!r}", hint="give the path of the file that declares the app"
        )
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # so that the app file can import its neighbours, as if it were run
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"{str(path)!r} is not a Python file", hint="give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # Pydantic looks annotations up in the module of the class
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    missing = DeclarationError(
        f"there is no module {name!r}", hint="give the path of a file, app.py, or an importable module"
    )
    if not name or name.startswith("."):  # no whole name of a module
        raise missing
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise missing from None
        raise
    if module.__spec__ is not None and module.__spec__.origin is None:  # a folder without a file of its own
        raise a_folder(name.replace(".", "/"))
    return module
