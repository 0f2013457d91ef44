"""Whether a key may call a model, and on which terms: what follows from the head of a request and the model's name."""

from __future__ import annotations

from msgspec import Struct

from headrace.http1.request import Request
from headrace.models.call import Priority
from headrace.models.deadline import remaining_header
from headrace.models.request import Dialect
from headrace.models.routed import RoutedModel
from headrace.server.gateway import wish
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.keys import VirtualKey
from headrace.server.gateway.offer import Offer
from headrace.server.gateway.tally import Answers

_PRIORITIES = {b"critical": Priority.CRITICAL, b"normal": Priority.NORMAL, b"sheddable": Priority.SHEDDABLE}


class Access(Struct, frozen=True):
    """How requests with one head call one model.

    Attributes
    ----------
    offer, key
        The model, and who calls it (None: it has no limits).
    routed
        What carries it, where nobody has to wait for that in a task.
    metered
        Whether its tokens count.
    priced
        Whether only upstreams with a price may be asked.
    answers
        Where answers are counted.
    seconds
        How long each may take.
    tenant, account, priority
        As in `Terms`; `account` is its `key`.
    session
        As in `Terms`, where a header names one; None: the body may.
    wants_context
        Whether a header asks for context.
    beta
        As in `ModelRequest`.
    """

    offer: Offer
    key: VirtualKey | None
    routed: RoutedModel | None
    metered: bool
    priced: bool
    answers: Answers
    seconds: float
    tenant: str
    account: str
    priority: Priority
    session: str | None
    wants_context: bool
    beta: bytes

    def __repr__(self) -> str:
        return f"<Access to {self.offer.name}>"


def access_to(offer: Offer, key: VirtualKey | None, dialect: Dialect, request: Request, answers: Answers) -> Access:
    """How a key calls a model with such a request.

    Raises
    ------
    Complaint
        403: it may not; 400: a header cannot be understood.
    """
    if key is not None:
        _allow(key, offer)
    named = request.named
    wish.check(named)
    priority = Priority.NORMAL if key is None else key.rank
    urgency = named.get(b"x-headrace-priority")
    if urgency is not None:
        priority = _priority(urgency, None if key is None else priority)
    session = named.get(b"x-headrace-session")
    return Access(
        offer=offer,
        key=key,
        routed=offer.caller if isinstance(offer.caller, RoutedModel) else None,
        metered=key is not None and key.tpm is not None,
        priced=key is not None and bool(key.budget.limits) and bool(offer.unpriced),
        answers=answers,
        seconds=_seconds(named.get(b"x-request-timeout-ms"), named.get(b"grpc-timeout"), offer.deadline),
        tenant="" if key is None else key.tenant or key.name,
        account="" if key is None else key.id,
        priority=priority,
        session=None if session is None else session.decode("latin-1"),
        wants_context=wish.CONTEXT in named,
        beta=b",".join(value for name, value in request.headers if name == dialect.beta and value),
    )


def _allow(key: VirtualKey, offer: Offer) -> None:
    model = offer.name
    if not key.allows(model):
        message = f"the key {key.name!r} may not call the model {model!r}; it may call: {', '.join(key.models)}"
        raise Complaint(403, message, code="model_not_allowed", param="model", retry=False)
    if key.budget.limits and not offer.priced:
        names = ", ".join(name for name in offer.unpriced if name != model)
        which = f" (it is {names} at its upstreams)" if names else ""
        message = f"the model {model!r} has no price{which}, so the budget of the key {key.name!r} cannot be held"
        raise Complaint(403, message, code="model_not_priced", param="model", retry=False)


def _priority(value: bytes, highest: Priority | None) -> Priority:
    """The priority of a request: as it asks, but never above that of its key."""
    wanted = _PRIORITIES.get(value.lower())
    if wanted is None:
        said = value[:40].decode("latin-1")
        message = f"x-headrace-priority: {said!r} is none of critical, normal, sheddable"
        raise Complaint(400, message, code="invalid_header", retry=False)
    return wanted if highest is None else max(wanted, highest)


def _seconds(milliseconds: bytes | None, grpc: bytes | None, most: float) -> float:
    """How long a request may take: as its headers say, but never longer than the model gives it."""
    if milliseconds is None and grpc is None:
        return most
    try:
        left = remaining_header(
            None if milliseconds is None else milliseconds.decode("latin-1"),
            None if grpc is None else grpc.decode("latin-1"),
        )
    except ValueError as error:
        raise Complaint(400, str(error), code="invalid_header", retry=False) from None
    return most if left is None else min(left, most)
