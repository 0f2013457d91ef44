import re

import pytest

from headrace.core.documents import read_yaml
from headrace.core.errors import DeclarationError
from headrace.models.cost import Prices


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: 'c' is there twice"),
        ("yes: 1\ntrue: 2\n", "line 2: 'true' is there twice"),
        ("a: [1", "line 1: this is not YAML"),
        ("a: !!python/object:os.system x", "line 1: a value cannot be read"),
        ("a: 2026-02-31", "a value cannot be read"),
        ("? [1]\n: 2", "line 1: a value cannot be read"),
        ("[" * 3000, "it is nested too deeply"),
    ],
)
def test_what_is_no_document_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_yaml(text)


def test_a_merge_is_no_repetition() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n"
    assert read_yaml(text)["more"] == {"a": 1, "b": 3}
    chain = "a: &a {x: 1}\nlist: [{k: &b {<<: *a, x: 2}}]\nc: {<<: *b}\n"
    assert read_yaml(chain) == {"a": {"x": 1}, "list": [{"k": {"x": 2}}], "c": {"x": 2}}


@pytest.mark.parametrize("name", ["l*e", "*x", "", " ", "a**", "gpt-?", " gpt"])
def test_a_pattern_of_prices_has_one_star_at_its_end(name: str) -> None:
    with pytest.raises(DeclarationError, match=r"prices: models.*one \* at the end"):
        Prices.parse(f'models: {{"{name}": {{input: "1", output: "2"}}}}')
    assert Prices.parse('models: {"*": {input: "1", output: "2"}}').find("any") is not None


@pytest.mark.parametrize("price", ["-1", ".nan", ".inf", "yes", "1e400", "1e-400", "'2,50'"])
def test_a_price_that_is_none_is_told_with_its_place(price: str) -> None:
    with pytest.raises(DeclarationError, match=r"models.a.input: .* not "):
        Prices.parse(f"models: {{a: {{input: {price}, output: 1}}}}")


def test_a_misspelt_price_is_told_with_what_there_is() -> None:
    with pytest.raises(DeclarationError, match=r"models.a.ouput: there is no such setting; did you mean 'output'"):
        Prices.parse("models: {a: {input: 1, ouput: 2}}")


def test_prices_that_are_there_twice_are_refused() -> None:
    with pytest.raises(DeclarationError, match="line 3: 'a' is there twice"):
        Prices.parse("models:\n  a: {input: 1, output: 2}\n  a: {input: 9, output: 9}\n")
