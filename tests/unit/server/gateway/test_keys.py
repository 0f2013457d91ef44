from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.core.errors import DeclarationError, HeadraceError, UnknownName
from headrace.server.gateway import keyfile
from headrace.server.gateway.keyring import Keyring
from headrace.server.gateway.keys import VirtualKey, load, parse

AT = datetime(2026, 1, 1, tzinfo=UTC)


def make(path: Path, name: str = "shop", **members: object) -> tuple[str, VirtualKey]:
    def key(number: str, digest: str) -> VirtualKey:
        return VirtualKey.model_validate({"id": number, "name": name, "sha256": digest} | members)

    return keyfile.create(path, key)


def test_made_found_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    secret, made = make(path, rpm=5, budget={"day": "1.5"}, models=("llm",))
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    found = load(path).find(secret.encode())
    assert found == made
    assert load(path).find(b"hr-other") is None
    keyfile.revoke(path, "shop", AT)
    found = load(path).find(secret.encode())
    assert found is not None
    assert found.ended(int(AT.timestamp() * 1e6)) == "revoked"
    with pytest.raises(UnknownName):
        keyfile.revoke(path, "shop", AT)


def test_name_is_taken_until_it_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    make(path)
    with pytest.raises(DeclarationError, match="there is a key named 'shop'"):
        make(path)
    keyfile.revoke(path, "shop", AT)
    make(path)
    assert len(load(path).keys) == 2


def test_many_make_keys_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    threads = [threading.Thread(target=make, args=(path, f"key{number}")) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load(path).keys) == 12


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keys: [", "line 1: this is not YAML"),
        ("keys: [{id: a, name: b, sha256: hr-oops}]", "the key 'b', sha256: "),
        ("keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', rpm: 0}]", "the key 'b', rpm: "),
        ("kees: []", "kees"),
        ("", "the file of keys is empty"),
        ("# nothing\n", "the file of keys is empty"),
        ("keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', models: llm}]", "models: 'llm': a list is wanted"),
        ("keys: [7]", "key 1 of the file is no mapping"),
        ("keys: [{id: a, name: 7}]", "key 1 of the file, "),
        ("keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', expires: 2026-02-31}]", "a value cannot be read"),
        ("[" * 3000, "it is nested too deeply"),
        ("keys: [{id: a, name: b, name: c}]", "line 1: 'name' is there twice"),
        (
            "keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', rmp: 5}]",
            "rmp: there is no such field; did you mean 'rpm'?",
        ),
        (
            "keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', rpm: yes}]",
            "the key 'b', rpm: True: a number is wanted",
        ),
        (
            "keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', tpm: -5}]",
            "the key 'b', tpm: -5: it should be greater",
        ),
        (
            "keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', budget: {days: 5}}]",
            "budget.days: there is no such field",
        ),
        (
            "keys: [{id: a, name: b, sha256: '" + "0" * 64 + "', budget: {day: yes}}]",
            "budget.day: True: a number is wanted",
        ),
        ("keys: [{id: a, sha256: '" + "0" * 64 + "'}]", "key 1 of the file, name: it is missing"),
        (
            f"keys: [{{id: a, name: b, sha256: '{'0' * 64}'}}, {{id: c, name: b, sha256: '{'1' * 64}'}}]",
            "two keys have the name 'b'",
        ),
        (
            f"keys: [{{id: a, name: b, sha256: '{'0' * 64}'}}, {{id: c, name: d, sha256: '{'0' * 64}'}}]",
            "the keys 'b' and 'd' have the same sha256",
        ),
        *(
            (f"keys: [{{id: a, name: b, sha256: '{'0' * 64}', {given}}}]", f"the key 'b', {says}")
            for given, says in (
                ("expires: 30d", "expires: '30d': a time is wanted, as in 2027"),
                ("expires: 99999999999", "expires: 99999999999: a time is wanted"),
                ("created: '5'", "created: '5': a time is wanted"),
                ("revoked: yes", "revoked: True: a time is wanted"),
                ("expires: 2027-01-01", "expires: a time zone is wanted"),
                ("budget: {day: 1e999999}", "budget.day: '1e999999': it should be less than"),
                ("1: 5", "1: a name is text"),
            )
        ),
        (f"keys: [{{id: a b, name: b, sha256: '{'0' * 64}'}}]", "id: 'a b': 1 to 64 letters, digits, _ . and -"),
        (f"keys: [{{id: a, name: '', sha256: '{'0' * 64}'}}]", "name: '': it is empty"),
        (f"keys: [{{ID: a, name: b, sha256: '{'0' * 64}'}}]", "ID: there is no such field; did you mean 'id'?"),
        ("keys: [" + ", ".join(["{id: a, name: b, sha256: '" + "0" * 64 + "'}"] * 2) + "]", "two keys have the id"),
    ],
)
def test_broken_files_say_what_is_wrong_and_no_secret(text: str, says: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(text)
    assert says in str(caught.value)
    assert "hr-oops" not in str(caught.value)
    assert "0" * 64 not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_as_that_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    make(path)
    before = path.read_text()
    (tmp_path / "keys.yaml.new").symlink_to("/dev/full")
    with pytest.raises(HeadraceError) as caught:
        make(path, "other")
    assert "No space left on device" in caught.value.message
    assert "make room" in (caught.value.hint or "")
    assert path.read_text() == before
    assert not (tmp_path / "keys.yaml.new").is_symlink()


def test_ring_follows_the_file_and_keeps_what_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    ring = Keyring(path, every=1000)
    ring.start()
    assert not ring.present
    secret, _ = make(path)
    ring.look()
    assert ring.present
    assert ring.find(secret.encode()) is not None
    good = path.read_text()
    path.write_text("keys: [")
    ring.look()
    assert ring.find(secret.encode()) is not None
    assert "still count" in ring.problem
    path.unlink()
    ring.look()
    assert ring.find(secret.encode()) is not None
    assert "gone" in ring.problem
    path.write_text(good)
    ring.look()
    assert ring.problem == ""
    ring.close()


def test_nobody_starts_on_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("keys: 5")
    with pytest.raises(DeclarationError):
        Keyring(tmp_path / "keys.yaml").start()


def test_a_key_is_revoked_whatever_the_file_went_through_before(tmp_path: Path) -> None:
    """The thread that watches goes on after words that the parser of YAML raises plain errors for."""
    path = tmp_path / "keys.yaml"
    secret, _ = make(path)
    before = path.read_text()
    ring = Keyring(path, every=0.01)
    ring.start()
    for broken in (before + "    expires: 2026-02-31\n", "[" * 5000):
        path.write_text(broken)
        _wait(lambda: bool(ring.problem))
        path.write_text(before)
        _wait(lambda: not ring.problem)
    keyfile.revoke(path, "shop", AT)
    _wait(lambda: bool((found := ring.find(secret.encode())) and found.revoked))
    ring.close()


def test_nobody_is_let_in_while_a_file_that_was_asked_for_is_not_there(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keys.yaml", named=True)
    ring.start()
    assert (ring.present, "is not there" in ring.problem) == (True, True)
    ring.close()


def _wait(seen: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if seen():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")
