"""libpq's words, as real servers and poolers say them, and what they are taken for."""

from __future__ import annotations

import pytest

from headrace.sources.postgres.checkup.refusal import brief, kind_of, refusal

AT = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (AT + 'FATAL:  password authentication failed for user "ann"', "password"),
        (AT + "fe_sendauth: no password supplied", "password"),
        (AT + 'FATAL:  role "ann" does not exist', "user"),
        (AT + 'FATAL:  role "ann" is not permitted to log in', "login"),
        (AT + 'FATAL:  database "shop" does not exist', "database"),
        (AT + 'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "ann", database "shop", no encryption', "hba"),
        (AT + "FATAL:  sorry, too many clients already", "connections"),
        (AT + "FATAL:  number of requested standby connections exceeds max_wal_senders (currently 10)", "senders"),
        (AT + "FATAL:  must be superuser or replication role to start walsender", "replication right"),
        (AT + "FATAL:  permission denied to start WAL sender", "replication right"),
        (AT + "FATAL:  the database system is starting up", "starting"),
        (
            AT + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
            "closed port",
        ),
        ("failed to resolve host 'nowhere': [Errno -2] Name or service not known", "host"),
        ("connection timeout expired", "timeout"),
        (AT + "FATAL:  unsupported startup parameter: replication", "pooler"),
        (AT + "server does not support SSL, but SSL was required", "tls"),
    ],
)
def test_refusals_are_told_apart(words: str, name: str) -> None:
    kind = kind_of(words)
    assert kind is not None
    assert kind.name == name
    assert refusal(words, "postgres db:5432/shop").hint == kind.hint


def test_what_is_not_known_is_shown_as_it_is() -> None:
    error = refusal(AT + "FATAL:  the moon is full", "postgres db:5432/shop")
    assert error.message == "connecting to postgres db:5432/shop failed: the moon is full"
    assert not error.permanent


def test_libpqs_frame_is_taken_off() -> None:
    assert brief(AT + 'FATAL:  database "shop" does not exist\nsecond try') == 'database "shop" does not exist'
