"""What is asked of an endpoint: the input, on whose account, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.core.errors import BadInput
from headrace.models.call import Priority

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to an endpoint.

    Attributes
    ----------
    input
        Of the type that the endpoint takes.
    id
        Of the request: it stands in the answer, in the log and in the trace.
    deadline
        The instant (seconds of the monotonic clock) after which the caller does not wait; None: as the endpoint says.
    user
        Whoever asks: the split between versions is sticky by it.
    session
        Calls to models of one session prefer one upstream.
    tenant
        Tenants share the endpoint and its models fairly.
    priority
        What matters most goes first when not all can be served.
    headers
        As they came, names in lower case.
    version
        The name of a version of the endpoint that must answer; None: as the split says.
    """

    input: Any
    id: str
    deadline: float | None = None
    user: str = ""
    session: str = ""
    tenant: str = ""
    priority: Priority = Priority.NORMAL
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    version: str | None = None


def parse_priority(word: str) -> Priority:
    """The priority of a word.

    >>> parse_priority("Critical")
    <Priority.CRITICAL: 0>

    Raises
    ------
    BadInput
        It is none.
    """
    try:
        return Priority[word.strip().upper()]
    except KeyError:
        raise BadInput(
            f"the priority {word!r:.40} is not known",
            status=400,
            problems=[{"pointer": "", "kind": "header", "message": f"x-headrace-priority: {word!r:.40} is not known"}],
            hint='"critical", "normal" or "sheddable"',
        ) from None
