"""How an attempt at an upstream can fail, and what each failure says about the upstream.

| failure      | blames it | tried again | lowers concurrency  | example                               |
|--------------|-----------|-------------|---------------------|---------------------------------------|
| rate limited | no        | anywhere    | yes                 | 429 with `retry-after`                |
| quota        | no        | elsewhere   | no                  | 429 `insufficient_quota`, 402         |
| overloaded   | yes       | anywhere    | the second in a row | 503, 529                              |
| server error | yes       | anywhere    | no                  | 500, 502, 504                         |
| timeout      | yes       | anywhere    | yes                 | no first byte in time, a stalled body |
| connection   | yes       | anywhere    | no                  | reset, a truncated stream             |
| unreachable  | yes       | anywhere    | no                  | refused: nothing was sent             |
| credentials  | no        | elsewhere   | no                  | 401, 403                              |
| missing      | no        | elsewhere   | no                  | 404: this upstream lacks the model    |
| malformed    | yes       | elsewhere   | no                  | a tool call without its function      |
| bad request  | no        | nowhere     | no                  | 400, 413, 422: the request's fault    |
| cancelled    | no        | nowhere     | no                  | the client went away                  |
"""

from __future__ import annotations

import enum


class Where(enum.Enum):
    """Where a failed request may be tried again."""

    NOWHERE = "nowhere"
    ELSEWHERE = "elsewhere"
    ANYWHERE = "anywhere"


class Failure(enum.StrEnum):
    """Why an attempt gave no answer."""

    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    UNREACHABLE = "unreachable"
    CREDENTIALS = "credentials"
    MISSING = "missing"
    MALFORMED = "malformed"
    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"

    @property
    def blames_upstream(self) -> bool:
        """Whether it says that the upstream is ill; a wrong key or a wrong request never does."""
        return self in _BLAMED

    @property
    def means_too_much(self) -> bool:
        """Whether it says that too much is in flight: the explicit signals of adaptive concurrency."""
        return self in _TOO_MUCH

    @property
    def told(self) -> str:
        """What it says about an upstream, in words for people who cannot look at it."""
        return _TOLD[self]

    @property
    def retry(self) -> Where:
        """Where the request may be tried again."""
        return _RETRY[self]


MAYBE_READ = frozenset({Failure.TIMEOUT, Failure.CONNECTION, Failure.MALFORMED, Failure.CANCELLED})
"""Failures after which the prompt may have been read, and its tokens billed."""
_BLAMED = frozenset(
    {
        Failure.OVERLOADED,
        Failure.SERVER_ERROR,
        Failure.TIMEOUT,
        Failure.CONNECTION,
        Failure.UNREACHABLE,
        Failure.MALFORMED,
    }
)
_TOO_MUCH = frozenset({Failure.RATE_LIMITED, Failure.OVERLOADED, Failure.TIMEOUT})
_RETRY = {
    Failure.RATE_LIMITED: Where.ANYWHERE,
    Failure.QUOTA: Where.ELSEWHERE,
    Failure.OVERLOADED: Where.ANYWHERE,
    Failure.SERVER_ERROR: Where.ANYWHERE,
    Failure.TIMEOUT: Where.ANYWHERE,
    Failure.CONNECTION: Where.ANYWHERE,
    Failure.UNREACHABLE: Where.ANYWHERE,
    Failure.CREDENTIALS: Where.ELSEWHERE,
    Failure.MISSING: Where.ELSEWHERE,
    Failure.MALFORMED: Where.ELSEWHERE,
    Failure.BAD_REQUEST: Where.NOWHERE,
    Failure.CANCELLED: Where.NOWHERE,
}

_TOLD = {
    Failure.RATE_LIMITED: "it is over its rate limits",
    Failure.QUOTA: "no credit is left there",
    Failure.OVERLOADED: "it has too much to do",
    Failure.SERVER_ERROR: "what it answered is of no use",
    Failure.TIMEOUT: "it did not answer in time",
    Failure.CONNECTION: "its connection ended too early",
    Failure.UNREACHABLE: "it cannot be reached",
    Failure.CREDENTIALS: "it does not take the key of this server",
    Failure.MISSING: "it does not have that model",
    Failure.MALFORMED: "its answer is malformed",
    Failure.BAD_REQUEST: "it does not take the request",
    Failure.CANCELLED: "nobody waits any more",
}

_EXHAUSTED = frozenset({"insufficient_quota", "quota_exceeded", "billing_hard_limit_reached", "billing_error"})
"""Codes with which providers tell "you have no credit left" from "not so fast", both with status 429."""
_BY_STATUS = {
    401: Failure.CREDENTIALS,
    402: Failure.QUOTA,
    403: Failure.CREDENTIALS,
    404: Failure.MISSING,
    408: Failure.TIMEOUT,
    409: Failure.SERVER_ERROR,
    429: Failure.RATE_LIMITED,
    503: Failure.OVERLOADED,
    529: Failure.OVERLOADED,
}


def classify(status: int, code: str = "") -> Failure | None:
    """What an HTTP status means, with the error code of the body where there is one; None for a success.

    Parameters
    ----------
    status
        The HTTP status.
    code
        `error.code` or `error.type` of the body.

    Examples
    --------
    >>> classify(200), classify(529), classify(422)
    (None, <Failure.OVERLOADED: 'overloaded'>, <Failure.BAD_REQUEST: 'bad_request'>)
    >>> classify(429), classify(429, "insufficient_quota")
    (<Failure.RATE_LIMITED: 'rate_limited'>, <Failure.QUOTA: 'quota'>)
    """
    if status < 400:
        return None
    if status == 429 and code in _EXHAUSTED:
        return Failure.QUOTA
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Failure.SERVER_ERROR if status >= 500 else Failure.BAD_REQUEST
