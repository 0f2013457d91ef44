"""Items by key with one secondary index, and the menu of a restaurant: the app of most benchmarks."""

from __future__ import annotations

import headrace as hr


class Item(hr.Record):
    item_id: str
    restaurant_id: str
    name: str
    price: float = hr.Field(gt=0)
    stock: int = hr.Field(ge=0)
    available: bool


def build(source: hr.sources.Source | None = None) -> hr.App:
    """The app, fed by `source` or, without one, by pushes."""
    app = hr.App("shop")
    fed = {} if source is None else {"source": source}
    app.table(Item, name="items", key="item_id", index=["restaurant_id"], freshness="1m", **fed)
    app.view(
        "menu",
        "SELECT item_id, name, price, stock, available FROM items WHERE restaurant_id = :restaurant_id"
        " ORDER BY item_id LIMIT 10",
    )
    return app


app = build()
