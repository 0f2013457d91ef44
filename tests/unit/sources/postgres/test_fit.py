"""What the doctor says of a type is what the source does with it."""

from __future__ import annotations

import pytest

from headrace.core.findings import Grade
from headrace.core.schema import ColumnType
from headrace.sources.postgres.checkup.facts import ColumnFacts
from headrace.sources.postgres.checkup.fit import fit
from headrace.sources.postgres.converters import converter
from headrace.sources.postgres.types import Types

OIDS = {
    "bool": 16, "bytea": 17, "char": 18, "name": 19, "int8": 20, "int2": 21, "int4": 23, "text": 25, "oid": 26,
    "xid": 28, "cid": 29, "json": 114, "xml": 142, "xid8": 5069, "float4": 700, "float8": 701, "money": 790,
    "inet": 869, "bpchar": 1042, "varchar": 1043, "date": 1082, "time": 1083, "timestamp": 1114, "timestamptz": 1184,
    "interval": 1186, "timetz": 1266, "bit": 1560, "numeric": 1700, "uuid": 2950, "tsvector": 3614, "jsonb": 3802,
}  # fmt: skip
"""Of pg_type.dat; they never change."""


@pytest.mark.parametrize("wanted", ColumnType)
@pytest.mark.parametrize("name", OIDS)
def test_a_type_fits_exactly_where_the_source_converts_it(name: str, wanted: ColumnType) -> None:
    grade, why = fit(ColumnFacts(name, name, "b", "?", not_null=True), wanted)
    converts = converter(Types(), OIDS[name], wanted) is not None
    if wanted is ColumnType.TEXT:
        assert grade is Grade.OK
    else:
        assert converts == (grade is not Grade.PROBLEM and "carried" not in why and "is text" not in why), why


def test_arrays_are_json_and_nothing_else_but_text() -> None:
    numbers = ColumnFacts("integer[]", "_int4", "b", "A", not_null=True)
    assert fit(numbers, ColumnType.JSON) == (Grade.OK, "")
    assert fit(numbers, ColumnType.TEXT) == (Grade.OK, "")
    assert fit(numbers, ColumnType.INTEGER)[0] is Grade.PROBLEM
