"""Feast's online-serving workload as an app: 25 tables of 10 integers by entity, and views that join 5 and all 25.

The shape is Feast's own (25 feature views of 10 features), so each answer joins as many tables as Feast merges views.
"""

from __future__ import annotations

import pydantic

import headrace as hr

TABLES, WIDTH = 25, 10


def columns(number: int) -> list[str]:
    """The feature columns of table `number`."""
    return [f"f{number * WIDTH + n}" for n in range(WIDTH)]


def joined(tables: int) -> str:
    """One entity's features from the first `tables` tables."""
    shown = ", ".join(f"t{n}.{name}" for n in range(tables) for name in columns(n))
    joins = " ".join(f"JOIN features_{n} t{n} ON t{n}.entity = t0.entity" for n in range(1, tables))
    return f"SELECT t0.entity, {shown} FROM features_0 t0 {joins} WHERE t0.entity = :entity"


def build() -> hr.App:
    """The app."""
    app = hr.App("features")
    for number in range(TABLES):
        fields = {"entity": (int, ...), **dict.fromkeys(columns(number), (int, ...))}
        record = pydantic.create_model(f"Features{number}", __base__=hr.Record, **fields)  # type: ignore[call-overload]
        app.table(record, name=f"features_{number}", key="entity", freshness="1h")
    app.view("service_50", joined(5))
    app.view("service_250", joined(TABLES))
    return app


app = build()
