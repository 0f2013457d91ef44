"""The changelog has the form of Keep a Changelog, and its newest version is the package's."""

from __future__ import annotations

import re
from pathlib import Path

from headrace.core.version import VERSION

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_keeps_its_form(root: Path) -> None:
    text = (root / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    for version in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version), version
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= KINDS


def test_a_released_version_is_the_package_version(root: Path) -> None:
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert not released or tuple(map(int, VERSION.split("."))) >= tuple(map(int, released[0].split(".")))
