"""How the upstreams are now, in the Prometheus text format: what is in flight, what may be, who is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from headrace.core.events import Problem
from headrace.models.breaker import State
from headrace.models.failure import Failure
from headrace.models.upstream import UpstreamState
from headrace.server.gateway.offer import Offer
from headrace.server.metrics import escape

_GAUGES: dict[str, tuple[str, Callable[[UpstreamState], str]]] = {
    "in_flight": ("Attempts under way.", lambda one: str(one.in_flight)),
    "limit": ("The most attempts that may be under way, as learnt so far.", lambda one: f"{one.limit:g}"),
    "failure_share": ("Share of its attempts lately that came to nothing.", lambda one: f"{one.failure_share:.4f}"),
}


_PAUSES = (Failure.RATE_LIMITED, Failure.QUOTA)


def problems(offers: Iterable[Offer]) -> Iterator[Problem]:
    """Upstreams that are ejected, or paused for long or until somebody pays."""
    for offer in offers:
        for one in offer.states():
            if one.state != State.CLOSED:
                # Where nobody has asked for long, the share says nothing of why.
                share = f"{one.failure_share:.0%} of its attempts lately" if one.failure_share else "its last attempts"
                said = f"{one.upstream} is left out: {share} failed, or showed nothing"
                hint = "look at why (the log has what it said); it is tried again by itself"
                yield Problem(f"upstream:{offer.name}/{one.upstream}", "upstream_ejected", said, hint)
            if one.pause is not None and one.pause.matters:
                hint = "pay there, or give it a key that has credit" if one.pause.why is Failure.QUOTA else ""
                subject = f"upstream:{offer.name}/{one.upstream}"
                yield Problem(subject, "upstream_paused", str(one.pause), hint)


def lines(offers: Iterable[Offer]) -> Iterator[str]:
    """All upstreams of all models; an upstream that two models share is counted by each for itself."""
    found = [(_labels(offer.name, one.upstream), one) for offer in offers for one in offer.states()]
    if not found:
        return
    for name, (words, value) in _GAUGES.items():
        yield f"# HELP headrace_upstream_{name} {words}"
        yield f"# TYPE headrace_upstream_{name} gauge"
        for labels, one in found:
            yield f"headrace_upstream_{name}{{{labels}}} {value(one)}"
    yield "# HELP headrace_upstream_paused_seconds For how long it is left alone yet, as it wants it, by why; else 0."
    yield "# TYPE headrace_upstream_paused_seconds gauge"
    for labels, one in found:
        for why in _PAUSES:
            seconds = one.pause.seconds if one.pause is not None and one.pause.why is why else 0
            yield f'headrace_upstream_paused_seconds{{{labels},reason="{why}"}} {seconds:.3f}'
    yield "# HELP headrace_upstream_state Whether it is used (closed), left out (open), or tried again (half_open)."
    yield "# TYPE headrace_upstream_state gauge"
    for labels, one in found:
        for state in State:
            yield f'headrace_upstream_state{{{labels},state="{state}"}} {int(one.state == state)}'


def _labels(model: str, upstream: str) -> str:
    return f'model="{escape(model)}",upstream="{escape(upstream)}"'
