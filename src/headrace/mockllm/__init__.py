"""A model to run against: an OpenAI- and Anthropic-compatible server whose times, failures and answers are known.

See docs/how-to/mock-llm.md. `headrace mock-llm` runs it; `headrace.testing.mock_llm` runs one for a test.
"""

from headrace.mockllm.handle import Mock
from headrace.mockllm.serving import MockServer
from headrace.mockllm.settings import MockSettings

__all__ = ["Mock", "MockServer", "MockSettings"]
