from __future__ import annotations

import logging

import pytest

from headrace.core.errors import DeclarationError
from headrace.server.guard import Guard
from headrace.server.settings import Settings, is_loopback, load_keys

KEYS = ("first-key-0123456789", "second-key-0123456789")


def status(guard: Guard, path: str = "/context/menu", **headers: str) -> int | None:
    given = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    refusal = guard.refuse(path, given)
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8787", "localhost:1", "LOCALHOST", "[::1]:8787", "[::1]", "127.1.2.3", "box"]
)
def test_hosts_that_are_this_machine(host: str) -> None:
    assert status(Guard(Settings(allowed_hosts=("Box",))), host=host) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1", "[::2]", "é"]
)
def test_other_hosts_are_refused(host: str) -> None:
    assert status(Guard(Settings()), host=host) == 421


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:1", "https://box"])
def test_pages_of_this_machine(origin: str) -> None:
    assert status(Guard(Settings(allowed_hosts=("box",))), host="localhost", origin=origin) is None


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://[[",
        "http://[foo",
        "http://127.0.0.1@evil",
    ],
)
def test_foreign_pages_are_refused(origin: str) -> None:
    assert status(Guard(Settings()), host="localhost", origin=origin) == 403


def test_behind_a_proxy_any_host_is_right_but_a_key_is_needed() -> None:
    guard = Guard(Settings(host="0.0.0.0", api_keys=KEYS))
    assert status(guard, host="shop.example") == 401
    assert status(guard, host="shop.example", x_api_key=KEYS[1]) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEYS[0]}"},
        {"authorization": f"bearer {KEYS[1]}"},
        {"authorization": f"Bearer  {KEYS[1]} "},
        {"x_api_key": KEYS[0]},
    ],
)
def test_each_key_opens(headers: dict[str, str]) -> None:
    assert status(Guard(Settings(api_keys=KEYS)), host="localhost", **headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": KEYS[0]},
        {"authorization": f"Basic {KEYS[0]}"},
        {"authorization": "Bearer"},
        {"x_api_key": ""},
        {"x_api_key": KEYS[0][:-1]},
        {"x_api_key": ",".join(KEYS)},
        {"x_api_key": "wrong", "authorization": f"Bearer {KEYS[0]}"},
    ],
)
def test_nothing_else_opens(headers: dict[str, str]) -> None:
    assert status(Guard(Settings(api_keys=KEYS)), host="localhost", **headers) == 401


def test_only_the_sign_of_life_is_open() -> None:
    guard = Guard(Settings(api_keys=KEYS))
    assert status(guard, "/healthz", host="localhost") is None
    for path in ("/readyz", "/metrics", "/mcp", "/openapi.json", "/healthz/", "/"):
        assert status(guard, path, host="localhost") == 401


async def test_a_wrong_key_is_told_how_and_never_logged(connect, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    async with connect(api_keys=KEYS) as client:
        answer = await client.get("/metrics", headers={"X-API-Key": "wrong-key"})
        await client.get("/metrics", headers={"X-API-Key": KEYS[0]})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "X-API-Key" in answer.json()["hint"]
    assert not any(key in caplog.text + answer.text for key in (*KEYS, "wrong-key"))
    assert KEYS[0] not in repr(Settings(api_keys=KEYS))


def test_other_machines_need_a_key() -> None:
    with pytest.raises(DeclarationError, match=r"0\.0\.0\.0 can be reached by other machines") as refused:
        Settings(host="0.0.0.0").check()
    assert "HEADRACE_API_KEYS" in refused.value.hint
    for host in ("192.168.1.4", "127.0.0.1"):
        with pytest.raises(DeclarationError, match="shorter") as refused:
            Settings(host=host, api_keys=(*KEYS, "the-shortest")).check()
        assert "the-shortest" not in str(refused.value)
    with pytest.raises(DeclarationError, match="all bodies together may take 8 MiB, one alone 16 MiB"):
        Settings(max_bodies=8 << 20).check()
    Settings(host="0.0.0.0", api_keys=KEYS).check()
    Settings(host="::1").check()
    with pytest.raises(DeclarationError):
        Settings(workers=0).check()


def test_names_of_this_machine() -> None:
    assert not any(map(is_loopback, ["", "0.0.0.0", "::", "example.org", "localhost.example.org"]))


def test_keys_from_the_environment_and_a_file(tmp_path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nthird\n\n  fourth  \n")
    environ = {"HEADRACE_API_KEYS": "first,,second , first", "HEADRACE_API_KEYS_FILE": str(file)}
    assert load_keys(environ) == ("first", "second", "third", "fourth")
    assert load_keys({}) == ()
    with pytest.raises(DeclarationError, match="cannot be read"):
        load_keys({"HEADRACE_API_KEYS_FILE": str(tmp_path / "none")})
