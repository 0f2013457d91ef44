"""What the bodies of all requests of one server take together.

One body is bounded (`max_body`) and so are connections, but the product is more than a machine has. A body counts with
what came of it, once that is more than `SMALL`, until its request is over; nothing counts that was only announced, so a
client that announces much and sends nothing takes no place. What is smaller always passes, and pays one comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.core.sizes import format_size

if TYPE_CHECKING:
    from headrace.http1.request import Request


class Bodies:
    """Counts them for one server.

    Parameters
    ----------
    most
        Bytes that they may take together.
    told
        Is told what they take, and how many were refused, whenever that changes.

    Attributes
    ----------
    held
        Bytes that they take now.
    refused
        Bodies that there was no room for.
    """

    def __init__(self, most: int, told: Callable[[int, int], None] = lambda _held, _refused: None) -> None:
        self.most = most
        self.held = 0
        self.refused = 0
        self._told = told

    def fits(self, length: int) -> bool:
        """Whether there is room now for a body of which the length is announced; counts it as refused otherwise."""
        return self.held + length <= self.most or self._refuse()

    def take(self, request: Request, size: int) -> bool:
        """`size` more bytes of a body of more than `SMALL` came: whether there is room for them."""
        first = not request.held
        if first:
            size = request.received
        if self.held + size > self.most:
            return self._refuse()
        if first:
            request.when_done(self._give)
        request.held += size
        self.held += size
        self._told(self.held, self.refused)
        return True

    @property
    def full(self) -> str:
        """Why there is no room, for whoever is refused."""
        return f"the bodies of the requests that are served take all that they may, {format_size(self.most)}"

    def _give(self, request: Request) -> None:
        self.held -= request.held
        request.held = 0
        self._told(self.held, self.refused)

    def _refuse(self) -> bool:
        self.refused += 1
        self._told(self.held, self.refused)
        return False
