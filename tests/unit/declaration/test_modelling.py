"""Declaring models: what is taken, and what is refused on its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.core.errors import DeclarationError

URL = "http://127.0.0.1:8000/v1"


def app() -> hr.App:
    return hr.App("t")


def test_a_model_is_a_value_with_its_place() -> None:
    one = app()
    model = one.model("llm", [hr.models.OpenAI(URL, model="m")], deadline="4s", policies={"hedge": {"floor": "200ms"}})
    assert one.models == {"llm": model}
    assert (model.deadline, model.policies.hedge.floor, model.policies.retry.attempts) == (4.0, 0.2, 3)
    assert __file__ in model.where


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda one: one.model("9", hr.models.OpenAI(URL)), "not a name"),
        (lambda one: one.model("a", []), "has no upstreams"),
        (lambda one: one.model("a", ["http://x"]), "'http://x' is not an upstream"),
        (lambda one: one.model("a", "http://x"), "'http://x' is not an upstream"),
        (lambda one: one.model("a", None), "None is not an upstream"),
        (lambda one: one.model("a", hr.models.OpenAI(URL), policies="hedge"), "policies='hedge' does not say"),
        (lambda _: hr.models.Local("m:load", budget="20 apples"), r"budget = '20 apples': '20 apples' is not a"),
        (lambda one: one.model("a", [hr.models.OpenAI(URL), hr.models.OpenAI(URL)]), "are called"),
        (lambda one: one.model("a", hr.models.OpenAI(URL), fallback="b"), "no model that was declared"),
        (lambda one: one.model("a", hr.models.OpenAI(URL), policies={"hedge": {"flor": 1}}), "hedge.flor"),
        (lambda one: one.model("a", hr.models.OpenAI(URL), policies={"retry": {"attempts": 0}}), "attempts"),
        (lambda one: one.model("a", hr.models.OpenAI(URL), prices="nowhere.yaml"), "cannot be read"),
        (lambda one: one.model("a", hr.models.OpenAI(URL), deadline="soon"), "not a duration"),
        (lambda _: hr.models.OpenAI("127.0.0.1:8000"), "no http or https URL"),
        (lambda _: hr.models.OpenAI("ftp://x"), "no http or https URL"),
        (lambda _: hr.models.OpenAI("http://x/a b"), "percent-encoded"),
        (lambda _: hr.models.OpenAI(URL, key="sk-abc"), "name of an environment variable"),
        (lambda _: hr.models.OpenAI(URL, key=3), "name of an environment variable"),  # type: ignore[arg-type]
        (lambda _: hr.models.OpenAI("http://u:secret@x/v1"), "user or a password"),
        (lambda _: hr.models.OpenAI(URL, headers={"Content-Length": "1"}), "no header that can be set"),
        (lambda _: hr.models.OpenAI(URL, headers={"a": "x\r\nb: c"}), "no header has"),
        (lambda _: hr.models.OpenAI(URL, headers={"x": 1}), "value of the header 'x' is no text, but int"),  # type: ignore[dict-item]
        (lambda _: hr.models.OpenAI(URL, headers={"x": b"secret"}), "is no text, but bytes"),  # type: ignore[dict-item]
        (lambda _: hr.models.OpenAI(URL, headers={1: "x"}), "1 is no name of a header"),  # type: ignore[dict-item]
        (lambda _: hr.models.OpenAI(URL, headers=[("x", "y")]), "are list, not names"),  # type: ignore[arg-type]
        (lambda _: hr.models.Anthropic(headers=[("x", "y")]), "are list, not names"),  # type: ignore[arg-type]
        (lambda _: hr.models.Anthropic(version=2), "'anthropic-version' is no text, but int"),  # type: ignore[arg-type]
        (lambda _: hr.models.OpenAI(URL, key_header=3), "3 is no name of a header"),  # type: ignore[arg-type]
        (lambda _: hr.models.OpenAI(f"{URL}/chat/completions?key=secret"), "ends in the path of a request"),
        (lambda _: hr.models.OpenAI(URL, tier=-1), "tier"),
        (lambda _: hr.models.OpenAI(URL, requests_per_minute=0), "requests_per_minute"),
    ],
)
def test_what_cannot_be_is_refused(declare: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message) as caught:
        declare(app())
    assert caught.value.hint
    assert "sk-abc" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_to_be_written_is_said_and_on_which_line() -> None:
    one = app()
    for declare, hint in (
        (lambda: one.model("a", URL), 'write hr.models.OpenAI("http'),  # type: ignore[arg-type]
        (lambda: one.model("a", hr.models.OpenAI(URL), policies="hedg"), "did you mean 'hedge'?"),  # type: ignore[arg-type]
        (lambda: one.model("a", hr.models.OpenAI(URL), prices="no.yaml"), "a relative path starts at"),
        (lambda: hr.models.Local("m:load", memory="much"), 'write for example memory="2GiB"'),
    ):
        with pytest.raises(DeclarationError) as caught:
            declare()
        assert hint in caught.value.hint
        assert __file__ in caught.value.where or "Local" in caught.value.hint


def test_a_name_is_taken_once() -> None:
    one = app()
    one.model("llm", hr.models.OpenAI(URL))
    with pytest.raises(DeclarationError, match=r"declared at .*test_modelling"):
        one.model("llm", hr.models.OpenAI(URL))


def test_a_view_and_a_model_have_different_names() -> None:
    class Item(hr.Record):
        item_id: str

    one = app()
    one.table(Item, key="item_id")
    one.view("shelf", "SELECT item_id FROM items")
    with pytest.raises(DeclarationError, match=f"'shelf' is taken by the view declared at {__file__}:"):
        one.model("shelf", hr.models.OpenAI(URL))
    one.model("llm", hr.models.OpenAI(URL))
    with pytest.raises(DeclarationError, match=f"'llm' is taken by the model declared at {__file__}:"):
        one.view("llm", "SELECT item_id FROM items")


def test_secrets_are_not_shown() -> None:
    provider = hr.models.OpenAI(f"{URL}?api-key=secret", headers={"x-key": "secret"}, key="SOME_KEY")
    assert "secret" not in f"{provider!r} {provider.describe()} {provider.name}"


def test_prices_stand_beside_the_file_that_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prices.yaml").write_text('models: {m: {input: "1", output: "2"}}')
    (tmp_path / "app.py").write_text(
        "import headrace as hr\n"
        "app = hr.App('t')\n"
        f"app.model('llm', hr.models.OpenAI({URL!r}, model='m'), prices='prices.yaml')\n"
    )
    loaded = hr.load_app(tmp_path / "app.py")
    assert loaded.models["llm"].prices.find("m") is not None


def test_upstreams_of_the_fallback_come_after_all_others() -> None:
    one = app()
    shared = hr.models.OpenAI("http://127.0.0.1:9000/v1", name="shared")
    one.model("tiny", [hr.models.OpenAI(URL, name="x", model="t")])
    one.model("small", [hr.models.OpenAI(URL, name="x"), shared], fallback="tiny")
    model = one.model(
        "llm", [hr.models.OpenAI(URL, name="x"), shared, hr.models.OpenAI(URL, name="y", tier=1)], fallback="small"
    )
    specs = [(spec.name, spec.tier, spec.model) for spec, _ in model.named().values()]
    assert specs == [
        ("x", 0, "llm"),
        ("shared", 0, "llm"),
        ("y", 1, "llm"),
        ("small/x", 2, "small"),
        ("tiny/x", 3, "t"),
    ]


def test_a_name_is_made_of_the_address_and_the_model() -> None:
    assert hr.models.OpenAI(URL, model="m").name == "127.0.0.1:8000/m"
    assert hr.models.Anthropic(model="c").name == "api.anthropic.com/c"
    assert hr.models.Http("http://h/predict").name == "h"


@pytest.mark.parametrize("kind", [hr.models.OpenAI, hr.models.Anthropic])
@pytest.mark.parametrize(
    ("url", "instead"),
    [
        (f"{URL}/chat/completions", f"address: '{URL}'"),
        (f"{URL}/responses/", f"address: '{URL}'"),
        (f"{URL}/messages", f"address: '{URL}'"),
        ("http://h/embeddings", "address: 'http://h/v1'"),
        ("http://h/d/m/chat/completions?api-version=1", "address: 'http://h/d/m', with the query"),
    ],
)
def test_the_address_of_one_path_of_an_api_is_refused(kind: Any, url: str, instead: str) -> None:
    with pytest.raises(DeclarationError, match="ends in the path of a request") as caught:
        kind(url)
    assert caught.value.hint.endswith(instead)
    assert hr.models.Http(url).url == url.partition("?")[0].rstrip("/"), "this kind wants the whole address"
