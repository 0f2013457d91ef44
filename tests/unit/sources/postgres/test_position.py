"""The text of a position says what it was made of, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import SourceError
from headrace.sources.postgres.position import Place, Standing

lsns = st.integers(0, 2**64 - 1)
places = st.builds(Place, st.integers(1, 2**32 - 1), st.just(0))
standings = st.builds(
    Standing, st.text(), st.integers(1, 2**31), lsns, st.dictionaries(st.text(), places), st.booleans()
)


@given(standings)
def test_a_text_reads_back(standing):
    assert Standing.parse(standing.text) == standing


@given(standings, lsns)
def test_a_place_never_goes_back(standing, lsn):
    assert standing.at(lsn).lsn == max(standing.lsn, lsn)
    assert not standing.at(lsn).new


def test_a_table_that_was_copied_later_is_ahead_until_the_stream_has_passed():
    standing = Standing("7", 1, 16, {"items": Place(1, 32), "old": Place(2)})
    assert (standing.after("items"), standing.after("old")) == (32, 16)
    assert "after" in standing.text
    assert "after" not in standing.at(32).text


@pytest.mark.parametrize(
    "text", ["", "7", "[]", "{}", '{"system":1,"timeline":"x","lsn":"0/0","tables":{}}', "orders:4"]
)
def test_what_is_no_position_is_refused(text):
    with pytest.raises(SourceError, match=r"is not that of a PostgreSQL stream|no log sequence number"):
        Standing.parse(text)
