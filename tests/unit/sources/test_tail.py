"""Following files: whatever happens to them, every complete line comes once."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.changes import BadBytes, Batch, Json
from headrace.core.clock import SimulatedClock
from headrace.core.errors import SourceError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources import Files, Opening, Partition
from headrace.sources.tail import Tail

SCHEMA = Schema("things", TableKind.TABLE, (Column("id", ColumnType.INTEGER),), ("id",))


class Follower:
    """Reads as the runtime does; only what is committed survives a crash."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.clock = SimulatedClock()
        self.position: str | None = None
        self.ids: list[int] = []
        self.bad: list[BadBytes] = []
        self.batches: list[Batch] = []
        self.frontier: int | None = None
        self.part: Partition | None = None

    async def open(self) -> None:
        resume = {} if self.position is None else {Tail.name: self.position}
        (self.part,) = await self.files.open(Opening(SCHEMA, resume, self.clock))

    async def crash(self) -> None:
        await self.close()
        await self.open()

    async def close(self) -> None:
        if self.part is not None:
            await self.part.close()

    async def ask(self) -> Batch | None:
        """One question; what it gave is committed."""
        assert self.part is not None
        batch = await self.part.next_batch()
        if batch is not None:
            self._commit(batch)
        return batch

    async def passes(self, count: int = 2) -> None:
        """Read until `count` whole passes were made."""
        for _ in range(count):
            self.clock.advance(0.2)
            while (batch := await self.ask()) is not None and (batch.payloads or batch.position):
                pass

    def _commit(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.position = batch.position or self.position
        self.frontier = batch.frontier or self.frontier
        for payload in batch.payloads:
            if isinstance(payload, BadBytes):
                self.bad.append(payload)
            else:
                assert isinstance(payload, Json)
                self.ids += [json.loads(line)["id"] for line in payload.data.splitlines() if line.strip()]


@pytest.fixture
async def follow(tmp_path: Path) -> AsyncIterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def make(path: Path | str = tmp_path, **options: object) -> Follower:
        made.append(Follower(Files(path, **options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for follower in made:
        await follower.close()


def lines(*ids: int) -> str:
    return "".join(json.dumps({"id": i}) + "\n" for i in ids)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


async def test_a_half_written_line_waits_for_its_newline(follow: Callable[..., Follower], tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    append(log, lines(1) + '{"id"')
    reader = follow()
    await reader.open()
    await reader.passes()
    assert reader.ids == [1]
    append(log, ": 2}\n")
    await reader.passes()
    assert reader.ids == [1, 2]


async def test_without_following_the_last_line_needs_no_newline(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    append(tmp_path / "a.jsonl", lines(1) + '{"id": 2}')
    reader = follow(follow=False)
    await reader.open()
    while not (batch := await reader.ask()) or not batch.ended:
        pass
    assert reader.ids == [1, 2]
    assert batch.frontier == reader.clock.now()
    assert await reader.ask() is None


async def test_bad_bytes_and_holes_wait_in_quarantine_and_the_rest_goes_on(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id":1}\n\xff\xfe\n{"id":2}\n\0\0\0\n{"id":3,"n":"\xc3\xa9"}\n')
    reader = follow()
    await reader.open()
    await reader.passes()
    assert reader.ids == [1, 2, 3]
    assert [bad.data for bad in reader.bad] == [b"\xff\xfe", b"\0\0\0"]


async def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_read(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    append(tmp_path / "a.jsonl", lines(1) + "x" * 5_000 + "\n" + lines(2))
    reader = follow(max_line=1_000)
    await reader.open()
    await reader.passes()
    assert reader.ids == [1, 2]
    assert len(reader.bad) == 1
    assert "line 2 is longer than 1000 bytes" in reader.bad[0].message
    assert max(len(b.position or "") for b in reader.batches) < 1_000


async def test_a_crash_within_a_line_that_is_too_long_does_not_read_its_rest(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    append(tmp_path / "a.jsonl", "x" * 2_500)
    reader = follow(max_line=1_000)
    await reader.open()
    await reader.passes()
    append(tmp_path / "a.jsonl", "x" * 600 + "\n" + lines(7))
    await reader.crash()
    await reader.passes()
    assert (reader.ids, len(reader.bad)) == ([7], 1)


async def test_the_encoding_is_converted(follow: Callable[..., Follower], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"id":1,"name":"é"}\n'.encode("latin-1"))
    reader = follow(encoding="latin-1")
    await reader.open()
    batch = await reader.ask()
    assert batch is not None
    assert batch.payloads == [Json('{"id":1,"name":"é"}\n'.encode())]


async def test_a_byte_order_mark_is_no_part_of_the_first_line(follow: Callable[..., Follower], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(1).encode())
    reader = follow()
    await reader.open()
    await reader.passes()
    assert reader.ids == [1]


async def test_a_rotated_file_is_read_to_its_end_first_also_after_a_restart(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    append(log, lines(1))
    reader = follow(log)
    await reader.open()
    await reader.passes()
    append(log, lines(2))
    log.rename(tmp_path / "old.1")
    append(log, lines(3))
    await reader.crash()
    await reader.passes()
    append(tmp_path / "old.1", lines(4))
    await reader.passes()
    assert reader.ids == [1, 2, 3, 4]


async def test_what_was_rotated_while_nobody_looked_is_read_too(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    append(tmp_path / "a.jsonl.9", lines(90))  # from before the first start: not asked for
    append(log, lines(1))
    reader = follow(log)
    await reader.open()
    await reader.passes()
    await reader.close()
    for number, name in ((2, "a.jsonl.1"), (3, "a.jsonl.2")):
        append(log, lines(number))
        log.rename(tmp_path / name)
        os.utime(tmp_path / name, ns=(0, (tmp_path / name).stat().st_mtime_ns + number))
    append(log, lines(4))
    shutil.copy(tmp_path / "a.jsonl.1", tmp_path / "a.jsonl.7")
    await reader.open()
    await reader.passes()
    assert sorted(reader.ids) == [1, 2, 3, 4]


async def test_a_file_that_is_rotated_and_deleted_is_still_read(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    append(log, lines(1))
    reader = follow(log)
    await reader.open()
    await reader.passes()
    append(log, lines(2) + '{"id": 3}')
    log.unlink()
    append(log, lines(4))
    await reader.passes()
    assert reader.ids == [1, 2, 3, 4]


async def test_copytruncate_with_the_copy_in_the_folder(follow: Callable[..., Follower], tmp_path: Path) -> None:
    log, copy = tmp_path / "a.jsonl", tmp_path / "a.jsonl.1"
    append(log, lines(1, 2))
    reader = follow()
    await reader.open()
    await reader.passes()
    append(log, lines(3))
    shutil.copy(log, copy)
    await reader.passes()
    append(log, lines(4))
    shutil.copy(log, copy)
    log.write_text("")
    append(log, lines(5))
    await reader.passes()
    assert sorted(reader.ids) == [1, 2, 3, 4, 5]


async def test_two_files_that_say_the_same_are_both_read(follow: Callable[..., Follower], tmp_path: Path) -> None:
    append(tmp_path / "a.jsonl", lines(1))
    reader = follow()
    await reader.open()
    await reader.passes()
    append(tmp_path / "b.jsonl", lines(1))
    await reader.passes()
    assert reader.ids == [1]
    reader.clock.advance(3)
    await reader.passes()
    assert reader.ids == [1, 1]


async def test_the_frontier_stands_still_while_a_copy_is_held_back(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    append(tmp_path / "a.jsonl", lines(1))
    reader = follow()
    await reader.open()
    await reader.passes()
    before = reader.frontier
    append(tmp_path / "b.jsonl", lines(1))
    await reader.passes()
    assert reader.frontier == before


async def test_a_file_that_was_copied_elsewhere_and_back_is_not_read_again(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    append(log, lines(*range(500)))
    reader = follow(log)
    await reader.open()
    await reader.passes()
    await reader.close()
    shutil.copy(log, tmp_path / "copy")
    log.unlink()
    (tmp_path / "copy").rename(log)
    append(log, lines(500))
    await reader.open()
    await reader.passes()
    assert reader.ids == list(range(501))


async def test_a_folder_that_goes_away_is_an_error_and_its_files_are_known_when_it_is_back(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    append(folder / "a.jsonl", lines(1))
    reader = follow(folder)
    await reader.open()
    await reader.passes()
    folder.rename(tmp_path / "away")
    reader.clock.advance(0.2)
    with pytest.raises(SourceError, match="no such folder"):
        await reader.ask()
    (tmp_path / "away").rename(folder)
    append(folder / "a.jsonl", lines(2))
    await reader.passes()
    assert reader.ids == [1, 2]


async def test_compressed_hidden_and_unfinished_names_are_left_out(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    for name in (".a.jsonl", "a.jsonl.gz", "a.jsonl.tmp", "a.jsonl~", "a.txt"):
        append(tmp_path / name, lines(1))
    append(tmp_path / "b.ndjson", lines(2))
    reader = follow()
    await reader.open()
    await reader.passes()
    assert reader.ids == [2]


async def test_a_path_at_which_there_never_was_a_file_has_no_frontier(
    follow: Callable[..., Follower], tmp_path: Path
) -> None:
    reader = follow(tmp_path / "later.jsonl")
    await reader.open()
    await reader.passes(3)
    assert reader.frontier is None
    append(tmp_path / "later.jsonl", lines(1))
    await reader.passes()
    assert (reader.ids, reader.frontier is None) == ([1], False)


async def test_a_missing_folder_is_a_permanent_error(tmp_path: Path) -> None:
    for path in ("nowhere/a.jsonl", "nowhere", "nowhere/*.jsonl"):
        with pytest.raises(SourceError) as caught:
            await Follower(Files(tmp_path / path)).open()
        assert caught.value.permanent


async def test_a_foreign_position_is_a_permanent_error(tmp_path: Path) -> None:
    reader = Follower(Files(tmp_path))
    reader.position = "17"
    with pytest.raises(SourceError, match="not one of files") as caught:
        await reader.open()
    assert caught.value.permanent


class Writer:
    """Writes numbered lines into logs and treats the files as programs and people do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "app.jsonl"
        self.count = 0
        self.half, self.halved = "", 0
        self.rotated = 0
        self.complete: list[int] = []

    def line(self) -> str:
        self.count += 1
        return json.dumps({"id": self.count, "pad": "x" * (self.count % 37)}) + "\n"

    def write(self, count: int) -> None:
        self.finish()
        for _ in range(count):
            append(self.log, self.line())
            self.complete.append(self.count)

    def write_half(self) -> None:
        self.finish()
        text = self.line()
        cut = len(text) // 2
        append(self.log, text[:cut])
        self.half, self.halved = text[cut:], self.count

    def finish(self) -> None:
        if self.half:
            append(self.log, self.half)
            self.complete.append(self.halved)
            self.half = ""

    def rotate(self) -> None:
        """Rename and create; the log stays in the pattern."""
        self.finish()
        if self.log.exists():
            self.rotated += 1
            self.log.rename(self.folder / f"app.jsonl.{self.rotated}")

    def rotate_away(self) -> None:
        """Rename and create; the pattern does not match the log any more. Some of it was read before."""
        self.write(2)
        self.rotated += 1
        self.log.rename(self.folder / f"old-{self.rotated}")

    def new_file(self) -> None:
        self.count += 1
        append(self.folder / f"more-{self.count:05}.jsonl", json.dumps({"id": self.count}) + "\n")
        self.complete.append(self.count)

    def copytruncate(self) -> None:
        self.finish()
        if self.log.exists() and self.log.stat().st_size:
            self.rotated += 1
            shutil.copy(self.log, self.folder / f"app.jsonl.{self.rotated}")
            self.log.open("w").close()

    def truncate(self) -> None:
        """What is in the log is thrown away: only for when all of it was read."""
        self.finish()
        if self.log.exists():
            self.log.open("w").close()

    def replace(self) -> None:
        """A new version of the log with other lines takes its place at once; the old inode is gone."""
        self.finish()
        (self.folder / "app.new").write_text("")
        (self.folder / "app.new").rename(self.log)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 4)),
        st.sampled_from(
            [
                ("write_half",),
                ("rotate",),
                ("new_file",),
                ("copytruncate",),
                ("read_rotate_away",),
                ("read_truncate",),
                ("read_replace",),
                ("read",),
                ("ask",),
                ("crash",),
                ("lose",),
            ]
        ),
    ),
    max_size=40,
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
async def test_whatever_happens_every_complete_line_comes_once(steps: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder))
        reader = Follower(Files(folder, max_line=4_096))
        await reader.open()
        for name, *arguments in steps:
            if name == "read":
                await reader.passes()
            elif name == "ask":
                reader.clock.advance(0.2)
                await reader.ask()
            elif name == "crash":
                await reader.crash()
            elif name == "lose":  # a batch is read and the process dies before it is committed
                reader.clock.advance(0.2)
                assert reader.part is not None
                await reader.part.next_batch()
                await reader.crash()
            elif str(name).startswith("read_"):
                writer.write(1)
                await reader.passes()
                getattr(writer, str(name).removeprefix("read_"))()
            else:
                getattr(writer, str(name))(*arguments)
        writer.finish()
        await reader.passes()
        reader.clock.advance(3)
        await reader.passes(3)
        await reader.close()
        assert sorted(reader.ids) == sorted(writer.complete)
        assert reader.bad == []
