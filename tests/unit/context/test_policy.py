import pytest

from headrace.context.assess import strictest
from headrace.context.policy import FreshnessPolicy, Otherwise
from headrace.core.errors import DeclarationError
from headrace.core.frontier import Status


@pytest.mark.parametrize("text", ["serve", "flag", "refuse", "wait 200ms else refuse", "wait 1s else flag"])
def test_a_policy_reads_back_as_it_is_written(text: str) -> None:
    assert str(FreshnessPolicy.parse(text)) == text


def test_a_wait_flags_by_default() -> None:
    assert FreshnessPolicy.parse("  WAIT 2s ") == FreshnessPolicy(2_000_000, Otherwise.FLAG)


@pytest.mark.parametrize("wrong", ["", "wait", "wait soon", "ignore", "wait 1s else cry", "refuse 1s"])
def test_what_is_no_policy_is_refused(wrong: str) -> None:
    with pytest.raises(DeclarationError):
        FreshnessPolicy.parse(wrong)


def test_only_fresh_passes_a_refusal() -> None:
    policy = FreshnessPolicy.parse("refuse")
    assert [policy.refuses(status) for status in Status] == [False, True, True]


def test_an_answer_follows_its_strictest_table() -> None:
    policies = [FreshnessPolicy.parse(text) for text in ("serve", "wait 1s else flag", "refuse")]
    assert str(strictest(policies)) == "wait 1s else refuse"
    assert strictest([]) == FreshnessPolicy()
