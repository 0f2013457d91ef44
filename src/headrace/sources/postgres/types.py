"""PostgreSQL's types: those that every server has, and how to learn of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TypeKind = Literal["base", "array", "composite", "domain", "enum", "pseudo", "range", "multirange"]

TYPES_QUERY = """
WITH RECURSIVE found AS (
    SELECT unnest(%s::oid[]) AS oid
    UNION
    SELECT part FROM found
    JOIN pg_catalog.pg_type t ON t.oid = found.oid
    LEFT JOIN pg_catalog.pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    CROSS JOIN LATERAL unnest(ARRAY[t.typbasetype, t.typelem, r.rngsubtype, r.rngtypid]) AS part
    WHERE part <> 0
)
SELECT t.oid::bigint, t.typname::text,
    CASE WHEN e.typarray = t.oid THEN 'array' ELSE CASE t.typtype
        WHEN 'c' THEN 'composite' WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'p' THEN 'pseudo'
        WHEN 'r' THEN 'range' WHEN 'm' THEN 'multirange' ELSE 'base' END END,
    CASE WHEN e.typarray = t.oid THEN t.typelem WHEN r.rngtypid = t.oid THEN r.rngsubtype
        ELSE coalesce(r.rngtypid, 0) END::bigint,
    t.typbasetype::bigint, t.typdelim::text
FROM pg_catalog.pg_type t
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
LEFT JOIN pg_catalog.pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
WHERE t.oid IN (SELECT oid FROM found)
"""
"""Reads types by oid, and those that they are made of. It takes one parameter, a list of oids, and its rows go to
`Types.add`. It needs PostgreSQL 14 or later and no rights."""


@dataclass(frozen=True, slots=True)
class PgType:
    """A type.

    Attributes
    ----------
    oid
        Its number; that of a type that is not built in differs from database to database.
    name
        Without its schema.
    kind
        An array is a kind of its own here.
    element
        The oid of an array's elements, of a range's bounds, of a multirange's range; 0: it has none.
    base
        The oid of the type that a domain restricts; 0: it is no domain.
    delimiter
        What stands between the values of an array of this type: a comma, for all but `box`.
    """

    oid: int
    name: str
    kind: TypeKind
    element: int = 0
    base: int = 0
    delimiter: str = ","


class Types:
    """The types known so far, by oid: at first those that every server has.

    Examples
    --------
    >>> types = Types()
    >>> types[1016]
    PgType(oid=1016, name='_int8', kind='array', element=20, base=0, delimiter=',')
    >>> types.missing([20, 16400, 16401])
    [16400, 16401]
    >>> types.add([(16400, "mood", "enum", 0, 0, ","), (16401, "happy", "domain", 0, 16400, ",")])
    >>> types.plain(16401).name
    'mood'
    """

    def __init__(self) -> None:
        self._found = dict(_BUILT_IN)

    def __getitem__(self, oid: int) -> PgType:
        """The type; of one that was never heard of, a base type named "oid 123", which is carried as text."""
        return self._found.get(oid) or PgType(oid, f"oid {oid}", "base")

    def missing(self, oids: Iterable[int]) -> list[int]:
        """Those of the oids that `TYPES_QUERY` has to be asked for, each once."""
        return [oid for oid in dict.fromkeys(oids) if oid not in self._found]

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take in the rows of `TYPES_QUERY`: a type may have been changed since it was read."""
        for row in rows:
            found = PgType(*row)
            if found.oid not in _BUILT_IN:
                self._found[found.oid] = found

    def plain(self, oid: int) -> PgType:
        """The type, or of a domain the type below it that is none."""
        found = self[oid]
        for _ in range(_DEEPEST):
            if found.kind != "domain":
                break
            found = self[found.base]
        return found


_DEEPEST = 100
"""Domains over domains; more would be a circle, which a server does not make."""

# Name, oid, oid of the array of it. These numbers are fixed in PostgreSQL's catalog files and never change.
_BASES = """
bool 16 1000, bytea 17 1001, char 18 1002, name 19 1003, int8 20 1016, int2 21 1005, int2vector 22 1006, int4 23 1007,
regproc 24 1008, text 25 1009, oid 26 1028, tid 27 1010, xid 28 1011, cid 29 1012, oidvector 30 1013, json 114 199,
xml 142 143, point 600 1017, lseg 601 1018, path 602 1019, box 603 1020, polygon 604 1027, line 628 629, cidr 650 651,
float4 700 1021, float8 701 1022, circle 718 719, macaddr8 774 775, money 790 791, macaddr 829 1040, inet 869 1041,
aclitem 1033 1034, bpchar 1042 1014, varchar 1043 1015, date 1082 1182, time 1083 1183, timestamp 1114 1115,
timestamptz 1184 1185, interval 1186 1187, timetz 1266 1270, bit 1560 1561, varbit 1562 1563, numeric 1700 1231,
refcursor 1790 2201, regprocedure 2202 2207, regoper 2203 2208, regoperator 2204 2209, regclass 2205 2210,
regtype 2206 2211, uuid 2950 2951, txid_snapshot 2970 2949, pg_lsn 3220 3221, tsvector 3614 3643, tsquery 3615 3645,
regconfig 3734 3735, regdictionary 3769 3770, jsonb 3802 3807, jsonpath 4072 4073, regnamespace 4089 4090,
regrole 4096 4097, regcollation 4191 4192, pg_snapshot 5038 5039, xid8 5069 271
"""
# Name, oid, oid of the array of it, oid of the bounds.
_RANGES = """
int4range 3904 3905 23, numrange 3906 3907 1700, tsrange 3908 3909 1114, tstzrange 3910 3911 1184,
daterange 3912 3913 1082, int8range 3926 3927 20
"""
# Name, oid, oid of the array of it, oid of the range.
_MULTIRANGES = """
int4multirange 4451 6150 3904, nummultirange 4532 6151 3906, tsmultirange 4533 6152 3908, tstzmultirange 4534 6153 3910,
datemultirange 4535 6155 3912, int8multirange 4536 6157 3926
"""


def _built_in() -> dict[int, PgType]:
    found: list[PgType] = []
    kinds: tuple[tuple[TypeKind, str], ...] = (("base", _BASES), ("range", _RANGES), ("multirange", _MULTIRANGES))
    for kind, text in kinds:
        for entry in text.split(","):
            name, oid, array, *element = entry.split()
            delimiter = ";" if name == "box" else ","
            found.append(PgType(int(oid), name, kind, int(element[0]) if element else 0, delimiter=delimiter))
            found.append(PgType(int(array), f"_{name}", "array", int(oid), delimiter=delimiter))
    return {item.oid: item for item in found}


_BUILT_IN = _built_in()
