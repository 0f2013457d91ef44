"""What is installed: few things, pinned by name and version, under permissive licences."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.!+]*")
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python-2\.0|Zlib|Unlicense|MPL|any-OSI)\b|Python Software Foundation"
)
CORE = {
    "anyio", "apsw", "click", "httptools", "httpx", "msgspec", "prometheus-client", "pydantic", "pyyaml", "rich",
    "sqlglot", "starlette", "uvloop",
}  # fmt: skip
"""The core install. A new name here is a decision: write it down in docs/decisions."""


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_the_core_install_is_what_was_decided(project: dict[str, Any]) -> None:
    assert {canonicalize_name(Requirement(text).name) for text in project["dependencies"]} == CORE


def test_every_requirement_has_a_lower_bound_and_no_cap(project: dict[str, Any]) -> None:
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for text in (text for group in groups for text in group):
        requirement = Requirement(text)
        if requirement.name != "headrace":
            assert [spec.operator for spec in requirement.specifier] == [">="], text


def test_constraints_are_names_and_versions_only(root: Path) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and PIN.fullmatch(line) is None] == []
    assert [line for line in lines if "/" in line or "@" in line] == []


def test_everything_that_we_ask_for_is_pinned(root: Path, project: dict[str, Any]) -> None:
    pinned = {line.split("==")[0] for line in (root / "constraints.txt").read_text().splitlines() if "==" in line}
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = {canonicalize_name(Requirement(text).name) for group in groups for text in group} - {"headrace"}
    assert asked - pinned == set()


def test_what_users_install_is_permissively_licensed(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["mcp"], *extras["sql"], *extras["parquet"]]
    unclear = {name: said for name, said in _licences(wanted) if not PERMISSIVE.search(said)}
    assert unclear == {}


def _licences(wanted: list[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    queue = list(wanted)
    while queue:
        requirement = Requirement(queue.pop())
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        name = canonicalize_name(requirement.name)
        if not applies or name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        meta = found.metadata
        classifiers = [c for c in meta.get_all("Classifier") or [] if c.startswith("License")]
        yield name, " ".join([meta.get("License-Expression") or "", meta.get("License") or "", *classifiers])
        queue.extend(found.requires or [])
