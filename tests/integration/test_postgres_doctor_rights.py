"""What `headrace doctor` says of rights that are missing, with the statements that grant them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_postgres_doctor import World, server, world  # noqa: F401

pytestmark = pytest.mark.timeout(120)


def test_revoked_rights(world: World) -> None:  # noqa: F811
    world.declare(world.user("bob"))
    assert world.problems() == ["replication right", "replication connection", "rights", "state"]
    world.sql("ALTER ROLE bob REPLICATION", "GRANT SELECT ON items TO bob", "GRANT ALL ON SCHEMA public TO bob")
    _, found = world.doctor()
    made = [one for one in found["findings"] if one["subject"] == "publication headrace_shop"]
    assert made[0]["grade"] == "problem"
    world.sql(*made[0]["mend"])
    assert world.problems() == []
    world.sql("REVOKE USAGE ON SCHEMA public FROM PUBLIC", "REVOKE ALL ON SCHEMA public FROM bob")
    status, found = world.look()
    assert status == 1
    assert found["table"]["grade"] == "ok", "a schema that may not be used does not hide what is in it"
    assert found["rights"]["mend"] == ["GRANT USAGE ON SCHEMA public TO bob;"]
    world.sql(*found["rights"]["mend"])
    assert world.problems() == []
    world.sql("DROP OWNED BY bob", "DROP ROLE bob")


def test_a_partition_that_may_not_be_read(world: World) -> None:  # noqa: F811
    world.sql(
        "DROP TABLE items",
        "CREATE TABLE items (item_id text PRIMARY KEY, price float8 NOT NULL, note text) PARTITION BY HASH (item_id)",
        'CREATE TABLE "items 0" PARTITION OF items FOR VALUES WITH (MODULUS 1, REMAINDER 0)',
        "CREATE PUBLICATION headrace_shop FOR TABLE items WITH (publish_via_partition_root = true)",
    )
    world.declare(world.user("cid", "REPLICATION"))
    world.sql("GRANT SELECT ON items TO cid")
    assert world.problems() == ["rights"]
    world.sql(*world.look()[1]["rights"]["mend"])
    assert world.problems() == []
    world.sql("DROP OWNED BY cid", "DROP ROLE cid")
