"""Log sequence numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import SourceError
from headrace.sources.postgres.lsn import format_lsn, parse_lsn


@given(st.integers(0, 2**64 - 1))
def test_numbers_come_back_from_their_text(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/0/0", "g/0", "0/123456789", " 0/0", "0/0\n", "0x1/0", "-1/0"])
def test_what_is_no_lsn(text: str) -> None:
    with pytest.raises(SourceError, match="no log sequence number"):
        parse_lsn(text)
