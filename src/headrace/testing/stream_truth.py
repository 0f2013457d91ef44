"""Streams tell the truth: a suite that anyone can run over a gateway of their own.

The gateway's only upstream is a mock that the suite commands: it fails in every way that upstreams do, and the suite
reads from the bytes of the answer whether the gateway told so.

Examples
--------
In a test module::

    @pytest.fixture(scope="module")
    def mock():
        with mock_llm(port=8791, tokens_per_second="200") as mock:
            yield mock


    @pytest.mark.parametrize("case", stream_truth.CASES, ids=str)
    async def test_my_gateway_tells_the_truth(case, mock):
        (await stream_truth.check(case, stream_truth.Gateway("http://127.0.0.1:9000"), mock)).hold()
"""

from headrace.mockllm.truth import CASES, Case, Gateway, Outcome, Untrue, check, check_all

__all__ = ["CASES", "Case", "Gateway", "Outcome", "Untrue", "check", "check_all"]
