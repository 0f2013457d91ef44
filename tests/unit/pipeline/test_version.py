"""A version changes with what can change an answer, and with nothing else."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

import headrace as hr
from headrace.core.errors import DeclarationError
from headrace.pipeline.prompt import Prompt, files_read
from headrace.pipeline.version import Version, fingerprint, without_secrets

APP = """
    import functools
    import re
    from dataclasses import dataclass
    from pathlib import Path
    import headrace as hr
    from pydantic import BaseModel

    app = hr.App("shop")
    HERE = Path(__file__).parent
    NOTE = str(HERE / "note")
    TONE = "kind"
    WORDS = {"one": 1, "two": [2, 3]}
    SEEN = {"b", "a", "c"}
    PATTERN = re.compile("a+")
    unused = 5

    class Answer(BaseModel):
        text: str

    @dataclass
    class Style:
        lines: int = 3

    STYLE = Style(lines=4)

    def retried(function):
        @functools.wraps(function)
        def wrapper(*given):
            return function(*given)  # once
        return wrapper

    def polite(text):
        return f"Please, {text} {WORDS}"

    @retried
    def prompt(question, extra=TONE):
        # a comment
        return polite(question) + extra + "".join(SEEN) + str(STYLE) + PATTERN.pattern

    def handler(ask, ctx) -> "Answer":
        rows = [prompt(word) for word in ask]
        return Answer(text=str(rows) + NOTE)

    def other():
        return unused
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., ModuleType]:
    """Write an app file and load it, as another process would: in a folder and under a name of its own."""
    numbers = itertools.count()

    def loader(*changes: tuple[str, str], text: str = APP) -> ModuleType:
        text = dedent(text)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        name = f"version_app_{next(numbers)}"
        folder = tmp_path / name
        folder.mkdir()
        (folder / "app.py").write_text(text)
        spec = importlib.util.spec_from_file_location(name, folder / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loader


Load = Callable[..., ModuleType]


@pytest.mark.parametrize(
    "change",
    [
        ("# a comment", "# another\n    # comment\n"),
        ('return f"Please, {text} {WORDS}"', "return (\n        f'Please, {text} {WORDS}'  )"),
        ("unused = 5", "unused = 6"),
        ("return unused", "return unused + 1"),
        ("def other", "\n\n\ndef other"),
        ("def handler", "@app.endpoint('/x', deadline='4s')\ndef handler"),
        ('{"b", "a", "c"}', '{"c", "b", "a"}'),
        ('"one": 1, "two": [2, 3]', '"one": 1,\n    "two": [ 2, 3 ]'),
    ],
)
def test_what_changes_no_answer_leaves_the_version(load: Load, change: tuple[str, str], monkeypatch: Any) -> None:
    monkeypatch.setattr(hr.App, "endpoint", lambda *_, **__: lambda function: function, raising=False)
    assert fingerprint(load(change).handler) == fingerprint(load().handler)


@pytest.mark.parametrize(
    "change",
    [
        ("Please", "Kindly"),
        ('TONE = "kind"', 'TONE = "stern"'),
        ("[2, 3]", "[2, 4]"),
        ('{"b", "a", "c"}', '{"b", "a"}'),
        ('compile("a+")', 'compile("b+")'),
        ("lines=4", "lines=5"),
        ("lines: int = 3", "lines: int = 30"),
        ("text: str", "text: str = ''"),
        ("return function(*given)", "return function(*given) or ''"),
        ("@retried\n", ""),
        ("for word in ask", "for word in ask[:3]"),
        ('-> "Answer"', '-> "Style"'),
        ('HERE / "note"', 'HERE / "notes"'),
        ('"one": 1, "two": [2, 3]', '"two": [2, 3], "one": 1'),
    ],
)
def test_what_can_change_an_answer_changes_the_version(load: Load, change: tuple[str, str]) -> None:
    before, after = fingerprint(load().handler), fingerprint(load(change).handler)
    assert before.changed(after) == ["code"]
    assert before.short != after.short


def test_every_process_finds_the_same(load: Load) -> None:
    module = load()
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from app import handler\nfrom headrace.pipeline.version import fingerprint\nprint(fingerprint(handler).hash)"
    )
    folder = str(Path(str(module.__file__)).parent)
    found = {
        subprocess.run(
            [sys.executable, "-c", program, folder],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2", "77")
    }
    assert found == {fingerprint(module.handler).hash}


def test_neighbours_of_the_app_are_followed_and_installed_packages_are_not(load: Load, tmp_path: Path) -> None:
    text = """
        import sys
        sys.path.insert(0, FOLDER)
        import NAME
        import yaml

        def handler(ask, ctx):
            return yaml.safe_dump(NAME.say(ask))
    """

    def version(name: str, word: str) -> Version:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(
            f"WORD = '{word}'\ndef say(ask):\n    return inner(ask)\ndef inner(a):\n    return a + WORD\n"
        )
        return fingerprint(load(("FOLDER", repr(str(folder))), ("NAME", name), text=text).handler)

    first = version("neighbour_a", "x").hash
    again = version("neighbour_b", "x").hash
    assert first != again  # its name stands in the handler
    module = sys.modules["neighbour_a"]
    handler = next(m for m in list(sys.modules.values()) if getattr(m, "neighbour_a", None) is module).handler  # type: ignore[attr-defined]
    assert fingerprint(handler).hash == first
    module.WORD = "y"
    assert fingerprint(handler).hash != first


def test_lambdas_partials_and_closures_are_seen() -> None:
    def make(word: str) -> Callable[[str], str]:
        return lambda ask: ask + word

    def joined(first: str, second: str) -> str:
        return first + second

    assert fingerprint(make("a")).hash == fingerprint(make("a")).hash
    assert fingerprint(make("a")).hash != fingerprint(make("b")).hash
    assert fingerprint(lambda ask: ask + "a").hash != fingerprint(lambda ask: ask + "b").hash
    assert fingerprint(functools.partial(joined, "a")).hash != fingerprint(functools.partial(joined, "b")).hash


def test_functions_that_call_each_other_come_to_an_end(load: Load) -> None:
    text = """
        def handler(n):
            return n and other(n - 1)
        def other(n):
            return n and handler(n - 1)
    """
    assert fingerprint(load(text=text).handler) == fingerprint(load(text=text).handler)
    assert fingerprint(load(text=text).handler) != fingerprint(load(("n and other", "n or other"), text=text).handler)


def test_a_prompt_in_a_file_counts_and_is_filled(tmp_path: Path, load: Load) -> None:
    (tmp_path / "p.md").write_text("Hello ${name}, $$5")
    first = Prompt(tmp_path / "p.md")
    assert first.fill(name="Ann") == "Hello Ann, $5"
    with pytest.raises(DeclarationError, match="no such value"):
        first.fill()
    (tmp_path / "p.md").write_text("Good day ${name}, $ 5")
    second = Prompt(tmp_path / "p.md")
    with pytest.raises(DeclarationError, match="stands for nothing"):
        second.fill(name="Ann")
    with pytest.raises(DeclarationError, match="cannot be read"):
        Prompt(tmp_path / "none.md")
    text = (
        "from headrace.pipeline.prompt import Prompt\nP = Prompt('PLACE')\ndef handler(ask):\n    return P.fill(a=1)\n"
    )
    before = fingerprint(load(("PLACE", str(tmp_path / "p.md")), text=text).handler, prompts=[first])
    (tmp_path / "p.md").write_text("Bye")
    after = fingerprint(load(("PLACE", str(tmp_path / "p.md")), text=text).handler, prompts=[second])
    assert before.changed(after) == ["code", "prompts"]


def test_a_prompt_lies_beside_the_file_that_declares_it(load: Load, tmp_path: Path) -> None:
    text = "import headrace.pipeline.prompt as p\ndef make():\n    return p.Prompt('beside.md')\n"
    module = load(text=text)
    (Path(str(module.__file__)).parent / "beside.md").write_text("found")
    assert str(module.make()) == "found"


def test_the_files_of_prompts_are_known_as_they_were_when_they_were_read(tmp_path: Path) -> None:
    there, missing = tmp_path / "p.md", tmp_path / "none.md"
    there.write_text("one")
    status = there.stat()
    Prompt(there)
    there.write_text("two and")
    with pytest.raises(DeclarationError):
        Prompt(missing)
    known = files_read()
    assert known[str(there)] == (status.st_mtime_ns, 3)
    assert known[str(missing)] is None


class Item(hr.Record):
    item_id: str
    price: float = hr.Field(gt=0)


class DearerItem(hr.Record):
    item_id: str
    price: float = hr.Field(gt=1)


def shop(sql: str, record: type[hr.Record] = Item, **options: Any) -> dict[str, Any]:
    app = hr.App("shop")
    app.table(record, key="item_id", name="items", **options)
    app.view("menu", sql)
    return {"views": [v.plan for v in app.views.values()], "contracts": [t.contract for t in app.tables.values()]}


MENU = "SELECT item_id, price FROM items WHERE price < :most"


def handler(ask: str) -> str:
    return ask


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (shop("select item_id, price -- all\n FROM items where price<:most"), []),
        (shop(MENU, description="for people", freshness="5s"), []),
        (shop("SELECT item_id, price FROM items WHERE price <= :most"), ["views"]),
        (shop("SELECT item_id, price FROM items WHERE price < :max"), ["views"]),
        (shop(MENU, DearerItem), ["contracts"]),
        (shop(MENU, rules=[hr.Rule("price < 100")]), ["contracts"]),
        (shop(MENU, rules=[hr.Rule(lambda item: item.price < 100, name="cheap")]), ["contracts"]),
        (shop(MENU, new_fields="adopt"), ["contracts"]),
    ],
)
def test_views_and_contracts_count_by_what_they_say(change: dict[str, Any], parts: list[str]) -> None:
    assert fingerprint(handler, **shop(MENU)).changed(fingerprint(handler, **change)) == parts


@dataclass(frozen=True)
class Place:
    name: str
    url: str
    model: str
    key: str = "OPENAI_API_KEY"
    requests_per_minute: float | None = None
    headers: tuple[tuple[str, str], ...] | dict[str, str] = ()
    max_tokens: int = 100
    where: str = ""


@dataclass(frozen=True)
class Declared:
    upstreams: list[Place]
    deadline: float = 4.0
    fallback: str | None = None
    policies: object = None
    where: str = "app.py:3"


PLACE = Place("a", "https://api.example.com/v1", "gpt-x")


@pytest.mark.parametrize(
    ("place", "more", "counts"),
    [
        ({"model": "gpt-y"}, {}, True),
        ({"url": "https://other.example.com/v1"}, {}, True),
        ({"max_tokens": 200}, {}, True),
        ({"headers": {"x-profile": "long"}}, {}, True),
        ({}, {"fallback": "small"}, True),
        ({"key": "ANOTHER"}, {}, False),
        ({"name": "b"}, {}, False),
        ({"url": "https://me:secret@api.example.com/v1?api_key=1"}, {}, False),
        ({"requests_per_minute": 5.0}, {}, False),
        ({}, {"deadline": 9.0, "where": "app.py:4", "policies": object()}, False),
    ],
)
def test_models_count_by_what_answers(place: dict[str, Any], more: dict[str, Any], counts: bool) -> None:
    before = fingerprint(handler, models={"llm": Declared([PLACE])})
    after = fingerprint(handler, models={"llm": Declared([replace(PLACE, **place)], **more)})
    assert before.changed(after) == (["models"] if counts else [])


def test_more_counts_as_well() -> None:
    assert fingerprint(handler, more={"examples": 3}).changed(fingerprint(handler, more={"examples": 4})) == ["more"]


def test_a_text_that_is_no_url_is_left() -> None:
    assert without_secrets("key=1") == "key=1"
    assert without_secrets("http://[broken") == "http://[broken"
