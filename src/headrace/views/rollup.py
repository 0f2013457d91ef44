"""A rollup: aggregates of events by key over sliding windows, kept as tiles.

A *tile* holds partial aggregates of one key over one stretch of event time that is `width` long and begins at a
multiple of it. A window of length w at the instant `now` is made of the w / width tiles with

    floor((now - w) / width) * width  <  tile start  <=  now,

so it begins at a tile's edge: it covers the last w up to one tile width (1/60 of the window or less, unless `tile` says
otherwise), and its newest tile is the current one, complete up to the last event. There is no other approximation: a
read equals a scan of the raw events of that same interval (quantiles: within 1 %).

When windows differ much in length, the long ones get wider tiles of their own (a *level*), so that no read touches
more than about 100 tiles a key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.core.durations import Duration, format_duration, parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.views.aggregates import Aggregate, Count, Partial, Reading, Side
from headrace.views.definitions import digest, quoted

_SECOND = 1_000_000
WIDTHS = tuple(
    seconds * _SECOND
    for seconds in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
)
"""Tile widths to choose from, microseconds."""
TILES_PER_WINDOW = 60
"""A window has at least so many tiles, if it is a minute or longer."""
MOST_TILES = 128
"""A window with more tiles than this gets a level of wider tiles."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window by the name that its columns end in, and its length in microseconds."""

    name: str
    length: int


@dataclass(frozen=True, slots=True)
class Level:
    """Tiles of one width (microseconds) and the windows that are read from them."""

    width: int
    windows: tuple[Window, ...]

    @property
    def longest(self) -> int:
        """The longest window, microseconds."""
        return max(window.length for window in self.windows)


class Rollup:
    """A declared rollup.

    Parameters
    ----------
    name
        The name in SQL.
    events
        The schema of the events; it must have an event time.
    by
        The key columns. Events with a NULL among them are not counted, since no key would find them.
    windows
        Lengths, such as "15m" and "24h": whole seconds.
    aggregates
        By name; the output columns are `<name>_<window>`.
    tile
        Width of the tiles; chosen from the windows if not given.
    lateness
        How late an event may come (microseconds); tiles are kept so much longer.

    Raises
    ------
    DeclarationError
        When the events cannot feed it.

    Examples
    --------
    >>> from headrace.views.aggregates import count
    >>> sales = Schema("sales", TableKind.EVENTS, (Column("item", ColumnType.TEXT),
    ...     Column("at", ColumnType.TIMESTAMP)), event_time="at")
    >>> popular = Rollup("popular", sales, by="item", windows=["15m", "24h"], aggregates={"orders": count()})
    >>> [column.name for column in popular.columns]
    ['item', 'orders_15m', 'orders_24h']
    >>> [format_duration(level.width) for level in popular.levels]
    ['15s', '20m']
    """

    def __init__(
        self,
        name: str,
        events: Schema,
        *,
        by: str | Sequence[str],
        windows: Duration | Sequence[Duration],
        aggregates: Mapping[str, Aggregate],
        tile: Duration | None = None,
        lateness: int = 0,
    ) -> None:
        self.name = name
        self.events = events
        self.by = (by,) if isinstance(by, str) else tuple(by)
        self.windows = _windows(name, windows)
        self.aggregates = dict(aggregates)
        self.lateness = lateness
        self._check()
        self.levels = _levels(name, self.windows, None if tile is None else parse_duration(tile))
        self._outputs = {
            f"{output}_{window.name}": (aggregate, window)
            for window in self.windows
            for output, aggregate in self.aggregates.items()
        }
        self.columns = self._columns()

    def _check(self) -> None:
        events = self.events
        if events.kind is not TableKind.EVENTS or events.event_time is None:
            raise DeclarationError(
                f"the rollup {self.name!r} is over {events.name!r}, which has no event time",
                hint='declare the stream with app.events(..., event_time="<a timestamp column>")',
            )
        missing = [column for column in self.by if not events.has(column)]
        if missing or not self.by:
            raise DeclarationError(
                f"the rollup {self.name!r} is by {missing[0] if missing else 'nothing'}, no column of {events.name!r}",
                hint=f"the columns are: {', '.join(events.names)}",
            )
        for column in self.by:
            if events.column(column).type in _NO_KEYS:
                raise DeclarationError(
                    f"the rollup {self.name!r} is by {column!r}, which is {events.column(column).type.value}",
                    hint="group by a column whose equal values are stored equally, such as text or integer",
                )
        if not self.aggregates:
            raise DeclarationError(f"the rollup {self.name!r} computes nothing", hint="add for example orders=count()")
        for output, aggregate in self.aggregates.items():
            if not output.isidentifier() or output.startswith("_"):
                raise DeclarationError(f"{output!r} is no name for an aggregate", hint="use letters, digits and _")
            if not isinstance(aggregate, Aggregate):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DeclarationError(
                    f"{output}={aggregate!r:.80} is no aggregate of {self.name!r}",
                    hint=f'write for example {output}=count(), or {output}=sum("column")',
                )
            aggregate.check(events)

    def _columns(self) -> tuple[Column, ...]:
        keys = [Column(name, self.events.column(name).type) for name in self.by]
        outputs = [
            Column(name, aggregate.type(self.events), aggregate.nullable, f"{aggregate!r} over {window.name}")
            for name, (aggregate, window) in self._outputs.items()
        ]
        clash = {column.name for column in outputs} & set(self.by)
        if clash:
            raise DeclarationError(
                f"the rollup {self.name!r} has two columns {min(clash)!r}", hint="rename the aggregate"
            )
        return (*keys, *outputs)

    @property
    def keys_table(self) -> str:
        """One row a key: `(by..., _source_ts, _txn)`, when its latest event happened and what wrote it."""
        return f"{self.name}__keys"

    def tiles_table(self, level: Level) -> str:
        """The tiles of a level: `(by..., _tile, partials...)`."""
        return f"{self.name}__tiles_{format_duration(level.width)}"

    def side_table(self, level: Level, side: Side) -> str:
        """A side table of a level: `(by..., _tile, _value, _n)`."""
        return f"{self.name}__{side.suffix}_{format_duration(level.width)}"

    @functools.cached_property
    def partials(self) -> tuple[Partial, ...]:
        """The columns of the tiles; `_n` is always among them."""
        found: dict[str, Partial] = {}
        for aggregate in (Count(), *self.aggregates.values()):
            found.update({partial.name: partial for partial in aggregate.partials(self.events)})
        return tuple(found.values())

    @functools.cached_property
    def sides(self) -> tuple[Side, ...]:
        """The side tables."""
        found = {side.suffix: side for aggregate in self.aggregates.values() for side in aggregate.sides(self.events)}
        return tuple(found.values())

    @property
    def tables(self) -> tuple[str, ...]:
        """All physical tables."""
        levels = [(level, side) for level in self.levels for side in self.sides]
        return (
            self.keys_table,
            *(self.tiles_table(level) for level in self.levels),
            *(self.side_table(level, side) for level, side in levels),
        )

    @property
    def retention(self) -> int:
        """How long tiles are needed: the longest window and the lateness, microseconds."""
        return max(window.length for window in self.windows) + self.lateness

    @property
    def definition(self) -> str:
        """A digest of all that decides what the tiles hold."""
        columns = [f"{column.name} {column.type}" for column in self.events.columns]
        outputs = [f"{name}={aggregate!r}" for name, aggregate in sorted(self.aggregates.items())]
        levels = [f"{level.width}/{level.longest}" for level in self.levels]
        return digest("rollup", self.events.name, self.events.event_time or "", *columns, *self.by, *outputs, *levels)

    def expression(self, output: str, alias: str) -> str:
        """Scalar SQL of an output column for the key in the row `alias` of the keys table. Binds `:_now`."""
        aggregate, window = self._outputs[output]
        level = next(level for level in self.levels if window in level.windows)
        sides = {side.suffix: quoted(self.side_table(level, side)) for side in self.sides}
        reading = Reading(quoted(self.tiles_table(level)), sides, self._match(level, window.length, alias))
        return aggregate.read(self.events, reading)

    def exists(self, alias: str) -> str:
        """SQL: the key in the row `alias` of the keys table has an event in the longest window. Binds `:_now`."""
        level = max(self.levels, key=lambda level: level.longest)
        match = self._match(level, level.longest, alias)
        return f"EXISTS (SELECT 1 FROM {quoted(self.tiles_table(level))} _t WHERE {match})"

    def _match(self, level: Level, length: int, alias: str) -> str:
        keys = [f"_t.{quoted(column)} = {quoted(alias)}.{quoted(column)}" for column in self.by]
        edge = f"(:_now - {length}) / {level.width} * {level.width}"
        return " AND ".join([*keys, f"_t._tile > {edge}", "_t._tile <= :_now"])

    def statement(self) -> str:
        """SQL that reads one key, bound by the names of the key columns and `:_now`.

        The result has the rollup's columns, then `_source_ts` and `_txn`.
        """
        shown = [f'"p".{quoted(column)} AS {quoted(column)}' for column in self.by]
        shown += [f"{self.expression(name, 'p')} AS {quoted(name)}" for name in self._outputs]
        keys = [f'"p".{quoted(column)} = :{column}' for column in self.by]
        where = " AND ".join([*keys, self.exists("p")])
        return (
            f'SELECT {", ".join(shown)}, "p"._source_ts, "p"._txn FROM {quoted(self.keys_table)} AS "p" WHERE {where}'
        )


_NO_KEYS = frozenset({ColumnType.REAL, ColumnType.DECIMAL, ColumnType.JSON, ColumnType.BYTES})


def _windows(name: str, windows: Duration | Sequence[Duration]) -> tuple[Window, ...]:
    given: Sequence[Duration] = windows if isinstance(windows, list | tuple) else [windows]  # pyright: ignore[reportAssignmentType, reportUnknownVariableType]
    if not given:
        raise DeclarationError(f"the rollup {name!r} has no window", hint='write for example windows=["15m", "24h"]')
    found: list[Window] = []
    for text in given:
        length = parse_duration(text)
        if length % _SECOND:
            raise DeclarationError(f"the window {text!r} of {name!r} is not whole seconds", hint='write "1s" or more')
        plain = isinstance(text, str) and re.fullmatch(r"\w+", text)
        found.append(Window(text if isinstance(text, str) and plain else format_duration(length), length))
    if len({window.name for window in found}) < len(found):
        raise DeclarationError(f"the rollup {name!r} names a window twice", hint="name each window once")
    return tuple(found)


def _levels(name: str, windows: tuple[Window, ...], tile: int | None) -> tuple[Level, ...]:
    if tile is not None:
        wrong = [window.name for window in windows if window.length % tile]
        if wrong:
            raise DeclarationError(
                f"the window {wrong[0]} of {name!r} is not a multiple of the tile {format_duration(tile)}",
                hint="take a tile that divides all windows",
            )
        return (Level(tile, windows),)
    levels: list[Level] = []
    rest = sorted(windows, key=lambda window: window.length)
    while rest:
        width = _width(rest[0].length)
        near = [w for w in rest if w is rest[0] or (w.length % width == 0 and w.length // width <= MOST_TILES)]
        levels.append(Level(width, tuple(near)))
        rest = [window for window in rest if window not in near]
    return tuple(levels)


def _width(length: int) -> int:
    fitting = [width for width in WIDTHS if width <= length / TILES_PER_WINDOW and length % width == 0]
    return max(fitting, default=_SECOND)
