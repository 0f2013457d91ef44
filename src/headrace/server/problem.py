"""Errors as HTTP answers: problem documents (RFC 9457), never a traceback."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.responses import Response

from headrace.core.errors import HeadraceError
from headrace.core.problems import PREFIX, to_problem

MEDIA_TYPE = "application/problem+json"

RawHeaders = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, ready to be sent.

    Attributes
    ----------
    name
        The last part of the problem's type.
    members
        Further members of the document.
    headers
        Further response headers.
    """

    status: int
    name: str
    title: str
    detail: str
    hint: str = ""
    members: dict[str, Any] = field(default_factory=dict[str, Any])
    headers: RawHeaders = ()

    @classmethod
    def of(cls, error: HeadraceError, *, request: str = "") -> Problem:
        """The problem of an error of ours (see `to_problem`); `Retry-After` where it says when to come back."""
        document = to_problem(error, request=request)
        known = {key: document.pop(key) for key in ("type", "title", "status", "detail")}
        hint = document.pop("hint", "")
        headers: RawHeaders = ()
        if "retry_after" in document:
            # Whole seconds, at least one: the header knows no fractions, the document has the exact value.
            headers = ((b"retry-after", str(max(1, math.ceil(document["retry_after"]))).encode()),)
        name = known["type"].removeprefix(PREFIX)
        return cls(known["status"], name, known["title"], known["detail"], hint, document, headers)

    @property
    def body(self) -> bytes:
        """The document as JSON."""
        document = {"type": PREFIX + self.name, "title": self.title, "status": self.status, "detail": self.detail}
        if self.hint:
            document["hint"] = self.hint
        return msgspec.json.encode(document | self.members)

    def response(self) -> Response:
        """The problem as a Starlette response."""
        return Response(
            self.body,
            status_code=self.status,
            media_type=MEDIA_TYPE,
            headers={name.decode(): value.decode() for name, value in self.headers},
        )
