"""The running server against its own OpenAPI document, with inputs that fit it and inputs that do not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from headrace.server.openapi import build
from headrace.server.settings import Settings
from headrace.testing.ports import CATALOG, MemoryPorts

sys.path.insert(0, str(Path(__file__).parent))
from served import serving

ITEM = {"item_id": "i1", "restaurant_id": "r7", "price": 9.5, "stock": 3}

DOCUMENT = build(CATALOG, Settings())
LABELS = [f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in item]
NOT_GUESSED = {
    "POST /validate": "a token cannot be made up from its schema",
}
"""Operations whose good inputs cannot be drawn from their schemas, and why."""
NOT_REJECTED = {
    "POST /push/items": "what does not fit the record is quarantined, one by one",
}
"""Operations that take what does not fit, and why."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    ports = MemoryPorts()
    ports.rows["items"] = {("i1",): ITEM}
    with serving(ports) as url:
        yield url


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("label", LABELS)
def test_the_server_does_what_its_document_says(url: str, label: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operation = next(one.ok() for one in schema.get_all_operations() if one.ok().label == label)
    excluded = [positive_data_acceptance] if label in NOT_GUESSED else []
    excluded += [negative_data_rejection] if label in NOT_REJECTED else []

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=url, excluded_checks=excluded, timeout=10)

    try:
        check()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing fits the document"


def test_the_document_is_openapi_3_1_and_its_schemas_are_schemas(url: str) -> None:
    document = httpx.get(url + "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for path in document["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                Draft202012Validator.check_schema(content["schema"])


def test_a_good_answer_fits_the_documents_schema(url: str) -> None:
    document = httpx.get(url + "/openapi.json").json()
    operation = document["paths"]["/context/menu"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    answer = httpx.get(url + "/context/menu?restaurant_id=r7").json()
    Draft202012Validator(schema).validate(answer)
    assert answer["rows"] == [ITEM]
