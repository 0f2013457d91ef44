"""The data of the benchmarks: the same bytes for us and the peers, from a seed, with the standard library only."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime

ITEM_COLUMNS = ("item_id", "restaurant_id", "name", "price", "stock", "available")
"""The 6-column record of the ingest benchmark; `item_id` is the key, `restaurant_id` the secondary index."""

MINUTE = 60_000_000
"""Microseconds."""


def items(rows: int, keys: int, *, seed: int = 1) -> Iterator[bytes]:
    """One JSON object a row, without line ends: `rows` upserts in random order over `keys` items.

    The first `keys` rows bring each item once, so the table holds exactly min(rows, keys) rows afterwards.
    """
    rng = random.Random(seed)
    order = list(range(keys))
    rng.shuffle(order)
    for number in range(rows):
        item = order[number] if number < keys else rng.randrange(keys)
        yield (
            f'{{"item_id":"item-{item:07d}","restaurant_id":"r{item % 997}","name":"dish number {number}",'
            f'"price":{rng.randrange(100, 5000) / 100},"stock":{rng.randrange(0, 50)},'
            f'"available":{"true" if rng.random() < 0.9 else "false"}}}'
        ).encode()


def sales(rows: int, keys: int, *, end: int, seed: int = 2, spread: int = 30 * MINUTE) -> Iterator[bytes]:
    """Events of a stream: `item_id`, `price`, `sold_at` (RFC 3339).

    Event times rise over `spread` microseconds up to the instant `end`.
    """
    rng = random.Random(seed)
    for number in range(rows):
        at = end - spread + number * spread // rows
        yield (
            f'{{"item_id":"item-{rng.randrange(keys):05d}","price":{rng.randrange(100, 5000) / 100},'
            f'"sold_at":"{rfc3339(at)}"}}'
        ).encode()


def rfc3339(at: int) -> str:
    """Text of an instant (microseconds since the epoch).

    >>> rfc3339(90_000_001)
    '1970-01-01T00:01:30.000001Z'
    """
    seconds, micros = divmod(at, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def ndjson(lines: Iterator[bytes], size: int) -> list[bytes]:
    """Lines joined into bodies of `size` records each."""
    bodies: list[bytes] = []
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            bodies.append(b"\n".join(batch))
            batch = []
    if batch:
        bodies.append(b"\n".join(batch))
    return bodies


def features(entities: int, columns: int, *, seed: int = 3) -> Iterator[list[int]]:
    """Per entity, `columns` integers (Feast's online-serving workload)."""
    rng = random.Random(seed)
    for _ in range(entities):
        yield [rng.randrange(0, 1_000_000) for _ in range(columns)]


def to_line(record: dict[str, object]) -> bytes:
    """Compact JSON bytes of a record."""
    return json.dumps(record, separators=(",", ":")).encode()
