"""What counts as a change of what was read."""

from __future__ import annotations

from headrace.context.readset import Read, compare
from headrace.core.schema import Row


def read(*rows: tuple[str, int]) -> Read:
    """A read of two columns; each row has an instant and a version, as the store adds them."""
    return Read("menu", {}, ("items",), 1, stored(*rows, version=1), 2)


def stored(*rows: tuple[str, int], version: int = 2) -> tuple[Row, ...]:
    return tuple((*row, version, version) for row in rows)


def test_rows_that_are_written_again_as_they_were_have_not_changed() -> None:
    assert compare(read(("soup", 3), ("stew", 5)), stored(("soup", 3), ("stew", 5))) is None


def test_only_the_rows_that_differ_are_told() -> None:
    changed = compare(read(("soup", 3), ("stew", 5)), stored(("soup", 0), ("stew", 5), ("rice", 1)))
    assert changed is not None
    assert changed.came == [("soup", 0), ("rice", 1)]
    assert changed.went == [("soup", 3)]
    assert changed.reason == "'menu': 2 rows came or changed, 1 went or changed"


def test_rows_that_look_alike_are_counted() -> None:
    changed = compare(read(("soup", 3), ("soup", 3)), stored(("soup", 3)))
    assert changed is not None
    assert (changed.came, changed.went) == ([], [("soup", 3)])


def test_an_order_that_changed_counts() -> None:
    changed = compare(read(("soup", 3), ("stew", 5)), stored(("stew", 5), ("soup", 3)))
    assert changed is not None
    assert "order" in changed.reason
    assert changed.current == (("stew", 5), ("soup", 3))
