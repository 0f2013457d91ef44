"""Each finding of the checkup, from facts: what is looked at, its grade, and the statement that mends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headrace.core.clock import ClockOffset
from headrace.core.errors import SourceError
from headrace.core.findings import Finding, Grade, healthy
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources.postgres.checkup.checkup import findings, unreachable
from headrace.sources.postgres.checkup.facts import (
    ColumnFacts,
    Facts,
    PartitionFacts,
    PublicationFacts,
    Published,
    ServerFacts,
    SlotFacts,
    TableFacts,
    UniqueIndex,
    Wanted,
)
from headrace.sources.postgres.tables import Named

GB = 1 << 30

ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (
        Column("item_id", ColumnType.TEXT),
        Column("price", ColumnType.REAL),
        Column("note", ColumnType.TEXT, nullable=True),
    ),
    key=("item_id",),
)
SALES = Schema("items", TableKind.EVENTS, (Column("item_id", ColumnType.TEXT),), event_time=None)

TEXT = ColumnFacts("text", "text", "b", "S", not_null=True)
NUMBER = ColumnFacts("double precision", "float8", "b", "N", not_null=True)

SERVER = ServerFacts(
    version=180006,
    release="18.6",
    database="shop",
    user="ann",
    standby=False,
    superuser=False,
    replication=True,
    may_create=True,
    slots_used=1,
    senders_used=0,
    settings={
        "wal_level": "logical",
        "max_replication_slots": "10",
        "max_wal_senders": "10",
        "max_slot_wal_keep_size": "10GB",
        "idle_replication_slot_timeout": "0",
        "wal_sender_timeout": "1min",
    },
    wal=10 * GB,
    clock=ClockOffset(2_000, 300),
)
SLOT = SlotFacts(
    name="headrace_shop",
    plugin="pgoutput",
    type="logical",
    database="shop",
    active_pid=4711,
    restart=10 * GB - 1000,
    confirmed=10 * GB,
    wal_status="reserved",
    safe_wal_size=5 * GB,
    failover=True,
)
TABLE = TableFacts(
    schema="public",
    name="items",
    kind="r",
    persistence="p",
    identity="d",
    identity_columns=frozenset({"item_id"}),
    columns={"item_id": TEXT, "price": NUMBER, "note": replace(TEXT, not_null=False)},
    indexes=[UniqueIndex("items_pkey", ("item_id",), primary=True, identifies=True)],
    owner="ann",
    owned=True,
    may_select=True,
    may_use_schema=True,
    filtered=False,
)
BARE = replace(TABLE, identity_columns=frozenset[str](), indexes=[])
PARTED = replace(TABLE, kind="p", partitions=[PartitionFacts("public.items_1", "d", frozenset({"item_id"}))])
PUBLICATION = PublicationFacts(
    name="headrace_shop",
    owner="ann",
    owned=True,
    all_tables=False,
    operations=frozenset({"insert", "update", "delete", "truncate"}),
    via_root=True,
    tables={("public", "items"): Published(frozenset({"item_id", "price", "note"}))},
)


def look(
    *,
    server: ServerFacts = SERVER,
    slot: SlotFacts | None = SLOT,
    publication: PublicationFacts | None = PUBLICATION,
    table: TableFacts | None = TABLE,
    refused: str | None = None,
    schema: Schema = ITEMS,
    resumes: bool = True,
) -> list[Finding]:
    """All findings about such a world."""
    facts = Facts(server, slot, publication, {"items": table}, refused)
    wanted = Wanted(
        "postgres db:5432/shop",
        "headrace_shop",
        "headrace_shop",
        {"items": schema},
        {"items": Named(None, "items")},
        resumes,
    )
    return list(findings(facts, wanted))


def one(what: str, **world: Any) -> Finding:
    """The only finding about `what` in such a world."""
    found = [finding for finding in look(**world) if finding.what == what]
    assert len(found) == 1, found
    return found[0]


def setting(**settings: str) -> ServerFacts:
    return replace(SERVER, settings={**SERVER.settings, **settings})


def test_a_good_server_has_nothing_but_ok() -> None:
    found = look()
    assert {finding.grade for finding in found} == {Grade.OK}
    assert healthy(found)
    assert [finding.mend for finding in found if finding.mend] == []


# The server


@pytest.mark.parametrize(
    ("version", "grade"),
    [(100021, Grade.PROBLEM), (110022, Grade.PROBLEM), (130020, Grade.PROBLEM), (140000, Grade.OK)],
)
def test_version(version: int, grade: Grade) -> None:
    assert one("version", server=replace(SERVER, version=version)).grade is grade


def test_a_standby_is_refused() -> None:
    found = one("recovery", server=replace(SERVER, standby=True))
    assert (found.grade, "primary" in found.message) == (Grade.PROBLEM, True)


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("", "ALTER SYSTEM SET wal_level = logical"),
        ("rds", "rds.logical_replication = 1"),
        ("cloudsql", "cloudsql.logical_decoding"),
        ("alloydb", "alloydb.logical_decoding"),
        ("azure", "wal_level = logical"),
        ("neon", "project's settings"),
    ],
)
def test_wal_level_is_mended_as_the_provider_wants_it(provider: str, words: str) -> None:
    found = one("wal_level", server=replace(setting(wal_level="replica"), provider=provider))
    assert (found.grade, found.value) == (Grade.PROBLEM, "replica")
    assert words in found.mend[0]
    assert not found.safe


def test_the_replication_right_is_an_attribute_or_a_role() -> None:
    without = replace(SERVER, replication=False)
    found = one("replication right", server=without)
    assert (found.grade, found.mend) == (Grade.PROBLEM, ("ALTER ROLE ann REPLICATION;",))
    assert one("replication right", server=replace(without, provider="rds")).mend == ("GRANT rds_replication TO ann;",)
    assert one("replication right", server=replace(without, superuser=True)).grade is Grade.OK
    assert one("replication right", server=replace(without, roles=frozenset({"rds_replication"}))).grade is Grade.OK


def test_a_pooler_is_recognised_by_what_it_says() -> None:
    found = one("replication connection", refused="FATAL:  unsupported startup parameter: replication")
    assert (found.grade, "pooler" in found.message) == (Grade.PROBLEM, True)
    found = one("replication connection", refused="something never heard of")
    assert (found.grade, found.value) == (Grade.PROBLEM, "something never heard of")


@pytest.mark.parametrize(
    ("used", "slot", "grade"),
    [(8, None, Grade.OK), (9, None, Grade.PROBLEM), (9, SLOT, Grade.OK), (10, SLOT, Grade.PROBLEM)],
)
def test_slots_must_be_free_for_a_first_copy(used: int, slot: SlotFacts | None, grade: Grade) -> None:
    found = one("max_replication_slots", server=replace(SERVER, slots_used=used), slot=slot)
    assert (found.grade, found.value) == (grade, f"{used} of 10 used")
    if grade is Grade.PROBLEM:
        assert "max_replication_slots = 11" in found.mend[0]


def test_a_sender_must_be_free_unless_we_have_ours() -> None:
    full = replace(SERVER, senders_used=10)
    assert one("max_wal_senders", server=full, slot=replace(SLOT, active_pid=None)).grade is Grade.PROBLEM
    assert one("max_wal_senders", server=full).grade is Grade.OK
    assert one("max_wal_senders", server=setting(max_wal_senders="?")).grade is Grade.UNKNOWN


def test_log_without_bound_is_told() -> None:
    found = one("max_slot_wal_keep_size", server=setting(max_slot_wal_keep_size="-1"))
    assert (found.grade, "disk is full" in found.message) == (Grade.WARNING, True)
    azure = replace(setting(max_slot_wal_keep_size="-1"), provider="azure")
    assert one("max_slot_wal_keep_size", server=azure).mend == (), "it is read-only there"
    older = replace(SERVER, settings={k: v for k, v in SERVER.settings.items() if k != "max_slot_wal_keep_size"})
    assert one("max_slot_wal_keep_size", server=older).grade is Grade.UNKNOWN


def test_idle_timeout_is_told_where_the_version_has_one() -> None:
    assert one("idle_replication_slot_timeout", server=setting(idle_replication_slot_timeout="1d")).value == "1d"
    older = replace(SERVER, settings={k: v for k, v in SERVER.settings.items() if not k.startswith("idle")})
    assert [f for f in look(server=older) if f.what == "idle_replication_slot_timeout"] == []


@pytest.mark.parametrize(
    ("value", "grade"),
    [("0", Grade.WARNING), ("5s", Grade.WARNING), ("500ms", Grade.WARNING), ("30s", Grade.OK), ("?", Grade.UNKNOWN)],
)
def test_sender_timeout(value: str, grade: Grade) -> None:
    assert one("wal_sender_timeout", server=setting(wal_sender_timeout=value)).grade is grade


@pytest.mark.parametrize(
    ("offset", "error", "grade"),
    [(400_000, 100, Grade.OK), (-700_000, 100, Grade.WARNING), (700_000, 300_000, Grade.OK)],
)
def test_the_clock_counts_beyond_its_error(offset: int, error: int, grade: Grade) -> None:
    assert one("clock", server=replace(SERVER, clock=ClockOffset(offset, error))).grade is grade


def test_a_clock_that_was_not_told_is_unknown() -> None:
    assert one("clock", server=replace(SERVER, clock=None)).grade is Grade.UNKNOWN


# The slot


def state(**changes: Any) -> Finding:
    found = [f for f in look(slot=replace(SLOT, **changes)) if f.what == "state"]
    assert len(found) == 1
    return found[0]


def test_a_missing_slot_is_a_loss_only_to_those_who_had_it() -> None:
    assert one("state", slot=None, resumes=False).grade is Grade.OK
    assert one("state", slot=None, resumes=True).grade is Grade.WARNING


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"wal_status": "lost"}, "lost: wal_removed"),
        ({"wal_status": "lost", "invalidation": "idle_timeout"}, "lost: idle_timeout"),
        ({"conflicting": True}, "lost: conflict with recovery"),
    ],
)
def test_a_lost_slot_says_why(changes: dict[str, Any], value: str) -> None:
    found = state(**changes)
    assert (found.grade, found.value, found.safe) == (Grade.PROBLEM, value, False)
    assert "anew" in found.message


def test_a_slot_in_danger_is_told_before_it_is_lost() -> None:
    assert state(wal_status="unreserved").grade is Grade.PROBLEM
    assert state(wal_status="extended").grade is Grade.WARNING
    assert one("safe_wal_size", slot=replace(SLOT, safe_wal_size=1 << 20)).grade is Grade.WARNING


def test_somebody_elses_slot_is_refused() -> None:
    assert one("plugin", slot=replace(SLOT, plugin="wal2json")).value == "wal2json"
    assert one("plugin", slot=replace(SLOT, type="physical", plugin=None)).grade is Grade.PROBLEM
    assert one("database", slot=replace(SLOT, database="other")).grade is Grade.PROBLEM


def test_kept_log_is_measured() -> None:
    behind = replace(SLOT, restart=5 * GB, confirmed=6 * GB)
    assert one("kept log", slot=behind).value == "5.4 GB, follower behind by 4.3 GB"
    assert "drop" in one("kept log", slot=replace(behind, active_pid=None)).message
    assert one("kept log", server=replace(SERVER, wal=None)).grade is Grade.UNKNOWN


def test_a_slot_that_stays_behind_at_a_failover_is_told() -> None:
    assert "copied anew" in one("failover", slot=replace(SLOT, failover=False)).message
    assert [f for f in look(slot=replace(SLOT, failover=None)) if f.what == "failover"] == []


# The publication


def test_a_missing_publication_is_made_by_its_owner() -> None:
    found = next(f for f in look(publication=None) if f.subject == "publication headrace_shop")
    statement = "CREATE PUBLICATION headrace_shop FOR TABLE public.items WITH (publish_via_partition_root = true);"
    assert (found.grade, found.mend, found.safe) == (Grade.OK, (statement,), True)


def test_publishing_a_table_without_identity_is_never_safe() -> None:
    found = next(f for f in look(publication=None, table=BARE) if f.subject == "publication headrace_shop")
    assert not found.safe
    assert not one("tables", publication=replace(PUBLICATION, tables={}), table=BARE).safe


def test_a_missing_publication_that_we_may_not_make_is_a_problem() -> None:
    server = replace(SERVER, may_create=False)
    found = next(
        f for f in look(publication=None, server=server, table=replace(TABLE, owned=False)) if f.what == "state"
        and f.subject.startswith("publication")
    )  # fmt: skip
    assert (found.grade, found.safe) == (Grade.PROBLEM, False)
    assert "CREATE on the database shop and ownership of items" in found.message


def test_operations_left_out_are_put_back() -> None:
    found = one("operations", publication=replace(PUBLICATION, operations=frozenset({"insert", "update"})))
    assert (found.grade, found.value, found.safe) == (Grade.PROBLEM, "without delete, truncate", True)
    assert found.mend[0].endswith("SET (publish = 'insert, update, delete, truncate');")


def test_a_publication_that_others_use_is_not_touched() -> None:
    shared = replace(
        PUBLICATION, operations=frozenset({"insert"}), tables={**PUBLICATION.tables, ("public", "x"): Published()}
    )
    assert not one("operations", publication=shared).safe


def test_partitions_are_published_by_their_root() -> None:
    found = one("publish_via_partition_root", publication=replace(PUBLICATION, via_root=False), table=PARTED)
    assert (found.grade, found.safe) == (Grade.PROBLEM, True)
    assert one("publish_via_partition_root", table=PARTED).grade is Grade.OK
    assert [f for f in look() if f.what == "publish_via_partition_root"] == []


def test_tables_are_added_by_their_owner() -> None:
    empty = replace(PUBLICATION, tables={})
    found = one("tables", publication=empty)
    assert (found.grade, found.safe) == (Grade.WARNING, True)
    assert found.mend == ("ALTER PUBLICATION headrace_shop ADD TABLE public.items;",)
    assert one("tables", publication=replace(empty, owned=False)).grade is Grade.PROBLEM
    assert one("tables", publication=replace(empty, all_tables=True)).grade is Grade.OK


def test_a_publication_of_a_part_is_refused() -> None:
    rows = replace(PUBLICATION, tables={("public", "items"): Published(row_filter="(price > 1)")})
    assert one("row filter", publication=rows).grade is Grade.PROBLEM
    columns = replace(PUBLICATION, tables={("public", "items"): Published(frozenset({"item_id", "price"}))})
    assert one("column list", publication=columns).value == "without note"


# The table


def test_a_missing_table_says_where_it_was_looked_for() -> None:
    found = one("table", table=None)
    assert (found.grade, found.value) == (Grade.PROBLEM, "items")
    assert "database shop" in found.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "v"}, "is a view"),
        ({"kind": "m"}, "is a materialized view"),
        ({"kind": "f"}, "is a foreign table"),
        ({"persistence": "u"}, "is unlogged"),
        ({"persistence": "t"}, "is temporary"),
    ],
)
def test_what_is_not_replicated(changes: dict[str, Any], words: str) -> None:
    found = one("table", table=replace(TABLE, **changes))
    assert (found.grade, words in found.value) == (Grade.PROBLEM, True)


def test_rights_are_named_with_their_grants() -> None:
    found = one("rights", table=replace(TABLE, may_select=False, may_use_schema=False))
    assert found.grade is Grade.PROBLEM
    assert found.mend == ("GRANT USAGE ON SCHEMA public TO ann;", "GRANT SELECT ON public.items TO ann;")


def test_row_level_security_would_hide_rows_from_the_copy() -> None:
    assert one("row-level security", table=replace(TABLE, filtered=True)).mend == ("ALTER ROLE ann BYPASSRLS;",)


def test_without_identity_a_unique_index_is_chosen_if_there_is_one() -> None:
    index = UniqueIndex("items_by_id", ("item_id",), primary=False, identifies=True)
    found = one("replica identity", table=replace(BARE, indexes=[index]))
    assert (found.grade, found.safe) == (Grade.PROBLEM, True)
    assert found.mend == ("ALTER TABLE public.items REPLICA IDENTITY USING INDEX items_by_id;",)
    assert not one("replica identity", table=replace(BARE, indexes=[index], owned=False)).safe


def test_without_identity_and_index_full_is_printed_and_never_done() -> None:
    found = one("replica identity", table=BARE)
    assert (found.grade, found.safe) == (Grade.PROBLEM, False)
    assert "ALTER TABLE public.items REPLICA IDENTITY FULL;" in found.mend
    assert "whole old row" in found.message


def test_replica_identity_nothing_goes_back_to_the_primary_key() -> None:
    found = one("replica identity", table=replace(TABLE, identity="n", identity_columns=frozenset()))
    assert (found.value, found.safe) == ("nothing", True)
    assert found.mend == ("ALTER TABLE public.items REPLICA IDENTITY DEFAULT;",)


def test_an_identity_without_the_declared_key_is_a_problem() -> None:
    found = one("replica identity", table=replace(TABLE, identity_columns=frozenset({"id"}), indexes=[]))
    assert "Deletes say id, and the key is declared as item_id." in found.message


def test_full_identity_covers_every_key() -> None:
    assert one("replica identity", table=replace(BARE, identity="f")).grade is Grade.OK


def test_the_identity_of_each_partition_counts() -> None:
    good = PartitionFacts("public.items_1", "d", frozenset({"item_id"}))
    leaves = [good, PartitionFacts("items_2", "n", frozenset())]
    found = one("replica identity", table=replace(PARTED, partitions=leaves))
    assert (found.grade, found.safe) == (Grade.PROBLEM, True)
    assert found.mend == ("ALTER TABLE items_2 REPLICA IDENTITY DEFAULT;",)
    bare = replace(PARTED, identity="n", identity_columns=frozenset(), partitions=leaves, indexes=[])
    found = one("replica identity", table=bare)
    assert (len(found.mend), found.safe) == (3, False)


def test_events_need_no_identity_but_their_table_is_closed_to_updates() -> None:
    found = one("replica identity", table=BARE, schema=SALES)
    assert (found.grade, "refuses every update" in found.message) == (Grade.WARNING, True)


def test_a_key_that_nothing_keeps_unique_is_told() -> None:
    assert one("key", table=replace(TABLE, indexes=[])).grade is Grade.WARNING


def test_columns_that_are_missing() -> None:
    only = replace(TABLE, columns={"item_id": TEXT})
    assert [(f.grade, f.value) for f in look(table=only) if f.what == "columns"] == [
        (Grade.PROBLEM, "without price"),
        (Grade.WARNING, "without note"),
    ]


def test_types_that_do_not_fit_or_are_carried_as_text() -> None:
    odd = {"item_id": TEXT, "price": replace(NUMBER, type="jsonb", base="jsonb", category="U")}
    vector = ColumnFacts("vector(3)", "vector", "b", "U", not_null=False, built_in=False)
    found = {f.grade: f.value for f in look(table=replace(TABLE, columns={**odd, "note": vector})) if f.what == "types"}
    assert found == {Grade.PROBLEM: "price: jsonb is not real", Grade.OK: "note: vector(3) is carried as text"}
    assert one("types", table=replace(TABLE, columns={**TABLE.columns, "price": TEXT})).grade is Grade.WARNING


def test_nulls_that_the_record_does_not_allow() -> None:
    loose = {**TABLE.columns, "price": replace(NUMBER, not_null=False)}
    assert one("nulls", table=replace(TABLE, columns=loose)).value == "price"


def test_generated_columns_are_sent_from_18_on_if_the_publication_says_so() -> None:
    made = replace(TABLE, columns={**TABLE.columns, "price": replace(NUMBER, generated="s")})
    found = one("publish_generated_columns", table=made)
    assert (found.grade, found.safe) == (Grade.PROBLEM, True)
    assert healthy(look(table=made, publication=replace(PUBLICATION, generated=True)))
    assert "publish_generated_columns = stored" in next(f for f in look(table=made, publication=None) if f.mend).mend[0]
    assert one("generated columns", table=made, server=replace(SERVER, version=170000)).grade is Grade.PROBLEM
    virtual = replace(TABLE, columns={**TABLE.columns, "price": replace(NUMBER, generated="v")})
    assert one("generated columns", table=virtual).grade is Grade.PROBLEM


def test_an_unreachable_server_is_one_problem() -> None:
    wanted = Wanted("postgres db:5432/shop", "s", "p", {}, {})
    found = unreachable(SourceError("nobody there", hint="start it"), wanted)
    assert (found.grade, found.message) == (Grade.PROBLEM, "Nobody there. To do: start it.")
