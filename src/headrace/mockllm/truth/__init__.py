"""Streams tell the truth: what any gateway before a model must keep, as cases that can be run against any gateway.

A gateway that is asked to relay from a mock must never make a whole answer out of a broken one, never change or reorder
what it relays, never answer twice, and never let a model work on when nobody listens. See docs/how-to/mock-llm.md.
"""

from headrace.mockllm.truth.cases import CASES, Case
from headrace.mockllm.truth.suite import Gateway, Outcome, Untrue, check, check_all

__all__ = ["CASES", "Case", "Gateway", "Outcome", "Untrue", "check", "check_all"]
