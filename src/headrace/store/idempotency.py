"""A producer that asks again with the same key gets the first answer again, and nothing is applied."""

from __future__ import annotations

from dataclasses import replace

import apsw
import msgspec

from headrace.core.changes import Receipt
from headrace.core.errors import IdempotencyConflict
from headrace.store.base import Submission

KEPT = 24 * 3_600 * 1_000_000
"""How long an answer is kept, in microseconds."""


def earlier_answer(db: apsw.Connection, submission: Submission) -> Receipt | IdempotencyConflict | None:
    """What was answered to this key before; None when it is new or there is no key."""
    asked = submission.idempotency
    if asked is None:
        return None
    row = db.execute(_FIND, (submission.table, asked.key)).fetchone()
    if row is None:
        return None
    digest, receipt = row
    if digest != asked.digest:
        return IdempotencyConflict(
            f"the idempotency key {asked.key!r} was used before with another body",
            hint="send the same body again, or take a new key for a new request",
        )
    return replace(msgspec.json.decode(str(receipt), type=Receipt), replayed=True)


def remember(db: apsw.Connection, submission: Submission, receipt: Receipt) -> None:
    """Keep the answer, in the transaction that it is about."""
    asked = submission.idempotency
    if asked is not None:
        text = msgspec.json.encode(receipt).decode()
        db.execute(_KEEP, (submission.table, asked.key, asked.digest, text, receipt.txn))


def forget(db: apsw.Connection, *, before: int, limit: int) -> int:
    """Drop answers that are older than the commit stamp `before`; returns how many."""
    db.execute(_FORGET, (before, limit))
    return db.changes()


_FIND = "SELECT digest, receipt FROM _hr_idempotency WHERE table_name = ? AND key = ?"
_KEEP = "INSERT INTO _hr_idempotency VALUES (?, ?, ?, ?, ?)"
_FORGET = """DELETE FROM _hr_idempotency WHERE (table_name, key) IN
(SELECT table_name, key FROM _hr_idempotency WHERE txn < ? LIMIT ?)"""
