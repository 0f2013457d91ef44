from __future__ import annotations

import json

import pytest

from headrace.models.request import Dialect
from headrace.server.gateway.asked import Lazy, read
from headrace.server.gateway.complaint import Complaint


def encode(**members: object) -> bytes:
    return json.dumps({"model": "m", "messages": []} | members).encode()


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"{", None, "invalid_json"),
        (b"\xff", None, "invalid_json"),
        (b'{"messages": []}', "model", "missing_field"),
        (b'{"model": "m"}', "messages", "missing_field"),
        (encode(messages="hi"), "messages", "invalid_type"),
        (encode(max_tokens="many"), "max_tokens", "invalid_type"),
        (encode(max_tokens=0), "max_tokens", "invalid_value"),
        (encode(n=0), "n", "invalid_value"),
        (encode(tools=[{"type": 1}]), "tools[0].type", "invalid_type"),
        (b"[]", None, "invalid_type"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str | None, code: str) -> None:
    with pytest.raises(Complaint) as caught:
        read(Dialect.CHAT, body).output()
    found = caught.value
    assert (found.status, found.code) == (400, code)
    assert found.param == param


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "the body: Expected `object`, got `array`"),
        (b"", "the body is empty: send a JSON object"),
        (b'{"model": "m", "messages": [', "the body is not JSON: Input data was truncated"),
        (encode(messages=[{"content": "\ud800"}]), "\\ud800 stands without the other half of its pair"),
        (encode(messages=[{"content": "\ud800\\n"}]), "\\ud800 stands without the other half of its pair"),
        (encode(messages=[{"content": "\udc00\ud800"}]), "\\ud800 stands without the other half of its pair"),
        (b'{"model": "m", "messages": ["\\\\ud800", ', "the body is not JSON: Input data was truncated"),
        (b'{"model": "m", "messages": ' + b"[" * 3000 + b"]" * 3000 + b"}", "it is nested too deeply"),
    ],
)
def test_what_is_wrong_is_told_in_words_that_help(body: bytes, words: str) -> None:
    with pytest.raises(Complaint) as caught:
        read(Dialect.CHAT, body)
    assert words in caught.value.message


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert read(Dialect.CHAT, encode(messages=[{"content": "\U0001f600"}])).output() is None


@pytest.mark.parametrize(("new", "old"), [(7, 99), (99, 7), (99, None), (None, 99)])
def test_the_larger_of_two_limits_counts_since_some_servers_know_one_only(new: int | None, old: int | None) -> None:
    assert read(Dialect.CHAT, encode(max_completion_tokens=new, max_tokens=old)).output() == 99


def test_tokens_of_all_answers_count() -> None:
    asked = read(Dialect.CHAT, encode(max_completion_tokens=7, n=3))
    assert (asked.output(), asked.answers()) == (21, 3)
    assert (read(Dialect.CHAT, encode(n=3)).output(), read(Dialect.CHAT, encode(n=3)).answers()) == (None, 3)
    assert read(Dialect.CHAT, encode()).output() is None
    assert read(Dialect.EMBEDDINGS, b'{"model": "m", "input": "x"}').output() == 0


@pytest.mark.parametrize(
    ("dialect", "members", "repeatable"),
    [
        (Dialect.CHAT, {}, True),
        (Dialect.CHAT, {"store": True}, False),
        (Dialect.CHAT, {"tools": [{"type": "function"}]}, True),
        (Dialect.RESPONSES, {}, False),
        (Dialect.RESPONSES, {"store": False}, True),
        (Dialect.RESPONSES, {"store": False, "tools": [{"type": "mcp"}]}, False),
        (Dialect.MESSAGES, {"max_tokens": 5}, True),
        (Dialect.MESSAGES, {"max_tokens": 5, "tools": [{"type": "web_search_20250305"}]}, False),
        (Dialect.MESSAGES, {"max_tokens": 5, "mcp_servers": []}, False),
    ],
)
def test_what_may_run_twice(dialect: Dialect, members: dict[str, object], repeatable: bool) -> None:
    assert read(dialect, encode(**members)).repeatable() is repeatable


def test_session_from_body() -> None:
    assert read(Dialect.CHAT, encode(user="u", prompt_cache_key="c")).session() == "c"
    assert read(Dialect.CHAT, encode(user="u")).session() == "u"
    assert read(Dialect.MESSAGES, encode(max_tokens=1, metadata={"user_id": "a"})).session() == "a"


def test_nulls_are_as_left_out() -> None:
    found = read(Dialect.CHAT, encode(stream=None, max_tokens=None, user=None, tools=None, store=None))
    assert (found.stream, found.output(), found.session(), found.repeatable()) == (None, None, "", True)


def test_document_is_parsed_when_looked_into() -> None:
    lazy = Lazy(b'{"model": "m", "a": [1]}', "m")
    assert (lazy["a"], len(lazy), list(lazy), dict(lazy)) == ([1], 2, ["model", "a"], {"model": "m", "a": [1]})
    assert Lazy(b"no JSON", "m").get("model") == "m"


@pytest.mark.parametrize("where", ["messages", "user", "other"])
def test_bytes_that_are_no_utf_8_are_refused_wherever_they_stand(where: str) -> None:
    """What nobody looks into here is looked into upstream, and would be held against the upstream."""
    body = b'{"model":"m","messages":[{"role":"user","content":"%b"}],"user":"%b","other":"%b"}'
    parts = [b"\xff" if name == where else b"x" for name in ("messages", "user", "other")]
    with pytest.raises(Complaint, match="not JSON") as caught:
        read(Dialect.CHAT, body % tuple(parts))
    assert caught.value.status == 400


@pytest.mark.parametrize("number", ["9" * 5000, "1e999"])
def test_a_number_without_end_is_a_wrong_request(number: str) -> None:
    body = b'{"model":"m","messages":[],"seed":%b}' % number.encode()
    with pytest.raises(Complaint, match="not JSON that can be read"):
        _ = Lazy(body, "m")["seed"]
