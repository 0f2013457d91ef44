"""Judging: a raw batch goes in, changes to apply and violations to keep come out. Nothing is lost; no record raises.

A body of good records is decoded and checked at once (`fast`). When that does not work, its records are taken one by
one: those that the fast decoder takes stay cheap, and only the rest go to Pydantic (`exact`), which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.contracts.body import Body, Form, fields_of
from headrace.contracts.breach import Breach
from headrace.contracts.checks import TimeCheck, UniqueCheck
from headrace.contracts.completion import Completion, When
from headrace.contracts.contract import Contract
from headrace.contracts.envelope import Delete, EnvelopeReader, Upsert, may_hold_envelopes
from headrace.contracts.exact import Accepted, ExactReader, parse_object, raw_of
from headrace.contracts.fast import REFUSALS, FastReader
from headrace.contracts.keys import KeyReader
from headrace.contracts.row_rules import RowRules
from headrace.contracts.runs import DeleteRun, Runs, UpsertRun
from headrace.contracts.text_rows import TextRows
from headrace.core.changes import (
    BadBytes,
    Batch,
    Deletes,
    Json,
    Judged,
    Kept,
    Keys,
    Partial,
    Patch,
    Payload,
    Rows,
    Tuples,
    Violation,
)
from headrace.core.collector import CollectorPause
from headrace.core.errors import TooLarge
from headrace.core.schema import Row, TableKind

_PARTS = 32
"""Into so many parts tuples are cut that the fast path does not take as a whole."""

Raw = Callable[[int], bytes]
"""The bytes of the record of that number in a payload."""


@dataclass(slots=True)
class _Sitting:
    """One batch being judged."""

    batch: Batch
    now: int
    watermark: int | None
    judged: Judged = field(default_factory=Judged)
    most: int | None = None
    seen: set[Any] = field(default_factory=set[Any])
    start: int = 0
    """How many records the payloads before this one held."""

    def refuse(self, breach: Breach, item: int, raw: bytes, key: Row | None = None) -> None:
        """Keep a record that broke a rule."""
        position = f"{self.batch.origin}#{self.start + item}"
        violation = Violation(raw, breach.rule, breach.column, breach.value, breach.message, position, key)
        kept = self.judged.rejected if breach.policy == "reject" else self.judged.violations
        kept.append(violation)
        if self.most is not None and len(kept) > self.most:
            raise TooLarge(
                f"over {self.most:,} records break their contract, the first: {kept[0].message}",
                hint="nothing was applied; send them in smaller parts",
            )


class Judge:
    """Judges batches by one contract. Keeps nothing between batches, except caches.

    Examples
    --------
    >>> from headrace.core.records import Field, Record
    >>> from headrace.contracts.infer import schema_of
    >>> class Item(Record):
    ...     item_id: str
    ...     price: float = Field(gt=0)
    >>> judge = Judge(Contract(Item, schema_of(Item, kind=TableKind.TABLE, key="item_id")))
    >>> body = b'[{"item_id": "i1", "price": 2.5}, {"item_id": "i2", "price": -1}]'
    >>> judged = judge.judge(Batch([Json(body)], origin="push:1"), now=0)
    >>> judged.changes[0].rows
    [('i1', 2.5)]
    >>> [(v.rule, v.column, v.value, v.position) for v in judged.violations]
    [('gt', 'price', '-1', 'push:1#1')]
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._rules = RowRules(contract)
        self._exact = ExactReader(contract)
        self._fast = None if self._rules.wants_records else FastReader.compile(contract)
        self._keys = KeyReader(contract)
        self._envelopes = None if "op" in self._exact.inputs else EnvelopeReader(self._keys)
        self._text = TextRows(contract)
        self._times = TimeCheck(contract)
        self._unique = UniqueCheck(contract)
        self._completion = Completion(contract, lambda: Judge(contract))

    @property
    def is_fast(self) -> bool:
        """Whether good records take the fast path; a record with validators or a rule in Python does not."""
        return self._fast is not None

    def judge(self, batch: Batch, *, now: int, watermark: int | None = None, most: int | None = None) -> Judged:
        """Judge all payloads of a batch, in order.

        Parameters
        ----------
        now
            The current instant, microseconds; event times are compared with it.
        watermark
            The latest event time that the table has seen, microseconds; None: nothing is late.
        most
            How many violations a batch may have whose sender can be told to send it in parts; None: any number.

        Raises
        ------
        TooLarge
            There are more than `most`.
        """
        sitting = _Sitting(batch, now, watermark, most=most)
        with CollectorPause():
            for payload in batch.payloads:
                sitting.start += self._payload(sitting, payload)
            if batch.snapshot is not None and self.contract.schema.kind is TableKind.TABLE:
                self._hold(sitting.judged)
        return sitting.judged

    def _hold(self, judged: Judged) -> None:
        """Name the refused records of a full copy, so that they do not count as gone."""
        names = self.contract.schema.names
        for violation in (*judged.violations, *judged.rejected):
            key = self._keys.read(parse_object(violation.raw))
            if isinstance(key, Breach):
                judged.nameless = True
            else:
                cells = dict(zip(self.contract.schema.key, key, strict=True))
                judged.held.append(tuple(cells.get(name) for name in names))

    def _kept(self, sitting: _Sitting, payload: Kept) -> int:
        """Name rows that are stored already, so that they do not count as gone."""
        judged, columns, names = sitting.judged, self.contract.schema.names, payload.names
        for values in payload.keys:
            key = self._keys.read(dict(zip(names, values, strict=True)))
            if isinstance(key, Breach):  # nobody knows which row it is: nothing counts as gone
                judged.nameless = True
            else:
                cells = dict(zip(self.contract.schema.key, key, strict=True))
                judged.held.append(tuple(cells.get(name) for name in columns))
        return len(payload.keys)

    def replay(
        self, raw: bytes, *, now: int, watermark: int | None = None, origin: str = "", envelope: bool = True
    ) -> Judged:
        """Judge one record from quarantine again, as if it had arrived now. `envelope` is that of the source's `Json`.

        Without a `watermark` an event that was too late is not late any more: whoever replays it wants it in.
        """
        sitting = _Sitting(Batch([], origin=origin), now, watermark)
        self._json_items(sitting, [raw], envelope=envelope)
        return sitting.judged

    def _payload(self, sitting: _Sitting, payload: Payload) -> int:
        """Judge one payload; how many records it held."""
        match payload:
            case Json():
                return self._json(sitting, payload)
            case Rows():
                return self._mappings(sitting, payload)
            case Tuples():
                return self._tuples(sitting, payload)
            case Partial():
                return self._partial(sitting, payload)
            case Keys():
                return self._deleted(sitting, payload)
            case Kept():
                return self._kept(sitting, payload)
            case BadBytes():
                sitting.refuse(Breach(payload.rule, "", "", payload.message), 0, payload.data)
                return 1

    def _json(self, sitting: _Sitting, payload: Json) -> int:
        body = Body(payload.data)
        envelope = payload.envelope and self._envelopes is not None and may_hold_envelopes(body.data)
        self._sample_fields(sitting, body)
        rows = None if envelope else self._all_at_once(body)
        if rows is None:
            return self._json_items(sitting, body.pieces, envelope=envelope)
        run = UpsertRun(rows, range(len(rows)))
        self._settle(sitting, [run], lambda item: body.pieces[item])
        return len(rows)

    def _all_at_once(self, body: Body) -> list[Row] | None:
        """The rows of a body in which every record is good; None when that is not certain."""
        if self._fast is None:
            return None
        try:
            return self._fast.array(body.data) if body.form is Form.ARRAY else self._fast.lines(body.data)
        except REFUSALS:
            return None

    def _sample_fields(self, sitting: _Sitting, body: Body) -> None:
        """Count the undeclared fields of a payload's first record; of the others, only the refused ones are counted.

        The fast path does not see undeclared fields, and looking for them would cost as much as the decoding.
        """
        first = body.first()
        if self._envelopes is not None and "op" in first:
            first = fields_of(first.get("record")) if first.get("op") == "upsert" else {}
        self._count(sitting, self._exact.unknown(first))

    def _count(self, sitting: _Sitting, unknown: Mapping[str, Any]) -> None:
        counts = sitting.judged.unknown_fields
        for name in unknown:
            counts[name] = counts.get(name, 0) + 1

    def _json_items(self, sitting: _Sitting, pieces: Sequence[bytes], *, envelope: bool) -> int:
        runs = Runs()
        for item, piece in enumerate(pieces):
            record = piece
            if envelope and self._envelopes is not None and may_hold_envelopes(piece):
                opened = self._envelopes.open(piece)
                if isinstance(opened, Delete):
                    runs.delete(item, opened.key, opened.version)
                    continue
                if isinstance(opened, Breach):
                    sitting.refuse(opened, item, piece)
                    continue
                if isinstance(opened, Upsert):
                    record = opened.record
            self._json_record(sitting, runs, item, piece, record)
        self._settle(sitting, runs.found, pieces.__getitem__)
        return len(pieces)

    def _json_record(self, sitting: _Sitting, runs: Runs, item: int, piece: bytes, record: bytes) -> None:
        if self._fast is not None:
            try:
                runs.upsert(item, self._fast.one(record), None, None)
                return
            except REFUSALS:
                pass
        found = self._exact.from_json(record)
        if isinstance(found, Breach):
            if item:  # the first one was counted with the whole payload
                self._count(sitting, self._exact.unknown(parse_object(record)))
            sitting.refuse(found, item, piece)
        else:
            self._accept(sitting, runs, item, found)

    def _accept(self, sitting: _Sitting, runs: Runs, item: int, found: Accepted) -> None:
        sitting.judged.nulled += found.nulled
        runs.upsert(item, found.row, found.extra, found.record)

    def _tuples(self, sitting: _Sitting, payload: Tuples) -> int:
        """As `_mappings` judges mappings of the same names, but one bad record does not slow down the others."""
        names, given = payload.names, payload.rows

        def mapping(item: int) -> dict[str, Any]:
            return dict(zip(names, given[item], strict=True))

        def raw(item: int) -> bytes:
            return raw_of(mapping(item))

        if len(set(names)) < len(names):  # the last value of a repeated name counts, as in a mapping
            return self._mappings(sitting, Rows([mapping(item) for item in range(len(given))]))
        if set(map(len, given)) - {len(names)}:
            raise ValueError(f"the tuples do not all have the {len(names)} values {', '.join(names)}")
        rows = self._all_tuples(names, given)
        if rows is not None:
            if given:
                self._count(sitting, self._exact.unknown(mapping(0)))
            self._settle(sitting, [UpsertRun(rows, range(len(given)))], raw)
            return len(given)
        runs = Runs()
        for item, row in enumerate(self._fitting(names, given)):
            if row is not None:
                runs.upsert(item, row, None, None)
                continue
            record = mapping(item)
            judged = self._exact.from_mapping(record)
            if isinstance(judged, Breach):
                self._count(sitting, self._exact.unknown(record))
                sitting.refuse(judged, item, raw_of(record))
            else:
                self._accept(sitting, runs, item, judged)
        self._settle(sitting, runs.found, raw)
        return len(given)

    def _all_tuples(self, names: tuple[str, ...], given: Sequence[tuple[Any, ...]]) -> list[Row] | None:
        if self._fast is None or not self._fast.takes(names):
            return None
        try:
            return self._fast.tuples(names, given)
        except REFUSALS:
            return None

    def _fitting(self, names: tuple[str, ...], given: Sequence[tuple[Any, ...]]) -> Sequence[Row | None]:
        """The rows of those tuples that the fast path takes, and None for the others; not all are taken."""
        if len(given) <= 1 or self._fast is None or not self._fast.takes(names):
            return [None] * len(given)
        size = -(-len(given) // _PARTS)
        found: list[Row | None] = []
        for start in range(0, len(given), size):
            part = given[start : start + size]
            found += self._all_tuples(names, part) or self._fitting(names, part)
        return found

    def _partial(self, sitting: _Sitting, payload: Partial) -> int:
        judged = sitting.judged
        for item, record in enumerate(payload.records):
            key = self._keys.read(record)
            before = payload.was[item] if payload.was is not None else None
            was = None if before is None else self._keys.read(before)
            if isinstance(key, Breach):
                sitting.refuse(key, item, raw_of(record))
                if isinstance(was, tuple):  # no row has that key any more, whatever becomes of the new one
                    judged.changes.append(Deletes([was]))
                continue
            if isinstance(was, Breach):
                sitting.refuse(was, item, raw_of(record))
                continue
            when = When(sitting.now, sitting.watermark, f"{sitting.batch.origin}#{sitting.start + item}")
            judged.patches.append(Patch(len(judged.changes), key, self._completion.of(record, when), was))
        return len(payload.records)

    def _mappings(self, sitting: _Sitting, payload: Rows) -> int:
        records = payload.records

        def raw(item: int) -> bytes:
            # What a row of text came from (a line of CSV) cannot be judged again without its header; its JSON can.
            return payload.raw[item] if payload.raw is not None and not payload.text else raw_of(records[item])

        if payload.text:
            records = [self._text.typed(record) for record in records]
        rows = None if payload.text else self._all_mappings(records)
        if rows is not None:
            if records:
                self._count(sitting, self._exact.unknown(records[0]))
            self._settle(sitting, [UpsertRun(rows, range(len(rows)))], raw)
            return len(rows)
        runs = Runs()
        for item, record in enumerate(records):
            found = self._exact.from_mapping(record)
            if isinstance(found, Breach):
                self._count(sitting, self._exact.unknown(record))
                sitting.refuse(found, item, raw(item))
            else:
                self._accept(sitting, runs, item, found)
        self._settle(sitting, runs.found, raw)
        return len(records)

    def _all_mappings(self, records: Sequence[Mapping[str, Any]]) -> list[Row] | None:
        if self._fast is None:
            return None
        try:
            return self._fast.mappings(records)
        except REFUSALS:
            return None

    def _deleted(self, sitting: _Sitting, payload: Keys) -> int:
        runs = Runs()
        for item, key in enumerate(payload.keys):
            found = self._keys.read(key)
            if isinstance(found, Breach):
                sitting.refuse(found, item, raw_of({"op": "delete", "key": dict(key)}))
            else:
                runs.delete(item, found, None)
        self._settle(sitting, runs.found, lambda _: b"")
        return len(payload.keys)

    def _settle(self, sitting: _Sitting, runs: Sequence[UpsertRun | DeleteRun], raw: Raw) -> None:
        """Check whole runs and put what is left of them into the judgement."""
        for run in runs:
            if isinstance(run, UpsertRun):
                self._check(sitting, run, raw)
                if not run.rows:
                    continue
            sitting.judged.changes.append(run.change())

    def _check(self, sitting: _Sitting, run: UpsertRun, raw: Raw) -> None:
        self._drop(sitting, run, self._times.check(run, now=sitting.now, watermark=sitting.watermark), raw)
        if self._rules:
            breaches, nulled = self._rules.check(run)
            sitting.judged.nulled += nulled
            self._drop(sitting, run, breaches, raw)
        if sitting.batch.snapshot is not None and self.contract.schema.kind is TableKind.TABLE:
            self._drop(sitting, run, self._unique.check(run, sitting.seen), raw)
        latest = self._times.latest(run)
        if latest is not None:
            sitting.judged.max_event_time = max(latest, sitting.judged.max_event_time or latest)

    def _drop(self, sitting: _Sitting, run: UpsertRun, breaches: dict[int, Breach], raw: Raw) -> None:
        if not breaches:
            return
        for position, breach in breaches.items():
            item, row = run.items[position], run.rows[position]
            late = breach.rule == "too_late" and self.contract.schema.kind is TableKind.EVENTS
            key = tuple(row[i] for i in self.contract.schema.key_positions) if late else ()
            sitting.refuse(breach, item, raw(item), key or None)
        run.keep([i for i in range(len(run.rows)) if i not in breaches])


def unreadable(judged: Judged) -> Violation | None:
    """The first violation of a body of which nothing is JSON: a push answers it with an error, and keeps nothing.

    Returns
    -------
    Violation or None
        None when anything in the body could be read.
    """
    if judged.rows or judged.rejected or not judged.violations:
        return None
    return judged.violations[0] if all(violation.rule == "json" for violation in judged.violations) else None
