"""The garbage collector is off in the block only, and never left off."""

from __future__ import annotations

import gc
import threading

import pytest

from headrace.core.collector import CollectorPause


def test_is_on_again_after_the_block() -> None:
    with CollectorPause():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_is_on_again_after_an_error() -> None:
    with pytest.raises(ValueError, match="no"), CollectorPause():
        raise ValueError("no")
    assert gc.isenabled()


def test_blocks_inside_one_another() -> None:
    with CollectorPause():
        with CollectorPause():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_blocks_of_two_threads_that_overlap() -> None:
    first, second = CollectorPause(), CollectorPause()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_stays_off_where_the_user_turned_it_off() -> None:
    gc.disable()
    try:
        with CollectorPause():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_block_that_ends_while_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = CollectorPause(), CollectorPause()
    first.__enter__()
    ending = threading.Thread(target=first.__exit__, args=(None, None, None))
    asked = gc.isenabled

    def asked_while_the_other_ends() -> bool:
        answer = asked()
        ending.start()
        ending.join(0.2)
        return answer

    monkeypatch.setattr(gc, "isenabled", asked_while_the_other_ends)
    second.__enter__()
    monkeypatch.undo()
    ending.join()
    second.__exit__(None, None, None)
    assert gc.isenabled()
