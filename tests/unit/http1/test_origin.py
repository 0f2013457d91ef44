from __future__ import annotations

import pytest

import headrace as hr
from headrace.core.errors import DeclarationError, Misuse
from headrace.http1.origin import Origin


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://[::1", "brackets"),
        ("http://a b", "white space"),
        ("http://a/\n", "white space"),
        ("http://a..b/v1", "'a..b' is no name of a server"),
        (f"http://{'a' * 64}.de", "is no name of a server"),
        ("http://*:80", "'*' is no name of a server"),
        ("http://a:0", "a port is a number from 1 to 65535"),
        ("http://a:99999", "a port is a number"),
        ("http://a:x", "a port is a number"),
        ("ftp://a", "is no http or https URL"),
    ],
)
def test_what_is_no_address_is_told_where_it_is_declared(url: str, said: str) -> None:
    with pytest.raises(Misuse, match=said.replace("*", r"\*")):
        Origin.parse(url)
    with pytest.raises(DeclarationError):
        hr.models.OpenAI(url, model="m")


@pytest.mark.parametrize(
    "url", ["http://user:pw-1@a/v1", "http://user:pw/1@a", "http://user:p w@a", "http://u:pw@[::1"]
)
def test_a_password_in_an_address_is_not_shown(url: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        hr.models.OpenAI(url, model="m")
    assert caught.value.message == "the URL of an upstream holds a user or a password"


@pytest.mark.parametrize(
    "url",
    ["http://[::1]:80/v1", "http://[fe80::1%25eth0]/", "http://my_service:8000/v1", "http://ä.de", "http://a/m@1"],
)
def test_an_address_is_taken(url: str) -> None:
    assert hr.models.OpenAI(url, model="m").origin.host
