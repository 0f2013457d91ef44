"""Parquet: whole files, once they are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.core.changes import BadBytes, Rows
from headrace.core.clock import SimulatedClock
from headrace.core.errors import MissingExtra
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources import Files, Opening, parquet
from headrace.sources.lines import MAX_ROWS
from headrace.sources.tail import PATIENCE, Tail

pytest.importorskip("pyarrow")

SCHEMA = Schema("things", TableKind.TABLE, (Column("id", ColumnType.INTEGER),), ("id",))


def write(path: Path, ids: list[int], row_group_size: int = 1000) -> bytes:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"id": ids}), path, row_group_size=row_group_size)
    return path.read_bytes()


async def read(folder: Path, clock: SimulatedClock, position: str | None = None) -> tuple[Tail, list[Any]]:
    resume = {} if position is None else {"files": position}
    (part,) = await Files(folder).open(Opening(SCHEMA, resume, clock))
    assert isinstance(part, Tail)
    return part, await one_pass(part, clock)


async def one_pass(part: Tail, clock: SimulatedClock) -> list[Any]:
    clock.advance(0.2)
    found: list[Any] = []
    while (batch := await part.next_batch()) is not None and batch.payloads:
        found.append(batch)
    return found


def ids(batches: list[Any]) -> list[int]:
    return [row["id"] for batch in batches for payload in batch.payloads for row in payload.records]


async def test_batches_are_bounded_and_resumed_within_a_row_group(tmp_path: Path) -> None:
    everything = list(range(25_000))
    write(tmp_path / "a.parquet", everything, row_group_size=20_000)
    clock = SimulatedClock()
    part, batches = await read(tmp_path, clock)
    await part.close()
    assert ids(batches) == everything
    assert max(len(ids([batch])) for batch in batches) <= MAX_ROWS
    for number, batch in enumerate(batches):
        part, rest = await read(tmp_path, clock, batch.position)
        assert ids(rest) == ids(batches[number + 1 :])
        await part.close()


async def test_a_half_written_file_waits_until_it_is_complete(tmp_path: Path) -> None:
    data = write(tmp_path / "whole", [1, 2, 3])
    (tmp_path / "a.parquet").write_bytes(data[:-6])
    clock = SimulatedClock()
    part, batches = await read(tmp_path, clock)
    assert batches == []
    (tmp_path / "a.parquet").write_bytes(data)
    assert ids(await one_pass(part, clock)) == [1, 2, 3]
    await part.close()


async def test_a_file_that_stays_half_written_is_told_in_the_end_and_read_when_it_is_completed(tmp_path: Path) -> None:
    data = write(tmp_path / "whole", [1, 2, 3])
    (tmp_path / "a.parquet").write_bytes(data[:-6])
    clock = SimulatedClock()
    part, _ = await read(tmp_path, clock)
    clock.advance(PATIENCE + 1)
    (batch,) = await one_pass(part, clock)
    assert isinstance(batch.payloads[0], BadBytes)
    assert await one_pass(part, clock) == []
    (tmp_path / "a.parquet").write_bytes(data)
    assert ids(await one_pass(part, clock)) == [1, 2, 3]
    await part.close()


async def test_a_damaged_file_goes_to_quarantine_and_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"x" * 40 + b"PAR1")
    write(tmp_path / "b.parquet", [7])
    part, batches = await read(tmp_path, SimulatedClock())
    assert [type(batch.payloads[0]) for batch in batches] == [BadBytes, Rows]
    await part.close()


async def test_without_the_extra_the_install_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(parquet.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"headrace\[parquet\]"):
        await Files(tmp_path / "a.parquet").open(Opening(SCHEMA, {}, SimulatedClock()))
