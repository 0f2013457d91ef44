"""What of a change matters, and that small steps do not add up unseen."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.context.readset import Read, Validity, compare
from headrace.core.errors import DeclarationError
from headrace.core.schema import Row
from headrace.pipeline.tolerance import Tolerance, Tolerances, ignore, shapes, tolerance
from headrace.runtime.library import build_library


class Item(hr.Record):
    item_id: str
    restaurant_id: str
    name: str
    price: float
    stock: int = 0
    cost: Decimal = Decimal(0)
    seen_at: datetime | None = None


class Restaurant(hr.Record):
    restaurant_id: str
    name: str


APP = hr.App("shop")
APP.table(Item, key="item_id")
APP.table(Restaurant, key="restaurant_id")
APP.view("menu", "SELECT item_id, price, stock FROM items ORDER BY price")
APP.view("named", "SELECT i.item_id, r.name, i.price FROM items i JOIN restaurants r USING (restaurant_id)")
APP.view("prices", "SELECT name, price FROM items WHERE price > 0")
APP.view("counts", "SELECT restaurant_id, COUNT(*) AS n, MAX(price) AS price FROM items GROUP BY restaurant_id")
SHAPES = shapes(build_library(APP), {table.name: table.schema for table in APP.tables.values()})


def judge(name: str, before: list[Row], after: list[Row], *tolerances: Tolerance) -> tuple[bool, str]:
    """Judge a change of shown rows, each with a change instant and a version as the store adds them."""
    width = len(SHAPES[name].columns)
    read = Read(name, {}, ("items",), 1, tuple((*row, 1, 1) for row in before), width)
    changed = compare(read, tuple((*row, 2, 2) for row in after))
    if changed is None:
        return False, ""
    judged = Tolerances(tolerances, SHAPES).judge(changed)
    relaxed = Tolerances(tolerances, SHAPES).relax(Validity([changed], 5))
    assert relaxed == Validity([changed] if judged.matters else [], 5)
    return judged.matters, judged.why


ONE: list[Row] = [("a", 100.0, 5)]


@pytest.mark.parametrize(
    ("after", "bounds", "matters"),
    [
        ([("a", 101.0, 5)], {"price": "1%"}, False),
        ([("a", 101.01, 5)], {"price": "1%"}, True),
        ([("a", 99.0, 5)], {"price": "1%"}, False),
        ([("a", 98.9, 5)], {"price": "1%"}, True),
        ([("a", 100.3, 5)], {"price": 0.3}, False),
        ([("a", 100.31, 5)], {"price": 0.3}, True),
        ([("a", 100.0, 10)], {"stock": 5}, False),
        ([("a", 100.0, 11)], {"stock": 5}, True),
        ([("a", 100.0, 0)], {"stock": ignore}, False),
        ([("a", 100.0, None)], {"stock": ignore}, False),
        ([("a", 100.0, None)], {"stock": 100}, True),
        ([("a", 200.0, 0)], {"stock": ignore}, True),
        ([], {"stock": ignore, "price": ignore}, True),
        ([("a", 100.0, 5), ("b", 1.0, 1)], {"stock": ignore, "price": ignore}, True),
        ([("b", 100.0, 5)], {"stock": ignore, "price": ignore}, True),
    ],
)
def test_a_column_may_be_off_by_its_bound(after: list[Row], bounds: dict[str, Any], matters: bool) -> None:
    assert judge("menu", ONE, after, tolerance("items", **bounds))[0] is matters
    assert judge("menu", ONE, after, tolerance("menu", **bounds))[0] is matters


def test_it_says_what_matters() -> None:
    assert judge("menu", ONE, [("a", 150.0, 5)], tolerance("items", price="1%"))[1] == (
        "'menu': price was 100.0 and is 150.0"
    )
    assert "1 rows came, 1 went" in judge("menu", ONE, [("b", 100.0, 5)], tolerance("items", price="1%"))[1]


def test_without_a_tolerance_for_it_every_change_matters() -> None:
    assert judge("menu", ONE, [("a", 100.1, 5)])[0]
    assert judge("menu", ONE, [("a", 100.1, 5)], tolerance("restaurants", name=ignore))[0]


def test_a_row_that_was_written_again_does_not_matter() -> None:
    assert not judge("menu", ONE, ONE, tolerance("items", price="1%"))[0]


def test_of_zero_there_is_no_share() -> None:
    assert judge("menu", [("a", 0.0, 5)], [("a", 0.001, 5)], tolerance("items", price="50%"))[0]


def test_rows_that_change_places_matter_unless_left_out() -> None:
    before: list[Row] = [("a", 100.0, 5), ("b", 100.5, 5)]
    after: list[Row] = [("b", 100.5, 5), ("a", 100.9, 5)]
    assert judge("menu", before, after, tolerance("items", price="1%")) == (
        True,
        "the rows of 'menu' changed their order",
    )
    assert not judge("menu", before, after, tolerance("items", price="1%", ordered=False))[0]


def test_a_column_of_two_tables_is_relaxed_by_the_view_alone() -> None:
    before: list[Row] = [("a", "old", 1.0)]
    after: list[Row] = [("a", "new", 1.0)]
    assert judge("named", before, after, tolerance("items", name=ignore))[0]
    assert judge("named", before, after, tolerance("restaurants", name=ignore))[0]
    assert not judge("named", before, after, tolerance("named", name=ignore))[0]


def test_what_names_the_view_counts_more() -> None:
    after: list[Row] = [("a", 105.0, 5)]
    both = (tolerance("menu", price="10%"), tolerance("items", price="1%"))
    assert not judge("menu", ONE, after, *both)[0]
    assert not judge("menu", ONE, after, *both[::-1])[0]


def test_rows_without_a_key_are_paired_by_what_has_no_tolerance() -> None:
    before: list[Row] = [("soup", 10.0), ("cake", 20.0)]
    assert not judge("prices", before, [("soup", 10.05), ("cake", 20.0)], tolerance("items", price="1%"))[0]
    assert judge("prices", before, [("soup", 11.0), ("cake", 20.0)], tolerance("items", price="1%"))[0]
    twice: list[Row] = [("soup", 10.0), ("soup", 20.0)]
    assert judge("prices", twice, [("soup", 10.05), ("soup", 20.0)], tolerance("items", price="1%"))[0]
    assert not judge("prices", twice, twice, tolerance("items", price="1%"))[0]


def test_groups_are_paired_by_what_they_group_by() -> None:
    before: list[Row] = [("r1", 3, 10.0), ("r2", 4, 10.0)]
    assert not judge("counts", before, [("r1", 4, 10.0), ("r2", 4, 10.0)], tolerance("counts", n=1))[0]
    assert judge("counts", before, [("r1", 5, 10.0), ("r2", 4, 10.0)], tolerance("counts", n=1))[0]


def test_times_and_decimals_have_bounds_too() -> None:
    def row(cost: str, seen: int) -> Row:
        return ("a", "r", "n", 1.0, 1, cost, seen)

    bounds = tolerance("items", cost="1%", seen_at="5s")
    assert not judge("items", [row("10.00", 0)], [row("10.1", 5_000_000)], bounds)[0]
    assert judge("items", [row("10.00", 0)], [row("10.11", 0)], bounds)[0]
    assert judge("items", [row("10.00", 0)], [row("10.00", 5_000_001)], bounds)[0]


@given(st.lists(st.floats(-0.9, 0.9), min_size=3, max_size=30))
def test_small_steps_do_not_add_up_unseen(steps: list[float]) -> None:
    price = 100.0
    for step in steps:
        price += step
        matters = judge("menu", ONE, [("a", price, 5)], tolerance("items", price=1))[0]
        assert matters == (abs(Decimal(str(price)) - 100) > 1)


@pytest.mark.parametrize("bound", [-1, "x", "-1%", True, float("nan"), float("inf"), "", "%", "1/0%", None, "-5s"])
def test_what_is_no_bound_is_refused(bound: Any) -> None:
    with pytest.raises(DeclarationError, match=r"items\.price is none"):
        tolerance("items", price=bound)


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (tolerance("itemz", price=1), "no table or view"),
        (tolerance("items", prize=1), "not there"),
        (tolerance("items", name=1), "is a text"),
        (tolerance("items", price="5s"), "cannot be off by '5s'"),
        (tolerance("items", seen_at="1%"), "is a timestamp"),
        (tolerance("menu", name=ignore), "not there"),
    ],
)
def test_a_tolerance_that_fits_nothing_is_refused(one: Tolerance, word: str) -> None:
    with pytest.raises(DeclarationError, match=word):
        Tolerances([one], SHAPES)
