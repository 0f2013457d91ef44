"""What `/openapi.json` says of an endpoint beside the standard's own fields."""

from __future__ import annotations

from typing import Any

import headrace as hr
from headrace.server.endpoint_schemas import describe


async def answer(ask: dict[str, Any], ctx: hr.Context) -> dict[str, Any]:
    return ask


def test_versions_are_told_with_their_weights_and_which_of_them_are_declared_shadows() -> None:
    endpoint = hr.App("x").endpoint("/a", deadline="2s")(answer)
    endpoint.version("b")(answer)
    endpoint.version("c", shadow=True)(answer)
    assert describe(endpoint)["post"]["x-headrace"] == {
        "deadline_s": 2.0,
        "versions": ["a", "b", "c"],
        "weights": {"a": 1.0, "b": 0.0, "c": 1.0},
        "shadows": ["c"],
    }
