"""The names of the commit protocol's steps, as `docs/design/commit-protocol.md` numbers them."""

from __future__ import annotations

STEPS = (
    "begin",
    "admit",
    "remember",
    "apply",
    "derive",
    "set_aside",
    "count",
    "keep_positions",
    "commit",
    "publish",
    "sync",
    "publish_durable",
)
"""The names that `crash_point` is called with, each right after its step."""


def no_crash(step: str) -> None:
    """Outside simulations, nothing happens between two steps."""
