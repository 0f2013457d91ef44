"""Speaking to a server: its errors are raised as themselves, and its absence is told."""

from __future__ import annotations

import pytest

from headrace.cli.remote import Remote
from headrace.core.errors import HeadraceError, UnknownName


def test_an_answer_is_its_json(server) -> None:
    server.answer = {"rows": []}
    assert Remote(server.url).get("/context/menu", {"a": "b c"}) == {"rows": []}
    assert server.asked[0][:2] == ("GET", "/context/menu?a=b+c")


def test_the_key_goes_along(server) -> None:
    server.answer = {}
    Remote(server.url + "/", "secret").post("/quarantine/drop", {"ids": [1]})
    method, path, headers, body = server.asked[0]
    assert (method, path, headers["x-api-key"], body) == ("POST", "/quarantine/drop", "secret", b'{"ids":[1]}')


def test_a_problem_is_raised_as_the_error_that_it_was(server) -> None:
    server.status = 404
    server.answer = {"type": "urn:headrace:problem:unknown-name", "detail": "no view 'menus'", "hint": "menu?"}
    with pytest.raises(UnknownName, match="no view 'menus'") as caught:
        Remote(server.url).get("/context/menus")
    assert caught.value.hint == "menu?"


def test_the_address_of_the_api_of_models_is_told(server) -> None:
    server.status = 404
    server.answer = {"error": {"message": "there is nothing at /v1/freshness", "type": "invalid_request_error"}}
    with pytest.raises(HeadraceError, match="there is nothing at /v1/freshness") as caught:
        Remote(server.url + "/v1").get("/freshness")
    assert caught.value.hint == f"give the root of the server: {server.url}, without /v1"


def test_something_else_at_the_address_is_told(server) -> None:
    server.raw = b"<html>"
    with pytest.raises(HeadraceError, match="not JSON"):
        Remote(server.url).get("/")


def test_nobody_at_the_address_is_told() -> None:
    with pytest.raises(HeadraceError, match="no Headrace answers") as caught:
        Remote("http://127.0.0.1:1").get("/")
    assert "headrace dev" in caught.value.hint
