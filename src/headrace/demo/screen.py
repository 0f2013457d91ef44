"""The scoreboard on a terminal: what staleness costs, batch against live, as it happens."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headrace.core.clock import to_datetime
from headrace.core.durations import format_duration
from headrace.demo.figures import Quantiles, Rate, times
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.stories import age

BATCH, LIVE, QUIET = "bold yellow", "bold green", "dim"
_BARS = "▁▂▃▄▅▆▇█"


def render(board: Scoreboard, *, ended: bool = False) -> RenderableType:
    """The whole screen; fits 80 columns and 24 lines."""
    parts: list[RenderableType] = [_title(board, ended), _headline(board), _table(board), _pulse(board)]
    if board.story is not None:
        parts.append(_story(board))
    return Group(*parts)


def plain_line(board: Scoreboard) -> str:
    """One line for a log, where there is no terminal."""
    return (
        f"{_city_time(board)}  {board.events_per_second:,.0f} events/s"
        f"  fresh p50 {_ms(board.freshness.at(0.5))} p99 {_ms(board.freshness.at(0.99))}"
        f"  | batch vs live: sold out {_share(board.batch.sold_out)} vs {_share(board.live.sold_out)}"
        f", failed orders {_share(board.batch.failed)} vs {_share(board.live.failed)}"
        f", wrong answers {_share(board.batch.wrong)} vs {_share(board.live.wrong)}"
        f", courier off {_meters(board.batch.errors.at(0.5))} vs {_meters(board.live.errors.at(0.5))}"
        f"  | {answers_note(board)}"
    )


def summary(board: Scoreboard) -> RenderableType:
    """What is left on the terminal at the end: the figures with their counts and intervals."""
    model = board.live.answering.model
    notes = [
        f" Time ran {board.speed:g} times as fast as yours, so the live side's delays count {board.speed:g}-fold.",
        f" Model of both sides: {board.model}, p50 {_ms(model.at(0.5))}, p99 {_ms(model.at(0.99))}.",
    ]
    # Without the question of the moment, so that the headline is not pushed off a terminal of 24 lines.
    shown = [_title(board, ended=True), _headline(board), _table(board), _pulse(board)]
    told = [Text(note, style=QUIET, no_wrap=True, overflow="ellipsis") for note in notes]
    return Group(*shown, _intervals(board), *told)


def sparkline(values: Iterable[float]) -> str:
    """Small bars, the highest value on top.

    >>> sparkline([0, 1, 2, 4])
    '▁▃▅█'
    """
    heights = list(values)
    top = max(heights, default=0.0)
    if top <= 0:
        return _BARS[0] * len(heights)
    return "".join(_BARS[round(height / top * (len(_BARS) - 1))] for height in heights)


def headline(board: Scoreboard) -> str:
    """The comparison in one sentence; says so when there is nothing to say yet."""
    batch, live = board.batch.failed, board.live.failed
    ratio = times(batch, live)
    if ratio is None or batch.of < 50:
        return f"The city is waking up: {batch.of} orders so far ..."
    value, bound = ratio
    fewer = f"at least {_ratio(value)}" if bound else _ratio(value)
    return f"Failed orders: batch {_one_in(batch)}, live {_one_in(live)}: {fewer} fewer"


def _title(board: Scoreboard, ended: bool) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    what = "ended" if ended else "Ctrl-C ends"
    line.add_row(
        Text.assemble(("headrace", "bold"), "  a food-delivery city, ", (_city_time(board), "bold")),
        Text(f"{board.speed:g}x time, seed {board.seed}, {board.seconds:.0f} s, {what}", style=QUIET),
    )
    return line


def _headline(board: Scoreboard) -> RenderableType:
    return Panel(Text(headline(board), justify="center", style="bold"), border_style="yellow", padding=(0, 1))


def _table(board: Scoreboard) -> RenderableType:
    batch, live = board.batch, board.live
    table = Table(box=None, expand=True, padding=(0, 1), header_style="bold")
    table.add_column("What staleness costs")
    table.add_column(Text(f"batch, every {format_duration(board.window)}", style=BATCH), justify="right")
    table.add_column(Text("live", style=LIVE), justify="right")
    for name, left, right in _rates(board):
        table.add_row(name, _rate(left, BATCH), _rate(right, LIVE))
    table.add_row("courier off by, p50 / p95", _spread(batch.errors, BATCH), _spread(live.errors, LIVE))
    table.add_row("age of context, p50 / p99", _ages(batch.ages, BATCH), _ages(live.ages, LIVE))
    return table


def _pulse(board: Scoreboard) -> RenderableType:
    events = Text.assemble(
        ("events     ", QUIET),
        (f"{board.rates[-1] if board.rates else 0:>6,.0f}/s  ", "bold"),
        (sparkline(list(board.rates)[-24:]), "cyan"),
        (f"  {board.events.total():,} in all", QUIET),
    )
    freshness = Text.assemble(
        ("freshness  ", QUIET),
        (f"p50 {_ms(board.freshness.at(0.5))}  p99 {_ms(board.freshness.at(0.99))}", "bold"),
        (f"  real time, {'commit' if board.followed else 'sent'} to readable, {len(board.freshness):,} samples", QUIET),
    )
    return Panel(Group(events, freshness, _answers(board)), border_style=QUIET, padding=(0, 1))


def _answers(board: Scoreboard) -> Text:
    """How the live side's answers came about, in a line."""
    live = board.live.answering
    return Text.assemble(
        ("answers    ", QUIET),
        (f"p50 {_ms(live.took.at(0.5))}  p99 {_ms(live.took.at(0.99))}", "bold"),
        (f"  {answers_note(board)}", QUIET),
        no_wrap=True,
        overflow="ellipsis",
    )


def answers_note(board: Scoreboard) -> str:
    """What was done about rows that changed between the read and the answer, and about a model that gave none."""
    live = board.live.answering
    parts = [(live.without_model, "by the fallback"), (board.unanswered, "unanswered"), (live.flagged, "flagged")]
    seen = [f"{count:,} {what}" for count, what in parts if count]
    return ", ".join([*seen, f"{live.corrected:,} corrected after a change"])


def _story(board: Scoreboard) -> RenderableType:
    story = board.story
    if story is None:
        return Text()
    lines = Table.grid(padding=(0, 2))
    for name, text, style in (
        ("batch", story.batch, BATCH),
        ("live", story.live, LIVE),
        ("truth", story.truth, "bold"),
    ):
        lines.add_row(Text(name, style=style), Text(text, overflow="ellipsis", no_wrap=True))
    return Panel(lines, title=story.question, title_align="left", border_style=QUIET, padding=(0, 1))


def _intervals(board: Scoreboard) -> RenderableType:
    table = Table(box=None, padding=(0, 1), header_style="bold", expand=True)
    table.add_column("95 % intervals")
    table.add_column("batch", justify="right")
    table.add_column("live", justify="right")
    for name, batch, live in _rates(board):
        table.add_row(name, _bracket(batch), _bracket(live))
    return table


def _rates(board: Scoreboard) -> list[tuple[str, Rate, Rate]]:
    batch, live = board.batch, board.live
    return [
        ("sold-out dishes recommended", batch.sold_out, live.sold_out),
        ("orders that failed", batch.failed, live.failed),
        ("wrong prices shown", batch.wrong_prices, live.wrong_prices),
        ('wrong on "where\'s my order?"', batch.wrong, live.wrong),
    ]


def _bracket(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{low:.1%} to {high:.1%}"


def _rate(rate: Rate, style: str) -> Text:
    return Text.assemble((f"{rate.count:,} of {rate.of:,}  ", QUIET), (f"{_share(rate):>6}", style))


def _spread(errors: Quantiles, style: str) -> Text:
    return Text(f"{_meters(errors.at(0.5))} / {_meters(errors.at(0.95))}", style=style)


def _ages(ages: Quantiles, style: str) -> Text:
    middle, high = ages.at(0.5), ages.at(0.99)
    if middle is None or high is None:
        return Text("-", style=QUIET)
    return Text(f"{age(middle * 1000)} / {age(high * 1000)}", style=style)


def _share(rate: Rate) -> str:
    return "-" if rate.share is None else f"{rate.share:.1%}"


def _meters(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} m"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _ratio(value: float) -> str:
    return f"{value:.0f}x" if value >= 10 else f"{value:.1f}x"


def _one_in(rate: Rate) -> str:
    if not rate.count:
        return f"none of {rate.of:,}"
    return f"1 in {rate.of / rate.count:,.0f}"


def _city_time(board: Scoreboard) -> str:
    return to_datetime(board.city_now or board.plan.start).strftime("%H:%M:%S")
