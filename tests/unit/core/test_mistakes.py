import pytest
from pydantic import ValidationError

from headrace.core.mistakes import mistakes
from headrace.mockllm.settings import MockSettings
from headrace.models.simulation.settings import Simulation


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"upstreams": [{"name": "a", "tier": -1}]},
            ["upstreams.0.tier: it should be greater than or equal to 0, not -1"],
        ),
        ({"upstreams": {"name": "a"}}, ["upstreams: a list is wanted, as in [a, b], not {'name': 'a'}"]),
        ({"upstreams": []}, ["upstreams: at least 1 are wanted, not []"]),
        (
            {"load": {"rate": "fast", "rte": 5}},
            ["load.rate: a number is wanted, not 'fast'", "load.rte: there is no such setting; did you mean 'rate'?"],
        ),
        (
            {"policies": {"timeouts": {"first_token": "soon"}}},
            ["policies.timeouts.first_token: 'soon' is not a duration"],
        ),
        (5, ["the file: names with values are wanted, not 5"]),
        ({"load": {"rate": True}}, ["load.rate: a number is wanted, not True"]),
        ({"upstreams": [{"name": "a", "server": {"slot": 5}}]}, ["upstreams.0.server.slot: there is no such setting;"]),
        (
            {"policies": {"hedge": {"floo": 5}}},
            ["policies.hedge.floo: there is no such setting; did you mean 'floor'?"],
        ),
        (
            {"prices": {"a": {"inptu": 1, "input": 0, "output": 0}}},
            ["prices.a.inptu: there is no such setting; did you"],
        ),
        (
            {"prices": {1: {"input": 0, "output": -1}}},
            ["prices.1: text is wanted", "prices.1.output: it should be great"],
        ),
        ({"upstreams": [{"name": "a"}] * 2}, ["the file: two upstreams are named 'a'"]),
        ({"load": {"output": 1e300}}, ["load.output: a number from 1e-09 to 1e+15 is wanted, not 1e+300"]),
        ({"load": {"output_spread": 1e5}}, ["load.output_spread: it should be less than or equal to 10, not 100000.0"]),
        ({"budgets": {"a": "1e999999"}}, ["budgets.a: it should be less than or equal to 1000000000000000, not '1e9"]),
    ],
)
def test_each_mistake_is_told_once_with_its_place_and_value(given: object, said: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Simulation.model_validate(given)
    found = mistakes(caught.value, "the file", Simulation)
    assert len(found) == len(said), found
    assert all(one.startswith(words) for one, words in zip(found, said, strict=True)), found


def test_what_may_be_a_list_or_a_path_is_told_without_the_words_of_types() -> None:
    with pytest.raises(ValidationError) as caught:
        MockSettings.model_validate({"answers": [{"wiht": "x"}]})
    (found,) = mistakes(caught.value, "the file", MockSettings)
    assert found.startswith(
        "answers.0.wiht: there is no such setting; did you mean 'with'? there are: when, model, from"
    )
