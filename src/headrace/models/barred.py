"""Which upstreams of a model a request cannot be sent to, whatever their state is."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.core.errors import ModelRefused
from headrace.models.action import Reason
from headrace.models.failure import Failure
from headrace.models.provider import Carrier
from headrace.models.request import ModelRequest


def unable(model: str, carriers: Mapping[str, Carrier], request: ModelRequest) -> frozenset[str]:
    """Upstreams that cannot take it. Raises `ModelRefused` where that is all of them."""
    refused = {name: why for name, one in carriers.items() if (why := one.refuses(request))}
    if len(refused) == len(carriers):
        raise _nobody(
            f"no upstream of {model!r} takes this request: {'; '.join(refused.values())}",
            hint="ask in another dialect, or declare an upstream that speaks this one",
        )
    return frozenset(refused)


def unpayable(
    model: str, carriers: Mapping[str, Carrier], unpriced: frozenset[str], without: frozenset[str]
) -> frozenset[str]:
    """Upstreams that cannot take it, and those that no budget can pay. Raises `ModelRefused` where that is all."""
    passed_over = without | unpriced
    if len(passed_over) == len(carriers):
        raise _nobody(
            f"no upstream of {model!r} that takes this request has a price, so no budget can pay it",
            hint="ask in another dialect, or give its upstreams prices",
        )
    return passed_over


def _nobody(message: str, hint: str) -> ModelRefused:
    failure = Failure.BAD_REQUEST.value
    return ModelRefused(message, reason=Reason.FAILED.value, failure=failure, attempts=0, hint=hint)
