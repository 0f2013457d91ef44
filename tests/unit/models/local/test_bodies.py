"""Requests to local models and their answers."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.models.call import Usage
from headrace.models.local.bodies import embeddings
from headrace.models.request import Dialect, ModelRequest


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("word " * 80, 100), (["word " * 80] * 2, 200), ([1, 2, 3], 3), ([[1, 2, 3], [4]], 4)],
)
def test_what_embeddings_take_is_reckoned_where_nobody_has_counted_it(given: Any, tokens: int) -> None:
    request = ModelRequest(Dialect.EMBEDDINGS, b"{}", {"input": given}, False, 0, 0)
    assert embeddings(request, [b"[1.0]"], "e")[1] == Usage(tokens, 0)


def test_what_somebody_has_counted_stands() -> None:
    request = ModelRequest(Dialect.EMBEDDINGS, b"{}", {"input": "a"}, False, 7, 0)
    assert embeddings(request, [b"[1.0]"], "e")[1] == Usage(7, 0)
