from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.clock import ClockOffset
from headrace.core.errors import StoreError
from headrace.core.events import Copying
from headrace.core.frontier import Frontier, SourceState
from headrace.store.board import COUNTERS, Board


def test_what_the_engine_writes_readers_see(tmp_path: Path) -> None:
    path = tmp_path / "b"
    engine = Board.create(path, tables=["items", "sales"], views=["top"])
    reader = Board.open(path, tables=["items", "sales"], views=["top"])
    assert reader.frontier("sales") == Frontier(None, None, SourceState.NEVER)
    assert reader.view_as_of("top") is None
    assert reader.watermark("sales") is None
    engine.set_frontier("sales", 0, -5, SourceState.SNAPSHOT)
    engine.changing(["items", "top"], 41)
    engine.publish_commit(41)
    engine.publish_durable(40)
    engine.set_view_as_of("top", 39)
    engine.set_watermark("sales", 38)
    engine.add("items", "late", 2)
    engine.add("items", "late", 3)
    assert reader.frontier("sales") == Frontier(0, -5, SourceState.SNAPSHOT)
    assert (reader.last_change("items"), reader.last_change("sales"), reader.last_change("top")) == (41, 0, 41)
    assert (reader.committed, reader.durable, reader.view_as_of("top"), reader.watermark("sales")) == (41, 40, 39, 38)
    assert reader.counters("items") == {**dict.fromkeys(COUNTERS, 0), "late": 5}
    with pytest.raises(TypeError):
        reader.publish_commit(1)
    engine.close()
    reader.close()


def test_readers_live_through_a_restart_with_the_same_layout(tmp_path: Path) -> None:
    path = tmp_path / "b"
    Board.create(path, tables=["items"]).close()
    reader = Board.open(path, tables=["items"])
    engine = Board.create(path, tables=["items"])
    engine.publish_commit(7)
    assert reader.committed == 7
    assert not reader.retired
    engine.close()
    reader.close()


def test_readers_learn_that_the_layout_changed(tmp_path: Path) -> None:
    path = tmp_path / "b"
    Board.create(path, tables=["items"]).close()
    reader = Board.open(path, tables=["items"])
    Board.create(path, tables=["items", "sales"]).close()
    assert reader.retired
    with pytest.raises(StoreError, match="other tables"):
        Board.open(path, tables=["items"])
    with pytest.raises(StoreError, match="other tables"):
        Board.open(tmp_path / "nothing", tables=["items"])
    reader.close()


def test_a_write_that_was_never_finished_is_not_believed(tmp_path: Path) -> None:
    board = Board.in_memory(tables=["items"])
    board.set_frontier("items", 1, 2, SourceState.RUNNING)
    board._slots[board._table_at["items"]] += 1
    assert board.frontier("items") == Frontier(None, None, SourceState.FAILED)
    board.close()


def test_a_copy_is_shown_until_it_is_over() -> None:
    board = Board.in_memory(tables=["a", "b"], views=["v"])
    assert board.copying("b") is None
    board.set_copying(Copying("b", 10, 40, 1, 4, 99))
    assert board.copying("b") == Copying("b", 10, 40, 1, 4, 99)
    assert board.copying("a") is None
    board.set_copied("b")
    assert board.copying("b") is None


def test_the_error_of_a_clock_is_its_offset_and_how_exactly_that_is_known() -> None:
    board = Board.in_memory(tables=["a", "b"])
    assert board.clock_error("b") is None
    board.set_clock("b", ClockOffset(-30, 4))
    assert (board.clock_error("b"), board.clock_error("a")) == (34, None)
