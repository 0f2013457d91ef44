"""The seam between the router and the places where models run: what is declared, what is opened, what comes back.

    Provider   declared by the user: a value, with the fields of an `UpstreamSpec`
    Carrier    the same, opened in the process that serves: makes one attempt after the other
    Incoming   what came back of one attempt: a whole answer, or a stream that has shown its first content
    Failed     what an attempt raises instead

A kind of upstream is a `Provider` and a `Carrier`; it need not be HTTP. The router, the deadline and all policies are
above: a carrier has no timers, no retries and no state that outlives an attempt but its connections. An attempt that is
not wanted any more is cancelled (`begin`) or stopped (`Incoming.stop`), and must be gone at its upstream at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Protocol

from msgspec import Struct
from pydantic import ValidationError

from headrace.core.clock import Clock
from headrace.core.errors import DeclarationError
from headrace.core.mistakes import why
from headrace.core.options import own_options
from headrace.http1.client import Client
from headrace.models.call import Usage
from headrace.models.failure import Failure
from headrace.models.headers import NOTHING, Limits
from headrace.models.request import Dialect, ModelRequest
from headrace.models.settings import UpstreamSpec


class Failed(Exception):
    """An attempt gave no (whole) answer.

    Attributes
    ----------
    failure
        What it says about the upstream.
    message
        What happened, for people.
    status, body
        What the upstream answered, in the client's dialect; 0 and empty when it did not.
    limits
        What it said about its limits.
    said
        What its own error says, where it came with a status of success.
    upstream
        Its name; set by whoever made the attempt.
    """

    upstream = ""

    def __init__(
        self,
        failure: Failure,
        message: str,
        *,
        status: int = 0,
        body: bytes = b"",
        limits: Limits = NOTHING,
        said: str = "",
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.status = status
        self.body = body
        self.limits = limits
        self.said = said

    @property
    def why(self) -> str:
        """What happened, as clients are told it: in our words, but for what an upstream says of their own request.

        >>> Failed(Failure.UNREACHABLE, "cannot connect to http://10.0.0.7:8000: refused").why
        'it cannot be reached'
        """
        if self.status:
            return f"it answered {self.status}"
        if self.said and self.failure is Failure.BAD_REQUEST:
            return f"it says: {self.said:.200}"
        return self.failure.told


class Unfit(Failed):
    """A model of the app's own does not take its input. What it says of it is meant for whoever asked."""

    @property
    def why(self) -> str:
        """What happened, as clients are told it: what the model says."""
        return self.message


class Unsendable(Failed):
    """An attempt that was not made: the request cannot be sent as it is, here or elsewhere."""

    def __init__(self, message: str) -> None:
        super().__init__(Failure.BAD_REQUEST, message)


class Incoming(Protocol):
    """The answer to one attempt: whole, or a stream whose first content is there.

    Attributes
    ----------
    status, headers
        Of the answer; of the headers only what concerns a client.
    limits
        What the upstream said about its limits.
    complete
        Whether nothing is missing any more: the end mark was seen. `usage` is then final.
    written
        Tokens that have come so far, about: what an answer that is cut off is charged for.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    limits: Limits
    complete: bool

    @property
    def written(self) -> int:
        """See above."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What it took, as far as that was told."""
        ...

    async def next(self) -> bytes:
        """The next piece of the body in the dialect of the request; empty: there is no more.

        Raises
        ------
        Failed
            The answer broke off.
        """
        ...

    def stop(self) -> None:
        """Cancel it at its upstream at once; whoever waits in `next` gets `Failed`."""
        ...


class Whole(Struct, eq=False):
    """An answer that came whole.

    >>> Whole(b"{}").complete
    True
    """

    body: bytes
    usage: Usage | None = None
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"application/json"),)
    limits: Limits = NOTHING
    complete: bool = True
    written: int = 0

    async def next(self) -> bytes:
        """The body, once."""
        return self.take()

    def take(self) -> bytes:
        """The body, once."""
        body, self.body = self.body, b""
        return body

    def stop(self) -> None:
        """There is nothing to stop."""


class Carrier(Protocol):
    """An upstream that is ready: makes attempts.

    One that need not wait for anything to make them may have `start` too (`Starter`).

    Attributes
    ----------
    takes
        Kinds of requests, as their dialect and whether they want a stream, that it never refuses, whatever is in them.
    """

    @property
    def takes(self) -> frozenset[tuple[Dialect, bool]]:
        """See above."""
        ...

    def refuses(self, request: ModelRequest) -> str:
        """Why this upstream cannot take such a request at all (its dialect, say); empty when it can."""
        ...

    async def begin(self, request: ModelRequest, until: float) -> Incoming:
        """Send a request; returns with the whole answer, or with the first content of a stream.

        Cancelled, it ends the attempt at the upstream at once.

        Parameters
        ----------
        until
            The instant (seconds of the monotonic clock) at which the attempt ends, its stream included: whoever asked
            cancels it then. It is told so that nothing is begun for it that could not end in time.

        Raises
        ------
        Failed
            There is no answer.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what it holds."""
        ...


class Starter(Protocol):
    """What a `Carrier` can do besides: make an attempt without a task that waits for it."""

    def start(
        self, request: ModelRequest, until: float, told: Callable[[Incoming | Exception], None]
    ) -> Callable[[], None] | None:
        """Send a request now, and call `told` once with what `begin` would return or raise, but never before this
        returns.

        Returns what ends the attempt at the upstream at once, after which nothing needs to be told; or None where it
        has to wait for something: then `begin` is called.
        """
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What a provider is opened with.

    Attributes
    ----------
    client
        Connections, shared by all upstreams.
    clock, random
        As everywhere.
    environment
        Where keys are found: they are named in the declaration, never written in it.
    """

    client: Client
    clock: Clock
    random: Random
    environment: Mapping[str, str]


class Provider(ABC):
    """One place where a model can be called, as the user declares it.

    Parameters
    ----------
    name
        Unique among the upstreams of a model; also in metrics.
    model
        The model there; None: the name of the declared model.
    tier
        0: used as long as one of this tier can be; 1, 2, ...: fallbacks, in this order.
    requests_per_minute, tokens_per_minute
        Known limits; others are learnt from headers.
    local
        A server of one's own, which queues, rather than a hosted API, which refuses.

    Raises
    ------
    DeclarationError
        A value cannot be.
    """

    kind: ClassVar[str]
    """What it is, in one word."""

    def __init_subclass__(cls, **how: object) -> None:
        super().__init_subclass__(**how)
        own_options(cls)

    def __init__(
        self,
        name: str,
        *,
        model: str | None = None,
        tier: int = 0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        local: bool = False,
    ) -> None:
        self.model = model
        try:
            self._spec = UpstreamSpec(
                name=name,
                model=model or "",
                tier=tier,
                local=local,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
            )
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DeclarationError(
                f"an upstream cannot have {field} = {first['input']!r:.80}: {why(first)}",
                hint="see the parameters of headrace.models." + type(self).__name__,
            ) from None

    @property
    def name(self) -> str:
        """Its name among the upstreams of a model."""
        return self._spec.name

    def spec(self, model: str) -> UpstreamSpec:
        """What the router knows of it. `model`: the name of the declared model, which counts when it has none."""
        return self._spec.model_copy(update={"model": self.model or model})

    def check(self, environment: Mapping[str, str]) -> None:  # noqa: B027 - most need nothing
        """Look whether what it needs where it is opened is there. Nothing is sent.

        Raises
        ------
        DeclarationError
            It is not: the environment variable of its key is not set, say.
        """

    @abstractmethod
    async def open(self, opening: Opening) -> Carrier:
        """Make it ready.

        Raises
        ------
        DeclarationError
            Something that it needs is not there, such as the environment variable of its key.
        """

    @abstractmethod
    def describe(self) -> str:
        """One line for people, without secrets."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.describe()}>"
