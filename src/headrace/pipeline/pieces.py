"""A streamed answer for Python: `async for piece in live.stream(...)`, here and from afar."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any

from headrace.core.errors import HeadraceError, StreamBroken
from headrace.pipeline.answer import Asked
from headrace.pipeline.typed import typed


class Pieces:
    """The pieces of one answer, as they come; what is to be said of it is there at its end (`facts`).

        pieces = live.stream("/tell", {"restaurant_id": "r7"})
        async for piece in pieces:
            print(piece)
        print(pieces.facts.version, pieces.facts.unchanged_as_of)

    The request is sent with the first look. Where not all pieces are taken, `async with live.stream(...) as pieces`
    ends the answer at the model at once.

    Parameters
    ----------
    items
        The pieces as plain JSON data, and an `Asked` without a value as the last of all.
    response
        A type that each piece is to be read as; plain data if None.
    """

    def __init__(self, items: AsyncGenerator[Any], response: Any = None) -> None:
        self._items = items
        self._typed = None if response is None else typed(response)
        self._facts: Asked | None = None

    @property
    def facts(self) -> Asked:
        """Version, ages and whether what was read still held, without a value.

        Raises
        ------
        HeadraceError
            The stream is not at its end, or broke off.
        """
        if self._facts is None:
            raise HeadraceError(
                "what is to be said of a streamed answer is known at its end", hint="take all pieces before"
            )
        return self._facts

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Any:
        """The next piece.

        Raises
        ------
        StreamBroken
            The answer broke off: what came is not all of it.
        HeadraceError
            There is no answer, it ended for a reason that is known, such as its deadline, or a piece does not fit
            `response`.
        """
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            if self._facts is None:  # it was closed, or had broken: not to be taken for an end
                raise StreamBroken("the stream is over, and did not come to its end") from None
            raise
        if isinstance(item, Asked):
            self._facts = item
            await self._items.aclose()
            raise StopAsyncIteration
        return item if self._typed is None else self._typed.of(item)

    async def aclose(self) -> None:
        """Nobody takes more: what still runs for this answer is cancelled."""
        await self._items.aclose()

    async def __aenter__(self) -> Pieces:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
