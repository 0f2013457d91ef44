"""Push: a declaration and nothing else."""

from __future__ import annotations

import pytest

from headrace.core.clock import SECOND, SimulatedClock
from headrace.core.errors import DeclarationError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources import Opening, Push

SCHEMA = Schema("things", TableKind.TABLE, (Column("id", ColumnType.INTEGER),), ("id",))


async def test_it_has_nothing_to_read() -> None:
    push = Push(expect="30s", max_bytes=1_000)
    assert (push.expect, push.max_bytes) == (30 * SECOND, 1_000)
    assert list(await push.open(Opening(SCHEMA, {}, SimulatedClock()))) == []


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(DeclarationError, match="max_bytes=0"):
        Push(max_bytes=0)
