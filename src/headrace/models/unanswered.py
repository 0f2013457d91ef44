"""How a call that got no (whole) answer is told to whoever asked."""

from __future__ import annotations

from headrace.core.errors import ModelRefused, StreamBroken
from headrace.models.action import Reason, Refused
from headrace.models.failure import Failure
from headrace.models.provider import Failed, Unfit, Unsendable

_TELLS = frozenset({Reason.FAILED, Reason.BROKEN, Reason.DEADLINE})
_WHY = {
    Reason.DEADLINE: "its deadline passed",
    Reason.SHED: "it was turned away, so that others are served in time",
    Reason.QUEUE_FULL: "too many wait already",
    Reason.RATE_LIMITED: "rate limits close its upstreams for longer than its deadline leaves",
    Reason.NO_CREDIT: "no credit is left at the providers of its upstreams",
    Reason.EJECTED: "its upstreams are ejected for longer than its deadline leaves",
    Reason.OVER_BUDGET: "the budget that pays for it has not enough left",
    Reason.SET_ASIDE: "the budget that pays for it is set aside for calls under way",
    Reason.FAILED: "its attempts failed",
    Reason.BROKEN: "it broke off after a part was seen",
    Reason.CANCELLED: "nobody waits any more",
}
_MOST = 5
"""Upstreams that one message names."""
_FAILURES = {Reason.DEADLINE: Failure.TIMEOUT, Reason.CANCELLED: Failure.CANCELLED}
_HINTS = {
    Reason.DEADLINE: "give it more time, or look at why its upstreams are slow",
    Reason.SHED: "try again after `retry_after` seconds",
    Reason.QUEUE_FULL: "try again after `retry_after` seconds",
    Reason.RATE_LIMITED: "try again after `retry_after` seconds, or declare a fallback that has limits of its own",
    Reason.NO_CREDIT: "pay there, or declare a fallback; they are asked again after `retry_after` seconds",
    Reason.EJECTED: "try again after `retry_after` seconds, and look at why its upstreams fail",
    Reason.OVER_BUDGET: "wait for the next period, or raise the budget",
    Reason.SET_ASIDE: "try again after `retry_after` seconds: what calls under way do not use is given back",
}


def refusal(model: str, refused: Refused, attempts: int, last: Failed | None) -> ModelRefused:
    """What is raised instead of an answer.

    Parameters
    ----------
    attempts, last
        How many there were, and how the last one that failed did.
    """
    failure = refused.failure
    said = why = ""
    status = 0 if last is None else last.status
    if last is not None:
        said = last.message if status else f"{last.upstream}: {last.message}"  # what answers 500 says its name there
        why = f"{last.upstream}: {last.why}"
    message = _message(model, refused, attempts, last, said)
    public = _message(model, refused, attempts, last, why)
    return ModelRefused(
        message,
        reason=refused.reason.value,
        failure=failure.value if failure is not None else "",
        retry_after=refused.retry_after,
        status=status,
        body=last.body if last is not None else b"",
        upstream=last.upstream if last is not None and status else "",
        attempts=attempts - isinstance(last, Unsendable),
        public=public,
        unfit=last.message if isinstance(last, Unfit) and failure is last.failure else "",
        hint=_HINTS.get(refused.reason, ""),
    )


def _message(model: str, refused: Refused, attempts: int, last: Failed | None, said: str) -> str:
    """What happened, in which the last attempt that failed is told as `said`."""
    failure = refused.failure
    message = f"the model {model!r} gave no answer: {_WHY[refused.reason]}"
    if refused.reason is Reason.DEADLINE:
        made = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        message += f" after {made}" if attempts else " while it waited for an upstream"
    if isinstance(last, Unsendable):
        message = f"the model {model!r} was not asked: {last.message}"
    elif refused.over and refused.reason is not Reason.DEADLINE:
        message += f"; {refused.over}"
    elif refused.reason in _TELLS and last is not None:
        message += f"; {said}"
    elif refused.closed and (refused.reason.of_closed or not attempts):
        message += "; " + "; ".join(map(str, refused.closed[:_MOST]))
    elif refused.reason is Reason.FAILED and failure is not None:
        message += f" ({failure.value})"
    return message


def broken(upstream: str, refused: Refused, last: Failed | None) -> StreamBroken:
    """What is raised where an answer that has begun breaks off."""
    said = public = refused.over or _WHY[refused.reason]
    if last is not None and refused.reason is Reason.BROKEN and not refused.over:
        said, public = last.message, last.why
    word = _FAILURES.get(refused.reason) or refused.failure or Failure.CONNECTION
    told = f"the answer of {upstream!r} broke off: "
    return StreamBroken(told + said, failure=word.value, public=told + public)
