"""Runs the demo: a city, an app that follows it, two sides of agents, and a screen."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live as LiveScreen

from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import HeadraceError
from headrace.core.files import write_text
from headrace.demo.app import ORDER_STATUS, RECOMMEND
from headrace.demo.city import City, CityPlan
from headrace.demo.clock import CityClock
from headrace.demo.committer import Committer
from headrace.demo.database import Database
from headrace.demo.feeder import Feeder
from headrace.demo.interview import Interview
from headrace.demo.model import DEFAULT_MODEL, ModelChoice
from headrace.demo.reading import Service
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.screen import plain_line, render, summary
from headrace.demo.twin import Twin
from headrace.demo.watching import Watcher
from headrace.demo.wire import PROMOTIONS
from headrace.demo.world import World

DEFAULT_SECONDS = 60.0
FRAME = 0.25
"""Seconds between two frames of the screen."""
LINE_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""

DEFAULT_SPEED = 60.0
"""City seconds per real second."""
REAL_SPEED = 5.0
"""The same where a real model answers: some six questions a second, asked of both sides, which it can follow."""

Opener = Callable[[Path, CityClock, City, Twin, ModelChoice], AbstractAsyncContextManager[Service]]
"""Opens the running app on a folder."""


def run_demo(
    seconds: float | None = None,
    json_path: Path | str | None = None,
    seed: int = 7,
    batch: Duration = "5m",
    speed: float | None = None,
    plain: bool = False,
    data: Path | str | None = None,
    *,
    postgres: bool = False,
    dsn: str | None = None,
    openai_url: str | None = None,
    openai_model: str | None = None,
    plan: CityPlan | None = None,
    console: Console | None = None,
    opener: Opener | None = None,
) -> Scoreboard:
    """Run the demo and return its figures; ends after `seconds` or at Ctrl-C, with a summary either way.

    Parameters
    ----------
    seconds
        Real seconds to run; a minute if not given.
    json_path
        Where to write the figures as JSON.
    seed
        Fixes the city: what happens in it and what is asked. How fast the app follows is whatever it is.
    batch
        How often the batch twin is reloaded, in city time.
    speed
        City seconds per real second; 60 if not given, and 5 where a real model answers.
    plain
        Lines instead of a screen; always so where there is no terminal.
    data
        The folder of the live store; a temporary one, removed at the end, if not given.
    postgres
        The city writes into a PostgreSQL, and the app follows it: a server in a temporary folder, or the one at `dsn`.
    dsn
        A database in which the demo may make a schema `headrace_demo`, which it removes at its end.
    openai_url, openai_model
        A real model that answers the agents, in place of the mock that runs inside of the demo: the base URL of a
        server that speaks OpenAI's HTTP, and its model. The key is taken from the environment, `OPENAI_API_KEY`.
    plan
        The city; the default one if not given.
    opener
        Opens the app; the real one if not given.

    Raises
    ------
    DeclarationError
        When `batch` is not a duration.
    HeadraceError
        When `data` holds an earlier run already, the folder of `json_path` is not there, or the model gives no answer.
    """
    console = console or Console()
    plan = plan or CityPlan()
    _check_places(json_path, data)
    model = _model(openai_url, openai_model)
    if speed is None:
        speed = DEFAULT_SPEED if model.url is None else REAL_SPEED
    board = Scoreboard(plan, seed=seed, speed=speed, window=parse_duration(batch), model=str(model))
    board.followed = postgres or dsn is not None
    console.print(f"Waking up a city (seed {seed}) and the app that follows it ...", style="dim", highlight=False)
    with _folder(data) as folder, _server(dsn, start=board.followed) as database:
        opener = opener or _real_app(database)
        plain = plain or not console.is_terminal
        show = Show(board, folder, console, opener=opener, plain=plain, dsn=database, model=model)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(show.run(DEFAULT_SECONDS if seconds is None else seconds))
    console.print(summary(board))
    if json_path is not None:
        write_text(Path(json_path), json.dumps(board.to_dict(), indent=2) + "\n")
    return board


def _check_places(json_path: Path | str | None, data: Path | str | None) -> None:
    """Refuse before the run what would fail after it."""
    if json_path is not None and not Path(json_path).absolute().parent.is_dir():
        raise HeadraceError(f"there is no folder for {str(json_path)!r}", hint="make the folder first")
    # Every run begins at the same city instant: on the store of an earlier run its time would go back.
    if data is not None and (Path(data) / PROMOTIONS).exists():
        raise HeadraceError(f"{str(data)!r} holds an earlier run", hint="give another folder, or remove that one")


def _model(url: str | None, name: str | None) -> ModelChoice:
    if url is None and name is not None:
        raise HeadraceError(f"no server was named for the model {name!r}", hint="give --openai-url as well")
    return ModelChoice(url, name or DEFAULT_MODEL)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The fast event loop where there is one; the same as the server's."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _real_app(dsn: str | None) -> Opener:
    from headrace.demo.service import follow_database, open_service  # the server is imported only by who runs it

    if dsn is None:
        return open_service
    return lambda folder, clock, _, twin, model: follow_database(dsn, folder, clock, twin, model)


@contextmanager
def _server(dsn: str | None, *, start: bool) -> Generator[str | None]:
    """The database that the city writes to, if it has one: started here when none is given."""
    if dsn is not None or not start:
        yield dsn
        return
    from headrace.demo.postgres import TemporaryPostgres

    with TemporaryPostgres() as server:
        yield server.dsn


class Show:
    """One run of the demo on one folder."""

    def __init__(
        self,
        board: Scoreboard,
        folder: Path,
        console: Console,
        *,
        opener: Opener,
        plain: bool,
        dsn: str | None,
        model: ModelChoice,
    ) -> None:
        self._dsn = dsn
        self._model = model
        self._board = board
        self._folder = folder
        self._console = console
        self._opener = opener
        self._plain = plain

    async def run(self, seconds: float) -> None:
        """Run for `seconds` real seconds or until interrupted."""
        city = City(self._board.plan, random.Random(self._board.seed))
        clock = CityClock(city.now, self._board.speed)
        twin = Twin({"recommend": RECOMMEND, "order_status": ORDER_STATUS}, clock.now)
        opened = self._opener(self._folder, clock, city, twin, self._model)
        async with self._database() as database, opened as service:
            world = World(city, twin, clock, window=self._board.window)
            feeder = self._producer(world, service, clock, database)
            await feeder.load()
            interview = Interview(
                world, self._board, clock, batch=service.copy, live=service, places=self._model.places
            )
            clock.go()
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(feeder.run())
                asking = group.create_task(interview.run())
                await self._watch(world, clock, seconds)
                asking.cancel()
                sending.cancel()

    def _database(self) -> AbstractAsyncContextManager[Database | None]:
        return nullcontext() if self._dsn is None else Database(self._dsn)

    def _producer(
        self, world: World, service: Service, clock: CityClock, database: Database | None
    ) -> Feeder | Committer:
        if database is None:
            return Feeder(world, service, clock, self._board, promotions=self._folder / PROMOTIONS)
        return Committer(world, database, Watcher(service, clock, self._board), clock, self._board)

    async def _watch(self, world: World, clock: CityClock, seconds: float) -> None:
        """Keep time and the screen until the end or an interrupt."""
        board, began = self._board, clock.monotonic()
        stop, last, line_due = _on_interrupt(), 0, 0.0
        with self._screen() as screen:
            while board.seconds < seconds and not stop.is_set():
                await clock.sleep(min(FRAME, seconds - board.seconds))
                now = clock.monotonic() - began
                if now - board.seconds > FRAME / 2:  # the last frame may be too short to tell a rate
                    board.rates.append((board.events.total() - last) / (now - board.seconds))
                board.seconds, last, board.city_now = now, board.events.total(), world.city.now
                if screen is not None:
                    screen.update(render(board), refresh=True)
                elif now >= line_due:
                    self._console.print(plain_line(board), soft_wrap=True, highlight=False)
                    line_due += LINE_EVERY

    def _screen(self) -> AbstractContextManager[LiveScreen | None]:
        if self._plain:
            return nullcontext()
        return LiveScreen(console=self._console, auto_refresh=False, screen=True)


def _on_interrupt() -> asyncio.Event:
    """An event that the first Ctrl-C, SIGTERM or closed terminal sets: the run ends in order. A second one kills."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        # Windows has no such handlers, and only the main thread may set them: there Ctrl-C ends without a summary.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, interrupted)
    return stop


@contextmanager
def _folder(data: Path | str | None) -> Generator[Path]:
    if data is not None:
        Path(data).mkdir(parents=True, exist_ok=True)
        yield Path(data)
    else:
        with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
            yield Path(folder)
