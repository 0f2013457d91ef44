"""What tests of apps and of sources need; supported like the rest of the package."""

from headrace.core.clock import SimulatedClock
from headrace.mockllm.handle import Mock
from headrace.mockllm.running import mock_llm
from headrace.testing import conformance, stream_truth
from headrace.testing.models import Refuses, Says, ScriptedModel
from headrace.testing.scripted import CRASH, EOF, PAUSE, Fail, Heartbeat, Scripted, SimulatedCrash

__all__ = [
    "CRASH",
    "EOF",
    "PAUSE",
    "Fail",
    "Heartbeat",
    "Mock",
    "Refuses",
    "Says",
    "Scripted",
    "ScriptedModel",
    "SimulatedClock",
    "SimulatedCrash",
    "conformance",
    "mock_llm",
    "stream_truth",
]
