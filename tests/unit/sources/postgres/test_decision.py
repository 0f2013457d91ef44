"""Go on, or copy first: every case of what may be found at a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources.postgres.decision import Decision, decide
from headrace.sources.postgres.facts import Facts
from headrace.sources.postgres.position import Place, Standing
from headrace.sources.postgres.slot import Slot
from headrace.sources.postgres.tables import Leaf, ServerTable

FACTS = Facts(version=180_000, database="shop", patience=60, system="77", timeline=2, end=5000)
SLOT = Slot("s", "pgoutput", "shop", "shop", confirmed=900, lost="", pid=0, holder="", failover=False, temporary=False)
STANDING = Standing("77", 2, 1000, {"items": Place(1), "log": Place(2)})


def table(name: str, oid: int, *, events: bool = False, key: tuple[str, ...] = ("id",)) -> ServerTable:
    kind = TableKind.EVENTS if events else TableKind.TABLE
    schema = Schema(name, kind, (Column("id", ColumnType.INTEGER),), key=key)
    return ServerTable(schema, False, oid, "public", name, False, "d", (), (Leaf(oid, "public", name),))


ITEMS, LOG = table("items", 1), table("log", 2, events=True, key=())
KNOWN = frozenset({"items", "log"})


def decided(
    standing=STANDING, slot=SLOT, facts=FACTS, tables=(ITEMS, LOG), known=KNOWN, added=frozenset(), switch=None
):
    return decide(facts, standing, slot, tables, known=known, added=added, switch=switch)


def test_the_stream_goes_on_where_nothing_is_wrong():
    assert decided() == Decision()
    assert decided(slot=replace(SLOT, confirmed=1000)) == Decision()


def test_a_first_copy_has_no_reason_and_makes_the_slot():
    first = decided(None, None, known=frozenset())
    assert first.copy == ("items", "log")
    assert first.whole
    assert first.make_slot
    assert not first.reasons
    assert first.at_once == {"log"}, "events that are half copied would be appended twice"
    assert not decided(None, None, tables=(ITEMS,), known=frozenset()).at_once


def test_a_slot_that_is_there_is_adopted():
    adopted = decided(None, SLOT, known=frozenset())
    assert adopted.copy == ("items", "log")
    assert not adopted.make_slot
    assert not adopted.drop_slot


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"slot": None}, "slot_lost"),
        ({"slot": replace(SLOT, lost="wal_removed")}, "slot_lost"),
        ({"slot": replace(SLOT, confirmed=1001)}, "slot_lost"),
        ({"facts": replace(FACTS, system="78")}, "server_replaced"),
        ({"facts": replace(FACTS, end=999)}, "server_diverged"),
        ({"facts": replace(FACTS, timeline=1)}, "server_diverged"),
        ({"facts": replace(FACTS, timeline=3)}, "server_diverged"),
        ({"facts": replace(FACTS, timeline=3), "switch": 999}, "server_diverged"),
    ],
)
def test_what_cannot_be_continued_is_copied_as_a_whole(change, kind):
    again = decided(**change)
    assert again.copy == ("items",)
    assert again.whole
    assert again.at_once
    assert again.reasons["items"].kind == kind
    assert again.gaps["log"].kind == kind, "events without a key cannot be copied twice"
    assert again.make_slot == (change.get("slot", SLOT) is None or (kind == "slot_lost" and again.drop_slot))


def test_a_failover_within_what_was_read_goes_on():
    assert decided(facts=replace(FACTS, timeline=3), switch=1000) == Decision()


def test_a_crash_before_the_slot_was_made_is_nobodys_fault():
    again = decided(replace(STANDING, new=True), None, tables=(ITEMS,))
    assert again.copy == ("items",)
    assert again.make_slot
    assert not again.reasons


def test_only_the_tables_that_need_it_are_copied():
    later = decided(tables=(ITEMS, LOG, table("notes", 3)))
    assert (later.copy, later.whole, later.at_once) == (("notes",), False, frozenset())
    anew = decided(tables=(replace(ITEMS, oid=9), LOG))
    assert (anew.copy, anew.whole, anew.at_once) == (("items",), False, {"items"})
    assert anew.reasons["items"].kind == "table_replaced"
    assert decided(added=frozenset({"items"})).reasons["items"].kind == "unpublished"


def test_a_table_that_left_the_publication_and_came_back_meanwhile_is_copied():
    stood = replace(STANDING, tables={"items": Place(1, member=70), "log": Place(2, member=71)})

    def found(**members: int) -> Decision:
        return decide(FACTS, stood, SLOT, (ITEMS, LOG), known=KNOWN, added=frozenset(), members=members)

    assert found(items=70, log=71) == Decision()
    assert found(items=72, log=71).reasons["items"].kind == "unpublished"
    # A position of before entries were remembered says nothing.
    assert (
        decide(FACTS, STANDING, SLOT, (ITEMS, LOG), known=KNOWN, added=frozenset(), members={"items": 7}) == Decision()
    )
