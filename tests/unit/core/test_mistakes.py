import pytest
from pydantic import ValidationError

from headrace.core.mistakes import mistakes
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
            ["load.rate: a number is wanted, not 'fast'", "load.rte: there is no such setting"],
        ),
        (
            {"policies": {"timeouts": {"first_token": "soon"}}},
            ["policies.timeouts.first_token: 'soon' is not a duration"],
        ),
        (5, ["the file: names with values are wanted, not 5"]),
    ],
)
def test_each_mistake_is_told_once_with_its_place_and_value(given: object, said: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Simulation.model_validate(given)
    assert mistakes(caught.value, "the file") == said
