"""Notes of unfinished copies: what they say, and when they are believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.sources.postgres.note import FURTHEST, Note, Run, usable

RUN = Run(100, 5000, {9: 77, 8: 78}).adding(9, (0, 16)).adding(8, (0, None))
NOTE = Note("sys", 1, "shape", (RUN,))
HERE = {"system": "sys", "timeline": 1, "end": 100, "shape": "shape", "xmin": 5000, "files": {9: 77, 8: 78}}


def test_a_note_holds_where_nothing_was_rewritten():
    assert usable(NOTE, **HERE) == (RUN,)
    assert usable(None, **HERE) == ()


@pytest.mark.parametrize(
    "other",
    [
        {"system": "other"},
        {"timeline": 2},
        {"shape": "other"},
        {"end": 99},
        {"xmin": 4999},
        {"xmin": 5000 + FURTHEST},
        {"files": {}},
        {"files": {9: 1, 8: 2}},
    ],
)
def test_and_nowhere_else(other):
    assert usable(NOTE, **HERE | other) == ()


def test_a_relation_with_another_file_is_left_out_alone():
    (run,) = usable(NOTE, **HERE | {"files": {9: 77, 8: 1}})
    assert run.covers(9, (0, 16))
    assert not run.covers(8, (0, 16))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"system":"s","timeline":1,"shape":"x","runs":[{"lsn":"0/1"}]}', "null"]
)
def test_what_is_no_note_is_none(text):
    assert Note.parse(text) is None


def test_a_run_that_brought_nothing_is_not_written_down():
    assert Note.parse(replace(NOTE, runs=(RUN, Run(200, 6000, {9: 77}))).text) == NOTE


ranges = st.tuples(st.integers(0, 40), st.integers(1, 10) | st.none()).map(
    lambda one: (one[0], None if one[1] is None else one[0] + one[1])
)


@given(st.lists(ranges, max_size=12), st.integers(0, 60))
def test_joined_ranges_hold_the_same_pages(parts, page):
    run = Run(1, 1, {})
    for part in parts:
        run = run.adding(9, part)
    inside = any(first <= page and (last is None or page < last) for first, last in parts)
    assert run.covers(9, (page, page + 1)) == inside
    assert Note.parse(Note("s", 1, "x", (run,)).text) == Note("s", 1, "x", (run,) if parts else ())
