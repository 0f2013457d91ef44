"""What is known of PostgreSQL's types before a server is asked."""

from __future__ import annotations

from headrace.sources.postgres.types import PgType, Types


def test_the_built_in_types_and_what_they_are_made_of() -> None:
    types = Types()
    assert types[1184] == PgType(1184, "timestamptz", "base")
    assert types[1185] == PgType(1185, "_timestamptz", "array", 1184)
    assert types[3910] == PgType(3910, "tstzrange", "range", 1184)
    assert types[4534] == PgType(4534, "tstzmultirange", "multirange", 3910)
    assert types[603].delimiter == ";"


def test_an_unknown_type_has_a_name_for_people() -> None:
    assert Types()[99_999] == PgType(99_999, "oid 99999", "base")


def test_what_is_read_is_known_and_may_change_but_not_the_built_in_types() -> None:
    types = Types()
    types.add([(16_400, "mood", "enum", 0, 0, ","), (25, "not text", "enum", 0, 0, ",")])
    assert types[16_400].name == "mood"
    assert types[25].name == "text"
    types.add([(16_400, "temper", "enum", 0, 0, ",")])
    assert types[16_400].name == "temper"
    assert types.missing([25, 16_400, 16_401, 16_401]) == [16_401]


def test_domains_are_what_lies_below_them() -> None:
    types = Types()
    types.add(
        [
            (16_400, "a", "domain", 0, 16_401, ","),
            (16_401, "b", "domain", 0, 23, ","),
            (16_402, "c", "domain", 0, 16_402, ","),
        ]
    )
    assert types.plain(16_400).name == "int4"
    assert types.plain(16_402).kind == "domain"  # a circle, which no server makes, ends all the same
