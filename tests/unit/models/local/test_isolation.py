"""Each input has exactly one outcome, in order, whatever the others do."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.models.local.isolation import Fate, answer, answer_json, one_by_one


class Doubles:
    """A model that doubles numbers, raises on "bad", and counts its calls."""

    def __init__(self, error: type[Exception] = ValueError) -> None:
        self.error = error
        self.calls: list[int] = []

    def __call__(self, batch: list[Any]) -> list[Any]:
        self.calls.append(len(batch))
        if "bad" in batch:
            raise self.error("one is bad")
        return [2 * value for value in batch]


@given(st.lists(st.one_of(st.integers(-1000, 1000), st.just("bad")), min_size=1, max_size=64))
def test_the_good_are_answered_and_the_bad_fail_alone(inputs: list[Any]) -> None:
    outcomes = answer(Doubles(), inputs)
    assert len(outcomes) == len(inputs)
    for value, outcome in zip(inputs, outcomes, strict=True):
        if value == "bad":
            assert outcome.fate is Fate.BAD_INPUT
            assert outcome.data == b"ValueError: one is bad"
        else:
            assert (outcome.fate, outcome.data) == (Fate.ANSWERED, str(2 * value).encode())


@given(st.integers(1, 128), st.integers(0, 127))
def test_finding_one_bad_input_takes_a_logarithm_of_calls(size: int, place: int) -> None:
    model = Doubles()
    inputs: list[Any] = list(range(size))
    inputs[place % size] = "bad"
    answer(model, inputs)
    assert len(model.calls) <= 1 + 2 * math.ceil(math.log2(size)) if size > 1 else len(model.calls) == 1


def test_a_model_that_always_fails_is_to_blame_itself() -> None:
    outcomes = answer(Doubles(RuntimeError), ["bad"] * 4)
    assert {outcome.fate for outcome in outcomes} == {Fate.FAILED}
    assert {outcome.fate for outcome in answer(Doubles(RuntimeError), ["bad", 1])} == {Fate.BAD_INPUT, Fate.ANSWERED}


def test_without_time_a_batch_that_fails_is_not_halved() -> None:
    model = Doubles()
    outcomes = answer(model, [1, "bad", 3], may_go_on=lambda: False)
    assert model.calls == [3]
    assert [outcome.fate for outcome in outcomes] == [Fate.FAILED] * 3


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1], b"the model returned 1 outputs for 2 inputs"),
        ({"a": 1, "b": 2}, b"the model returned a dict for a batch"),
        ("ab", b"the model returned a str for a batch"),
        (None, b"the model returned a NoneType for a batch"),
    ],
)
def test_what_is_no_list_of_outputs_is_told(returned: Any, message: bytes) -> None:
    calls: list[int] = []

    def model(batch: list[Any]) -> Any:
        calls.append(len(batch))
        return returned

    outcomes = answer(model, [1, 2])
    assert calls == [2], "it would do the same again"
    assert all(outcome.fate is Fate.FAILED and message in outcome.data for outcome in outcomes)


def test_an_output_that_json_cannot_hold_fails_alone() -> None:
    outcomes = answer(lambda batch: [{"score": value} for value in batch], [0.5, math.nan, 1.5])
    assert [outcome.fate for outcome in outcomes] == [Fate.ANSWERED, Fate.FAILED, Fate.ANSWERED]
    assert outcomes[1].data == b"the model's output has the number nan, which JSON does not have at $.score"


def test_a_model_may_take_its_list_apart() -> None:
    def model(batch: list[Any]) -> list[Any]:
        outputs: list[Any] = []
        while batch:
            outputs.append(1 / batch.pop(0))
        return outputs

    outcomes = answer(model, [1, 0, 2])
    assert [outcome.fate for outcome in outcomes] == [Fate.ANSWERED, Fate.BAD_INPUT, Fate.ANSWERED]


def test_the_traceback_names_the_line_of_the_model() -> None:
    (outcome,) = answer(Doubles(), ["bad"])
    assert 'raise self.error("one is bad")' in outcome.trace
    assert "During handling" not in outcome.trace


@given(st.lists(st.sampled_from([b"1", b"{", b'"bad"', b"[1,]"]), min_size=1, max_size=20))
def test_inputs_that_are_no_json_do_not_reach_the_model(inputs: list[bytes]) -> None:
    outcomes = answer_json(Doubles(), inputs)
    assert [outcome.fate is Fate.ANSWERED for outcome in outcomes] == [data == b"1" for data in inputs]


def test_a_model_of_one_input_is_given_one() -> None:
    (outcome,) = answer(one_by_one(lambda value: value + 1), [41])
    assert outcome.data == b"42"
