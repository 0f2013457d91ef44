"""Ours: what judging a record costs, good and bad. Prints one line of JSON.

validation.py <records a batch> <batches>
"""

from __future__ import annotations

import json
import sys
import time

import workload
from apps.shop import build

from headrace.contracts.judge import Judge
from headrace.core.changes import Batch, Json

BREAKS = (
    (b'"stock":', b'"stock":-', "ge"),
    (b'"price":', b'"price":-', "gt"),
    (b'"stock":', b'"stock":"many","was":', "type"),
    (b'"name":', b'"title":', "missing"),
)
"""Ways to break a record: what to replace, by what, and the rule that it breaks."""


def spoil(line: bytes, number: int) -> bytes:
    """A record that breaks its contract."""
    before, after, _ = BREAKS[number % len(BREAKS)]
    return line.replace(before, after, 1)


def measure(judge: Judge, bodies: list[bytes], records: int, violations: int) -> float:
    """Microseconds a record; the first body warms up."""
    began = 0.0
    for number, body in enumerate([bodies[0], *bodies]):
        began = time.perf_counter() if number == 1 else began
        judged = judge.judge(Batch(payloads=(Json(body, envelope=False),), origin="bench"), now=0, watermark=None)
        if len(judged.violations) != violations or judged.rows != records - violations:
            raise SystemExit(f"{len(judged.violations)} violations and {judged.rows} rows; expected {violations}")
    return (time.perf_counter() - began) / len(bodies) / records * 1e6


def main(records: int, batches: int) -> None:
    judge = Judge(build().tables["items"].contract)
    lines = [line.replace(b'"stock":0,', b'"stock":1,') for line in workload.items(records * batches, records)]
    groups = [lines[n : n + records] for n in range(0, len(lines), records)]
    good = [b"\n".join(group) for group in groups]
    arrays = [b"[" + b",".join(group) + b"]" for group in groups]
    bad = [b"\n".join(spoil(line, n) for n, line in enumerate(group)) for group in groups]
    one = [b"\n".join([*group[:-1], spoil(group[-1], 0)]) for group in groups]
    figures = {
        "good_lines": measure(judge, good, records, 0),
        "good_array": measure(judge, arrays, records, 0),
        "one_bad": measure(judge, one, records, 1),
        "all_bad": measure(judge, bad, records, records),
        "pydantic": pydantic_alone(build().tables["items"].contract.record, lines),
    }
    print(json.dumps(figures))


def pydantic_alone(record: type, lines: list[bytes]) -> float:
    """Microseconds a record of `model_validate_json`, line by line: what the fast path is compared to."""
    began = time.perf_counter()
    for line in lines:
        record.model_validate_json(line)  # type: ignore[attr-defined]
    return (time.perf_counter() - began) / len(lines) * 1e6


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
