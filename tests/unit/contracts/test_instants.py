"""The law of instants read by the column: what is taken, Pydantic takes with the equal value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.contracts.instants import OtherShape, read_instants
from headrace.core.clock import instant, isoformat

pydantic_reads = pydantic.TypeAdapter(datetime).validate_python
SHAPES = ["%Y-%m-%dT%H:%M:%S{}Z", "%Y-%m-%dT%H:%M:%S{}+00:00", "%Y-%m-%dT%H:%M:%S{}"]
times = st.datetimes(datetime(1000, 1, 1))  # noqa: DTZ001 (naive on purpose: the shapes name the zone)


@given(st.lists(times, min_size=1), st.sampled_from(SHAPES), st.sampled_from([0, 3, 6]))
def test_one_shape_is_read_as_pydantic_reads_it(found: list[datetime], shape: str, decimals: int) -> None:
    fractions = [f".{at.microsecond:06d}"[: decimals and decimals + 1] for at in found]
    texts = [at.strftime(shape).format(fraction) for at, fraction in zip(found, fractions, strict=True)]
    assert read_instants(texts) == [instant(pydantic_reads(text)) for text in texts]


SOUND = "2026-01-31T12:34:56.123456Z"


@given(st.integers(0, len(SOUND) - 1), st.sampled_from('0123456789-+.:TZtz e,[]"_\u0663\u00b2\n'), st.integers(0, 2))
@example(17, "6", 1)
@example(18, "0", 1)
@example(5, "1", 0)
def test_whatever_is_taken_pydantic_takes(position: int, character: str, place: int) -> None:
    texts = [SOUND] * 3
    texts[place] = SOUND[:position] + character + SOUND[position + 1 :]
    try:
        found = read_instants(texts)
    except ValueError:
        return
    assert found == [instant(pydantic_reads(text)) for text in texts]


@given(st.lists(st.text("0123456789-:.TZ", max_size=30), min_size=1, max_size=3))
@example(["2026-01-31T12:34:56.123456", "Z2026-01-31T12:34:56.123456Z"])
@example(["2026-01-31T12:34:60Z"])
@example(["2026-02-29T12:34:50Z"])
@example(["0000-01-01T00:00:00Z"])
@example(["2026-01-31T24:00:00Z"])
@example([""])
def test_nothing_else_is_taken(texts: list[str]) -> None:
    try:
        found = read_instants(texts)
    except ValueError:
        return
    assert found == [instant(pydantic_reads(text)) for text in texts]


def test_more_minutes_than_are_remembered() -> None:
    start = instant(datetime(2026, 1, 1, tzinfo=UTC))
    expected = [start + i * 60_000_000 + i for i in range(25_000)]
    assert read_instants([isoformat(at) for at in expected]) == expected
    assert read_instants([isoformat(at) for at in expected[:3]]) == expected[:3]


def test_the_first_and_the_last_instant() -> None:
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    assert read_instants(["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"]) == [instant(e) for e in ends]
    assert ends[1] - ends[0] > timedelta(days=3_652_058)


def test_mixed_shapes_are_left_to_others() -> None:
    with pytest.raises(OtherShape):
        read_instants(["2026-01-31T12:34:56Z", "2026-01-31T12:34:56+01:00"])
    assert read_instants([]) == []
