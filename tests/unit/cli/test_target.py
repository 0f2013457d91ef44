"""Finding the app, and telling what is wrong with its file by the file's own line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headrace.cli.target import data_folder, load
from headrace.core.errors import DeclarationError


@pytest.mark.parametrize(
    ("target", "folder"),
    [("app.py", ".headrace"), ("a/app.py:shop", "a/.headrace"), ("shop.app", ".headrace"), ("shop.app:x", ".headrace")],
)
def test_data_lies_beside_the_app_file(target: str, folder: str) -> None:
    assert data_folder(target, None) == Path(folder)
    assert data_folder(target, Path("elsewhere")) == Path("elsewhere")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("import math\n\nmath.sqrt(-1)\n", 3, "ValueError"),
        ("x = 1\nif x\n", 2, "SyntaxError"),
        ("import sys\n\nsys.exit(3)\n", 3, "ends Python while it is loaded .sys.exit, status 3"),
        ("\nimport nothing_of_that_name\n", 2, "ModuleNotFoundError"),
        ("import json\n\ndef f():\n    json.loads('{')\n\nf()\n", 4, "JSONDecodeError"),
    ],
)
def test_what_an_app_file_raises_is_told_by_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "app.py"
    file.write_text(text)
    with pytest.raises(DeclarationError, match=message) as caught:
        load(str(file))
    assert caught.value.where == f"{file}:{line}"


def test_a_file_without_an_app_is_told(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("x = 1\n")
    with pytest.raises(DeclarationError, match="0 apps"):
        load(str(file))


@pytest.mark.parametrize("target", [".", "./", "shop/", "./shop", "shop", ".:app", ""])
def test_what_names_no_file_and_no_module_is_told(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(DeclarationError, match=r"is a folder, and an app|there is no module ''") as caught:
        load(target)
    assert caught.value.hint.startswith("give the path of")


def test_a_relative_name_without_a_suffix_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeclarationError, match=r"there is no module './app'"):
        load("./app")


def test_a_folder_may_be_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_shop_of_its_own"
    package.mkdir()
    (package / "__init__.py").write_text('import headrace as hr\napp = hr.App("shop")\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load(package.name).name == "shop"
