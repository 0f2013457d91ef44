"""How much of an endpoint may run at a time, and how large its input may be."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.models.admission import AdmissionRules


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of an endpoint may run, and how large its input may be.

    Attributes
    ----------
    concurrency
        Requests that run at a time; more wait.
    admission
        How they wait.
    max_body
        Bytes of a request's body.
    max_depth
        How deep its JSON may be nested.
    ignore_unknown
        Whether fields that the input's type does not have are let through.
    """

    concurrency: int = 256
    admission: AdmissionRules = field(default_factory=AdmissionRules)
    max_body: int = 1024 * 1024
    max_depth: int = 64
    ignore_unknown: bool = False
