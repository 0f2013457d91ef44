"""What cannot be true is refused where it is declared, by the line of the user's file, with what to do."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from textwrap import dedent

import pytest

import headrace as hr
from headrace.client import Remote
from headrace.core.clock import SECOND, SystemClock
from headrace.core.errors import DeclarationError
from headrace.declaration.declaration import METHODS
from headrace.pipeline.context import NAMES, Context
from headrace.runtime.live import Live


class Payment(hr.Record):
    payment_id: str
    card: str
    amount: float
    at: datetime


@pytest.mark.parametrize(("refresh", "micros"), [("2s", 2 * SECOND), (2, 2 * SECOND), (None, SECOND)])
def test_a_view_is_refreshed_as_often_as_it_says(refresh: str | int | None, micros: int) -> None:
    app = hr.App("fraud")
    app.events(Payment, event_time="at")
    top = app.view("top", "SELECT card, SUM(amount) AS spent FROM payments GROUP BY card", refresh=refresh)
    assert top.plan.refresher is not None
    assert top.plan.refresher.every == micros


def test_an_index_over_one_column_is_its_name() -> None:
    table = hr.App("fraud").table(Payment, key="payment_id", index="card")
    assert table.schema.indexes == (("card",),)


WRONG = [
    ("app.table(Payment, key='payment')", "'payment'", "did you mean 'payment_id'?"),
    ("app.table(Payment(payment_id='p', card='c', amount=1, at=0), key='card')", "is not a record", "give a class"),
    ("app.table(dict, key='card')", "is not a record", "give a class"),
    ("app.table(Payment, key='payment_id', source='payments.csv')", "is not a source", "sources.Files"),
    ("app.table(Payment, key='payment_id', rules=['amount > 0'])", "is not a rule", "Rule(...)"),
    ("app.table(Payment, key='payment_id', name='fast__keys')", "two underscores", "write 'fast_keys'"),
    ("app.events(Payment, event_time='card')", "not a datetime", "at"),
    ("app.rollup('fast', pays, by='card', windows='1h', n='count')", "is no aggregate", "n=count()"),
    ("app.rollup('fast', pays, by='card', windows='1h', n=hr.quantile('amount', 7))", "within 0 to 1", "0.5"),
    ("app.view('v', 'SELECT card, spent FROM pays')", "no column 'spent'", "there are"),
    ("app.view('push', 'SELECT card FROM pays')", "a method of that name", "'push_view'"),
    ("app.view('user', 'SELECT card FROM pays')", "has a `ctx.user` of its own", "await ctx.user_view(...)"),
    ("app.view('model', 'SELECT card FROM pays')", "has a `ctx.model` of its own", "'model_view'"),
    ("app.model('version', hr.models.OpenAI('http://h/v1'))", "has a `ctx.version` of its own", "'version_model'"),
    ("app.view(5, 'SELECT card FROM pays')", "5 is not a name for a table", "use letters"),
    ("app.view('v', ['SELECT card FROM pays'])", "['SELECT card FROM pays'], which is no text", "SELECT ..."),
    ("app.view('v', 'SELECT card FROM pays', policy=5)", "5 is not a freshness policy", "refuse"),
    ("app.model(['m'], hr.models.OpenAI('http://h/v1'))", "['m'] is not a name for a model", "use letters"),
    ("app.view('v', '')", "0 statements", "SELECT"),
    ("app.view('v', 'SELECT card FROM pays WHERE card = :c', refresh='2s')", "every 2s", "leave refresh out"),
    ("hr.Rule(lambda payment: payment.amount > 0)", "no name", "name it"),
    ("hr.sources.Files('in', format='xml')", "format='xml'", '"csv"'),
    ("hr.Field(minlength=1)", "'minlength'", "did you mean 'min_length'?"),
]


@pytest.mark.parametrize(("line", "message", "hint"), WRONG)
def test_a_wrong_declaration_is_told_by_its_line(tmp_path: Path, line: str, message: str, hint: str) -> None:
    file = tmp_path / "fraud.py"
    head = """\
        import headrace as hr
        from datetime import datetime
        app = hr.App("fraud")
        class Payment(hr.Record):
            payment_id: str
            card: str
            amount: float
            at: datetime
        pays = app.events(Payment, event_time="at", name="pays")
        """
    file.write_text(dedent(head) + line + "\n")
    with pytest.raises(DeclarationError) as caught:
        hr.load_app(file)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.where == f"{file}:10"


def test_no_view_can_be_called_like_something_that_a_running_app_or_a_client_has(tmp_path: Path) -> None:
    live = Live(hr.App("any"), data=tmp_path, clock=SystemClock())
    remote = Remote("http://127.0.0.1:1")
    live.reads = None  # type: ignore[assignment]  # as it has once it runs
    names = {*dir(Live), *vars(live), *dir(Remote), *vars(remote)}
    assert {name for name in names if not name.startswith("_")} == METHODS


def test_no_view_and_no_model_can_be_called_like_something_that_a_context_has() -> None:
    names = {name for name in dir(Context) if not name.startswith("_")}
    assert names == NAMES
    assert {"user", "session", "headers", "deadline", "stage", "read"} <= names
    for name in names:
        app = hr.App("fraud")
        app.table(Payment, key="payment_id")
        with pytest.raises(DeclarationError, match=f"cannot be called '{name}'"):
            app.view(name, "SELECT card FROM payments")
        with pytest.raises(DeclarationError, match=f"cannot be called '{name}'"):
            app.model(name, hr.models.OpenAI("http://h/v1"))
