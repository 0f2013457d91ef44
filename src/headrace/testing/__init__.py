"""What tests of apps and of sources need; supported like the rest of the package."""

from headrace.core.clock import SimulatedClock
from headrace.testing import conformance
from headrace.testing.models import Refuses, Says, ScriptedModel
from headrace.testing.scripted import CRASH, EOF, PAUSE, Fail, Heartbeat, Scripted, SimulatedCrash

__all__ = [
    "CRASH",
    "EOF",
    "PAUSE",
    "Fail",
    "Heartbeat",
    "Refuses",
    "Says",
    "Scripted",
    "ScriptedModel",
    "SimulatedClock",
    "SimulatedCrash",
    "conformance",
]
