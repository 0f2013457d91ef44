"""What crosses to a model and back is JSON, and what is not is told with its place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headrace.models.local.values import NotJson, items_of, known, to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


class Array:
    """Looks like an array of numpy, or like one of its scalars."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def tolist(self) -> Any:
        return self.value

    def item(self) -> Any:
        return self.value


@dataclass
class Verdict:
    label: str
    score: float


class Share(float):
    """A float of a class of its own, as numpy's are."""

    def tolist(self) -> float:
        return float(self)


class Order(BaseModel):
    amount: float
    day: date


@given(JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    assert msgspec.json.decode(to_json(value)) == value


@given(st.lists(st.floats(), min_size=1, max_size=50))
def test_vectors_with_nan_or_infinity_are_told_with_the_first_place(vector: list[float]) -> None:
    bad = [number for number, value in enumerate(vector) if not math.isfinite(value)]
    if not bad:
        assert msgspec.json.decode(to_json(vector)) == vector
        return
    with pytest.raises(NotJson) as raised:
        to_json({"vector": vector})
    assert raised.value.path == f"$.vector[{bad[0]}]"


def test_large_numbers_whose_sum_is_infinite_are_still_numbers() -> None:
    assert msgspec.json.decode(to_json([1e308, 1e308, 1e308])) == [1e308, 1e308, 1e308]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Array([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.0]]),
        (Array(7), 7),
        ({Array(1): Array(0.5)}, {"1": 0.5}),
        ({1: "a", "b": (1, 2)}, {"1": "a", "b": [1, 2]}),
        ([Verdict("fraud", 0.5)], [{"label": "fraud", "score": 0.5}]),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_values_of_libraries_become_plain(value: Any, expected: Any) -> None:
    assert msgspec.json.decode(to_json(value)) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, {"a": b"raw"}], r"a value of the type bytes, .* at \$\[1\]\.a"),
        (object(), r"a value of the type object, .* at \$"),
        (Array([1 + 2j]), r"a value of the type complex, .* at \$\[0\]"),
        ({True: 1}, r"the key True"),
        ({(1, 2): 1}, r"the key \(1, 2\)"),
        ("\ud800", r"at \$"),
        (Verdict("x", math.inf), r"the number inf, .* at \$\.score"),
    ],
)
def test_what_json_cannot_hold_is_told(value: Any, message: str) -> None:
    with pytest.raises(NotJson, match=message):
        to_json(value)


def test_a_cycle_is_told_and_does_not_hang() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(NotJson, match="100 deep"):
        to_json(cycle)


def test_rows_of_an_array_are_the_outputs() -> None:
    assert items_of(Array([[1], [2]])) == [[1], [2]]
    with pytest.raises(TypeError, match="returned a Array"):
        items_of(Array(1.0))


def test_models_are_their_json_both_ways_and_arrays_inside_are_encoded() -> None:
    order = Order(amount=2.5, day=date(2026, 1, 2))
    assert to_json([order]) == b'[{"amount":2.5,"day":"2026-01-02"}]'
    value = {"order": order, "vector": Array([1.0, 2.0]), "share": Share(0.5)}
    assert msgspec.json.decode(msgspec.json.encode(value, enc_hook=known)) == {
        "order": {"amount": 2.5, "day": "2026-01-02"},
        "vector": [1.0, 2.0],
        "share": 0.5,
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [(Array([math.nan]), r"the number nan.* at \$\[0\]"), (object(), "the type object")],
)
def test_what_is_no_json_inside_is_told(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        msgspec.json.encode([value], enc_hook=known)
