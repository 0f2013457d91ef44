"""What is found about the place of a live store."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.core.findings import Finding, Grade
from headrace.store import place


def found(folder: Path, **options: int) -> dict[str, Finding]:
    return {finding.what: finding for finding in place.examine_folder(folder, **options)}


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    finding = found(tmp_path / "a" / "b")["writable"]
    assert (finding.grade, "made at the first start" in finding.value) == (Grade.OK, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert found(tmp_path / "data")["writable"].grade is Grade.PROBLEM


@pytest.mark.parametrize(
    ("free", "stored", "grade"),
    [
        (1 << 20, 0, Grade.PROBLEM),
        (1 << 29, 0, Grade.WARNING),
        (2 << 30, 0, Grade.OK),
        (2 << 30, 3 << 30, Grade.WARNING),
    ],
)
def test_room_is_measured_against_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, stored: int, grade: Grade
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert found(tmp_path, stored=stored)["free space"].grade is grade


@pytest.mark.parametrize(
    ("kind", "grade"),
    [
        ("ext4", Grade.OK),
        ("nfs4", Grade.PROBLEM),
        ("cifs", Grade.PROBLEM),
        ("9p", Grade.WARNING),
        ("tmpfs", Grade.WARNING),
    ],
)
def test_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, grade: Grade) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - {kind} /dev/sda1 rw\n")
    monkeypatch.setattr(place, "MOUNTS", mounts)
    monkeypatch.setattr("sys.platform", "linux")
    assert found(tmp_path)["file system"].grade is grade


def test_what_cannot_be_told_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "MOUNTS", tmp_path / "nowhere")
    assert found(tmp_path)["file system"].grade is Grade.UNKNOWN


def test_a_mount_over_another_hides_it() -> None:
    text = "22 1 8:1 / / rw - ext4 a rw\n40 22 0:9 / /mnt rw - xfs b rw\n41 40 0:9 / /mnt rw - nfs4 c rw\n"
    assert place.file_system(Path("/mnt/data"), text) == "nfs4"
