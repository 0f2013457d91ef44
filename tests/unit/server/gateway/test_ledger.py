from __future__ import annotations

import itertools
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.models.periods import Spent
from headrace.server.gateway.ledger import Ledger, append, read


def spent(key: str, amount: str) -> Spent:
    return Spent(key, 1, Decimal(amount), 2, Decimal(amount), Decimal(amount))


def test_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "spending.jsonl"
    ledger = Ledger(path, every=0.001)
    assert ledger.start() == []
    for cents in range(1, 50):
        ledger.note(spent("a", f"0.{cents:02}"))
    ledger.note(spent("b", "1.5"))
    assert ledger.close()
    again = Ledger(path)
    assert sorted(again.start(), key=lambda one: one.key) == [spent("a", "0.49"), spent("b", "1.5")]
    again.close()
    assert len(path.read_bytes().splitlines()) == 2


def test_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "spending.jsonl"
    append(path, b'["a",1,"1",2,"1","1"]\n["a",1,"2",2,"2"')
    assert read(path) == [spent("a", "1")]
    ledger = Ledger(path)
    ledger.start()
    ledger.note(spent("a", "3"))
    ledger.close()
    assert read(path) == [spent("a", "3")]


def test_a_write_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    stalled, go = threading.Event(), threading.Event()

    def write(path: Path, data: bytes) -> None:
        stalled.set()
        go.wait(20)
        append(path, data)

    ledger = Ledger(tmp_path / "spending.jsonl", every=0.001, write=write)
    ledger.start()
    ledger.note(spent("a", "0.01"))
    assert stalled.wait(10)
    for number in range(10_000):  # would never return if it waited for the disk
        ledger.note(spent("a", str(number)))
    assert not ledger.close(0.05)
    go.set()
    thread = ledger._thread
    assert thread is not None
    thread.join(10)
    assert read(ledger.path) == [spent("a", "9999")]


def test_a_write_that_fails_is_tried_again(tmp_path: Path) -> None:
    failed = threading.Event()

    def write(path: Path, data: bytes) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(28, "No space left on device")
        append(path, data)

    ledger = Ledger(tmp_path / "spending.jsonl", every=0.001, write=write)
    ledger.start()
    ledger.note(spent("a", "1"))
    assert failed.wait(10)
    assert ledger.close()
    assert read(ledger.path) == [spent("a", "1")]


def test_problem_is_told_while_it_lasts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def write(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    ledger = Ledger(tmp_path / "spending.jsonl", every=0.001, write=write)
    ledger.start()
    ledger.note(spent("a", "1"))
    assert not ledger.close()
    assert "No space left" in ledger.problem
    assert caplog.text.count("tried again") == 1


def test_what_is_noted_while_a_batch_is_taken_is_not_lost(tmp_path: Path) -> None:
    full = itertools.cycle([False, False, True])

    def write(path: Path, data: bytes) -> None:
        if next(full):
            raise OSError(28, "No space left on device")
        append(path, data)

    ledger = Ledger(tmp_path / "spending.jsonl", every=1e-5, write=write)
    ledger.start()
    for number in range(20_000):
        ledger.note(spent(f"k{number % 7}", str(number)))
    full = itertools.repeat(False)
    assert ledger.close()
    found = {one.key: one.in_total for one in read(ledger.path)}
    assert [found[f"k{number % 7}"] for number in range(19_993, 20_000)] == list(range(19_993, 20_000))


def test_a_key_that_spends_little_is_not_kept_waiting_by_others(tmp_path: Path) -> None:
    class Busy(dict[str, Spent]):
        """Somebody notes another key whenever one is taken."""

        def pop(self, key: str) -> Spent:  # type: ignore[override]
            self[f"{key}+"] = spent(key, "1")
            return super().pop(key)

        def popitem(self) -> tuple[str, Spent]:
            key, one = super().popitem()
            self[f"{key}+"] = one
            return key, one

    batches: list[bytes] = []
    ledger = Ledger(tmp_path / "spending.jsonl", write=lambda path, data: batches.append(data))
    ledger._noted = Busy(first=spent("first", "1"), second=spent("second", "1"))
    ledger._batch()
    assert [b'"first"' in batch and b'"second"' in batch for batch in batches] == [True]
