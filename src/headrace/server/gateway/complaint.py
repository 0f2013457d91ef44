"""What is wrong with a request or its answer, in the shape of the dialect that the client speaks.

The official libraries turn these into their own exceptions: the status chooses the class, `code` says more, and
`x-should-retry` tells them whether another try can help (without it they try every 429 and 5xx again).

| what                              | status | OpenAI `type` / `code`                          | Anthropic `type`      |
|-----------------------------------|--------|-------------------------------------------------|-----------------------|
| the body does not fit             | 400    | invalid_request_error / invalid_value           | invalid_request_error |
| no key, or an unknown one         | 401    | invalid_request_error / invalid_api_key         | authentication_error  |
| the key may not use this model    | 403    | invalid_request_error / model_not_allowed       | permission_error      |
| the key may not read this view    | 403    | invalid_request_error / view_not_allowed        | permission_error      |
| no such model, no such path       | 404    | invalid_request_error / model_not_found         | not_found_error       |
| too large                         | 413    | invalid_request_error / request_too_large       | request_too_large     |
| compressed                        | 415    | invalid_request_error / unsupported_media_type  | invalid_request_error |
| over the key's requests or tokens | 429    | requests or tokens / rate_limit_exceeded        | rate_limit_error      |
| its money is set aside, not spent | 429    | requests / rate_limit_exceeded                  | rate_limit_error      |
| no money left (429; Anthropic 402)| 429    | insufficient_quota / insufficient_quota         | billing_error         |
| too busy (503; Anthropic 529)     | 503    | server_error / overloaded                       | overloaded_error      |
| an upstream failed                | 502    | server_error / upstream_failed                  | api_error             |
| out of time                       | 504    | server_error / timeout                          | timeout_error         |
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from headrace.http1.headers import Field
from headrace.http1.response import Response
from headrace.models.dialects.errors import type_of
from headrace.models.request import Dialect

JSON: Field = (b"content-type", b"application/json")
_NO_RETRY: Field = (b"x-should-retry", b"false")

_QUOTA = "insufficient_quota"
_LONGEST = 2000
"""Characters of a message: values of the client stand in it, and a body may hold one of megabytes."""


class Complaint(Exception):
    """Why a request is not answered, in words of every dialect. Raised inside the gateway, and rendered at its edge.

    Parameters
    ----------
    status
        The HTTP status in OpenAI's dialects; Anthropic's own where it has one (402, 529).
    message
        What is wrong, with the value, and what to do about it.
    kind, code
        OpenAI's `type` and `code`.
    param
        The field of the body that is wrong.
    retry_after
        Seconds after which it may be worth trying again.
    retry
        False: trying again cannot help, and the client's library is told so.

    Attributes
    ----------
    headers
        More to say in headers.
    lines
        The same, written already, as in `Response`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        retry: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + "..."
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.retry = retry
        self.headers: list[Field] = []
        self.lines = b""

    def status_in(self, dialect: Dialect) -> int:
        """The HTTP status in a dialect."""
        if dialect is Dialect.MESSAGES:
            return 402 if self.code == _QUOTA else 529 if self.status == 503 else self.status
        return self.status

    def document(self, dialect: Dialect) -> dict[str, Any]:
        """The body in a dialect.

        >>> Complaint(404, "no model 'x'", code="model_not_found").document(Dialect.CHAT)["error"]["code"]
        'model_not_found'
        >>> Complaint(404, "no model 'x'").document(Dialect.MESSAGES)
        {'type': 'error', 'error': {'type': 'not_found_error', 'message': "no model 'x'"}}
        """
        if dialect is Dialect.MESSAGES:
            kind = type_of(self.status_in(dialect))
            return {"type": "error", "error": {"type": kind, "message": self.message}}
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self, dialect: Dialect, headers: list[Field] | None = None) -> Response:
        """The answer in a dialect."""
        fields = [JSON, *(headers or ()), *self.headers]
        if self.retry_after is not None and math.isfinite(self.retry_after):
            fields.append((b"retry-after", b"%d" % max(1, math.ceil(self.retry_after))))
            fields.append((b"retry-after-ms", b"%d" % max(1, math.ceil(self.retry_after * 1000))))
        if not self.retry:
            fields.append(_NO_RETRY)
        if self.status == 401:
            fields.append((b"www-authenticate", b"Bearer"))
        document = msgspec.json.encode(self.document(dialect))
        return Response(self.status_in(dialect), fields, document, lines=self.lines)

    def event(self, dialect: Dialect) -> bytes:
        """The last event of a stream that breaks off.

        The responses API names its errors by members of the event itself; libraries look for `error`. Both are there.
        """
        document = self.document(dialect)
        if dialect is Dialect.RESPONSES:
            document = {"type": "error", "code": self.code, "message": self.message, "param": None} | document
        return b"event: error\ndata: " + msgspec.json.encode(document) + b"\n\n"
