"""The page on policies has every setting, with the default that the code has."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace import App
from headrace.models.local.settings import LocalSettings
from headrace.models.settings import Policies
from headrace.pipeline.endpoint import Endpoint

ROW = re.compile(r"^\| `([^`]+)`([^|]*)\| `?([^|`]*)`? \|", re.MULTILINE)
ELSEWHERE = {"path", "description", "max_body", "unknown_fields", "reask", "fallback"}
"""Settings of endpoints that are no policies; docs/how-to/endpoints.md has them."""
NOT_BATCHES = {"load_within", "threads", "memory"}


@pytest.fixture(scope="module")
def told(root: Path) -> dict[str, str]:
    """Defaults by setting; what stands after the name in its cell belongs to it."""
    text = (root / "docs/how-to/policies.md").read_text()
    return {f"{name}{rest.rstrip()}": default for name, rest, default in ROW.findall(text)}


def settings() -> list[tuple[str, str]]:
    policies = Policies()
    return [
        (section, field.name)
        for section in Policies.model_fields
        for field in dataclasses.fields(getattr(policies, section))
        if field.init
    ]


@pytest.mark.parametrize(("section", "name"), settings())
def test_every_setting_of_a_model_is_there(told: dict[str, str], section: str, name: str) -> None:
    given = {section: {name: yaml.safe_load(told[f"{section}.{name}"])}}
    assert Policies.model_validate(given) == Policies()


def test_no_other_setting_is_there(told: dict[str, str]) -> None:
    assert {name for name in told if "." in name} == {f"{section}.{name}" for section, name in settings()}


def defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def test_the_settings_of_endpoints_are_there(told: dict[str, str], root: Path) -> None:
    plain = {name.partition("=")[0] for name in told if "=" in name}
    text = (root / "docs/how-to/policies.md").read_text()
    for name, default in defaults(App.endpoint).items():
        if name in ELSEWHERE:
            continue
        assert name in plain or f"`{name}=" in text, name
        cell = next((one for one in (f"{name}= of an endpoint", f"{name}=") if one in told), None)
        if cell is not None:
            assert told[cell].strip('"') == str(default), name
    assert told["deadline= of an endpoint"] == defaults(App.endpoint)["deadline"]
    assert told["deadline= of a model"] == defaults(App.model)["deadline"]


def test_the_settings_of_versions_are_there(told: dict[str, str]) -> None:
    found = defaults(Endpoint.version)
    assert told["weight= of a version"] == str(found["weight"])
    assert told["shadow= of a version"] == str(found["shadow"])


def test_the_settings_of_batches_are_there(told: dict[str, str]) -> None:
    usual = LocalSettings()
    for name in LocalSettings.model_fields:
        if name not in NOT_BATCHES:
            given = LocalSettings.of(**{name: yaml.safe_load(told[f"{name}="])})
            assert given == usual, name
