import io

import pytest
from rich.console import Console

from headrace.core.clock import SECOND
from headrace.demo.figures import Rate
from headrace.demo.plan import MINUTE, CityPlan
from headrace.demo.scoreboard import Scoreboard, Story
from headrace.demo.screen import answers_note, headline, plain_line, render, summary


def board(*, full: bool) -> Scoreboard:
    board = Scoreboard(CityPlan(), seed=7, speed=60.0, window=5 * MINUTE)
    if full:
        board.seconds, board.city_now = 3599.0, board.plan.start + 3600 * 60 * SECOND
        board.events["couriers"] = 12_345_678
        board.rates.extend(float(3000 + 10 * number) for number in range(60))
        for side, share in ((board.batch, 9), (board.live, 10_000)):
            for name in ("sold_out", "failed", "wrong", "wrong_prices"):
                setattr(side, name, Rate(123_456 // share, 123_456))
            side.answering.corrected, side.answering.flagged, side.answering.without_model = 12_345, 678, 90
            for value in range(100):
                side.answering.took.add(value * 90.0)
                side.answering.model.add(value * 80.0)
                side.errors.add(value * 30.0)
                side.ages.add(value * 3.0)
        for value in range(1000):
            board.freshness.add(value / 10)
        board.story = Story("Where is my order o123456 right now?", "cooking " * 20, "picked up", "picked up")
    return board


def drawn(board: Scoreboard, width: int, *, ended: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(summary(board) if ended else render(board))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
@pytest.mark.parametrize("full", [False, True])
def test_the_screen_fits(width: int, height: int, full: bool):
    lines = drawn(board(full=full), width)
    assert len(lines) <= height - 1
    assert max(len(line) for line in lines) <= width


def test_the_screen_shows_both_sides_with_their_counts():
    text = "\n".join(drawn(board(full=True), 100))
    for part in ("batch, every 5m", "live", "13,717 of 123,456", "11.1%", "3,590/s", "p50 50 ms  p99 99 ms", "o123456"):
        assert part in text


def test_the_summary_adds_the_intervals():
    text = "\n".join(drawn(board(full=True), 80, ended=True))
    assert "10.9% to 11.3%" in text
    assert "60-fold" in text
    assert "mock-llm, p50 3920 ms, p99 7840 ms" in text


def test_the_screen_tells_how_answers_came_about_and_only_what_there_is():
    text = "\n".join(drawn(board(full=True), 120))
    assert "p50 4410 ms  p99 8820 ms  90 by the fallback, 678 flagged, 12,345 corrected after a change" in text
    scores = board(full=False)
    scores.live.answering.corrected = 3
    assert answers_note(scores) == "3 corrected after a change"
    scores.unanswered = 2
    assert answers_note(scores) == "2 unanswered, 3 corrected after a change"


def test_the_headline_of_the_summary_is_still_on_a_small_terminal():
    assert len(drawn(board(full=True), 80, ended=True)) <= 23  # and the prompt below it


def test_a_plain_line_is_one_line():
    line = plain_line(board(full=True))
    assert "\n" not in line
    assert "failed orders 11.1% vs 0.0%" in line
    assert "-" in plain_line(board(full=False))


def test_the_headline_says_how_many_times_and_when_it_is_only_a_bound():
    scores = board(full=False)
    assert "waking up" in headline(scores)
    scores.batch.failed, scores.live.failed = Rate(100, 1000), Rate(1, 1000)
    assert headline(scores) == "Failed orders: batch 1 in 10, live 1 in 1,000: 100x fewer"
    scores.live.failed = Rate(0, 1000)
    assert headline(scores) == "Failed orders: batch 1 in 10, live none of 1,000: at least 26x fewer"
