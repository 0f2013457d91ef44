"""The declaration of files: what it refuses and how it is described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.core.clock import SimulatedClock
from headrace.core.errors import DeclarationError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources import Files, Opening

SCHEMA = Schema("things", TableKind.TABLE, (Column("id", ColumnType.INTEGER),), ("id",))


@pytest.mark.parametrize(
    "options",
    [
        {"format": "xml"},
        {"delimiter": ";;"},
        {"delimiter": '"'},
        {"encoding": "utf-16"},
        {"encoding": "klingon"},
        {"max_line": 0},
        {"poll": "soon"},
    ],
)
def test_what_cannot_be_true_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Files("a.jsonl", **options)


def test_the_description_says_what_is_read_and_how() -> None:
    assert Files("logs", follow=False).describe() == "files logs (each by its suffix), read once"
    assert Files("a.tsv", poll="1s").describe() == "files a.tsv (csv), followed every 1s"


async def test_a_glob_reaches_into_folders_and_tabs_separate_tsv(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.tsv").write_text("id\tname\n1\ta,b\n")
    (part,) = await Files(str(tmp_path / "**" / "*.tsv"), follow=False).open(Opening(SCHEMA, {}, SimulatedClock()))
    batch = await part.next_batch()
    assert batch is not None
    assert [list(p.records) for p in batch.payloads] == [[{"id": "1", "name": "a,b"}]]  # type: ignore[union-attr]
    assert batch.origin.endswith("a.tsv:2")
    await part.close()
