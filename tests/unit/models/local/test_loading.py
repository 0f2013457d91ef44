"""Where a model is loaded is found again by name, as the module that it was."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headrace.core.errors import DeclarationError
from headrace.models.local.loading import Loader, user_line
from headrace.models.local.settings import THREADS, LocalSettings


def load() -> Any:
    return None


async def load_async() -> Any:
    return None


class Models:
    def load(self) -> Any:
        return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def by_path(path: Path, name: str) -> ModuleType:
    """Load a file as an app file is."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_function_of_a_package_is_imported_by_its_name(folder: Path) -> None:
    (folder / "shop_a").mkdir()
    (folder / "shop_a" / "__init__.py").write_text("")
    (folder / "shop_a" / "names.py").write_text("NAME = 'relative'")
    (folder / "shop_a" / "model.py").write_text("from .names import NAME\ndef load(): return NAME")
    import shop_a.model  # type: ignore[import-not-found]

    loader = Loader.of(shop_a.model.load)
    assert loader.module == "shop_a.model"
    del sys.modules["shop_a.model"]
    assert loader.find()() == "relative"


def test_a_file_that_is_shadowed_by_another_of_its_name_is_loaded_by_its_path(folder: Path) -> None:
    (folder / "model_b.py").write_text("def load(): return 'the other'")
    (folder / "inner").mkdir()
    file = folder / "inner" / "model_b.py"
    file.write_text("def load(): return 'mine'")
    loader = Loader.of(by_path(file, "model_b").load)
    del sys.modules["model_b"]
    assert loader.find()() == "mine"


def test_a_name_that_is_not_there_when_the_file_is_read_again_is_told(folder: Path) -> None:
    (folder / "model_c.py").write_text("def load(): pass")
    with pytest.raises(DeclarationError, match=r"model_c has no function 'lod'"):
        Loader.of("model_c:lod").find()


@pytest.mark.parametrize("text", ["model", "model:", ":load", "a/b.py:load", "model:load()", "a..b:load"])
def test_text_that_names_no_function_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"does not say where a model is loaded"):
        Loader.of(text)


@pytest.mark.parametrize("nameless", [lambda: None, functools.partial(load), Models().load, 7])
def test_what_has_no_name_of_its_own_is_refused(nameless: Any) -> None:
    with pytest.raises(DeclarationError, match="cannot be found by its name"):
        Loader.of(nameless)


def test_a_function_inside_another_is_refused() -> None:
    def inner() -> None: ...

    with pytest.raises(DeclarationError, match="cannot be found by its name"):
        Loader.of(inner)


def test_an_async_function_is_refused() -> None:
    with pytest.raises(DeclarationError, match="is async"):
        Loader.of(load_async)


def test_the_line_of_an_error_is_that_of_the_user(folder: Path) -> None:
    file = folder / "model_d.py"
    file.write_text("import json\n\n\ndef load():\n    return json.loads('{')\n")
    with pytest.raises(ValueError) as raised:
        Loader.of("model_d:load").find()()
    assert user_line(raised.value) == f"{file}:5"
    file.with_name("model_e.py").write_text("def load(:\n")
    with pytest.raises(SyntaxError) as wrong:
        Loader.of("model_e:load").find()
    assert user_line(wrong.value) == f"{folder / 'model_e.py'}:1"


def test_threads_are_what_is_asked_for_then_what_is_set_then_a_share() -> None:
    ours = {"MKL_NUM_THREADS": "7", "HOME": "x"}
    assert {LocalSettings(threads=2).environment(ours, 8)[name] for name in THREADS} == {"2"}
    shared = LocalSettings(workers=3).environment(ours, 8)
    assert (shared["MKL_NUM_THREADS"], shared["OMP_NUM_THREADS"], shared["HOME"]) == ("7", "2", "x")
    assert LocalSettings(workers=9).environment({}, 8)["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 0}, "workers = 0"),
        ({"budget": "fast"}, "budget = 'fast': .*is not a duration"),
        ({"budget": 0}, "budget = 0"),
        ({"memory": "lots"}, "memory = 'lots': .*is not a size"),
        ({"max_batches": 3}, "max_batches = 3"),
        ({"threads": 0}, "threads = 0"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        LocalSettings.of(**values)
