"""The suite of stream truth: an honest relay keeps every case, and each liar breaks the case that is about its lie."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.testing import Mock, mock_llm, stream_truth
from headrace.testing.stream_truth import CASES, Case, Gateway, check

sys.path.insert(0, str(Path(__file__).parent))
from relays import relay


@pytest.fixture(scope="module")
def mock() -> Iterator[Mock]:
    with mock_llm(tokens_per_second="150", output_tokens="20") as mock:
        yield mock


@pytest.fixture(scope="module")
def honest(mock: Mock) -> Iterator[str]:
    with relay(mock.url) as url:
        yield url


# The 100 ms of a quiet machine are proven by test_a_cancel_is_quick; tests share theirs with others.
def gateway(url: str) -> Gateway:
    return Gateway(url, cancel_within=0.5, recover=5)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_an_honest_relay_keeps(case: Case, honest: str, mock: Mock) -> None:
    (await check(case, gateway(honest), mock)).hold()


LIES = {
    "marks the end": (Case("chat", True, "cut", "broken"), "marked as finished"),
    "says stop": (Case("chat", True, "reset-mid-stream", "broken"), "marked as finished"),
    "ends cleanly": (Case("messages", True, "cut", "broken"), "as if it were complete"),
    "takes any end": (Case("responses", True, "truncate", "broken"), "as if it were complete"),
    "answers twice": (Case("chat", True, "cut", "broken"), "a second answer"),
    "goes on after an error": (Case("chat", True, "error-event", "broken"), "after the error"),
    "hides refusals": (Case("chat", False, "reset", "refused"), "500 or more is due"),
    "passes garbage": (Case("messages", False, "garbage", "refused"), "500 or more is due"),
    "changes text": (Case("chat", True, "none", "whole"), "differ from the upstream's"),
    "buffers": (Case("messages", True, "none", "whole"), "buffered"),
    "never cancels": (Case("chat", True, "none", "cancelled"), "after the client had left"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_liar_is_found(lie: str, mock: Mock) -> None:
    case, told = LIES[lie]
    assert case in CASES
    with relay(mock.url, lie) as url:
        outcome = await check(case, gateway(url), mock)
    assert not outcome.kept
    assert told in "; ".join(outcome.problems)
    with pytest.raises(stream_truth.Untrue, match=case.name):
        outcome.hold()


WAYS = {
    "asks for usage": (Case("chat", True, "none", "whole"), "kept it back"),
    "translates": (Case("messages", False, "none", "whole"), "another API (chat): the texts are compared"),
    "tries again": (Case("chat", True, "429", "refused"), ""),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_way_of_its_own_is_no_lie(way: str, mock: Mock) -> None:
    case, noted = WAYS[way]
    assert case in CASES
    with relay(mock.url, way) as url:
        outcome = await check(case, Gateway(url, cancel_within=0.5, recover=5, patience=0.5), mock)
    outcome.hold()
    assert noted in "; ".join(outcome.notes)


async def test_a_translation_must_have_the_same_text(mock: Mock) -> None:
    with relay(mock.url, "translates wrong") as url:
        outcome = await check(WAYS["translates"][0], gateway(url), mock)
    assert outcome.problems == ["the text differs from the upstream's"]


async def test_a_mock_that_nobody_asks_is_told(mock: Mock) -> None:
    with mock_llm() as other, relay(other.url) as url:
        outcome = await check(CASES[0], gateway(url), mock)
    assert outcome.problems == ["the upstream was not asked"]


async def test_a_gateway_that_does_not_recover_is_told(mock: Mock) -> None:
    with mock_llm(failures={"500": 1.0}) as other, relay(other.url) as url:
        outcome = await check(CASES[0], Gateway(url, recover=0.5), mock)
    assert "no whole answer within 0.5 s" in outcome.problems[0]


async def test_what_the_gateway_refuses_as_wrong_is_told_at_once(mock: Mock) -> None:
    with mock_llm(models=["right"], any_model=False) as other, relay(other.url) as url:
        outcome = await check(CASES[0], Gateway(url, model="nope", recover=600.0), mock)
    assert "a plain request is refused with 404: " in outcome.problems[0]
    assert "nope" in outcome.problems[0]


def test_the_command_wants_a_url() -> None:
    found = CliRunner().invoke(main, ["conformance", "gateway", "foo"])
    told = "'foo' is no http or https URL; write for example"
    assert (found.exit_code, told in found.output) == (2, True), found.output


def test_the_command_says_that_nobody_is_there(unused_port: int) -> None:
    with socket.socket() as silent:  # bound and not listening: connections are refused, and nobody else takes it
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = CliRunner().invoke(main, ["conformance", "gateway", url, "--upstream-port", str(unused_port)])
    assert found.exit_code == 1
    assert "is the gateway running?" in found.output


def test_the_command_tells_what_is_kept_and_what_is_not(tmp_path: Path, unused_port: int) -> None:
    # The command starts its mock itself, on the port that the relay asks.
    upstream = f"http://127.0.0.1:{unused_port}"
    words = [
        "conformance",
        "gateway",
        "--upstream-port",
        str(unused_port),
        "--api",
        "chat",
        "--case",
        "stream-broken-cut",
    ]
    with relay(upstream) as url:
        kept = CliRunner().invoke(main, [*words, url, "--json", str(tmp_path / "found.json")])
    assert kept.exit_code == 0, kept.output
    assert "1 of 1 cases are kept" in kept.output
    assert '"chat-stream-broken-cut"' in (tmp_path / "found.json").read_text()
    with relay(upstream, "marks the end") as url:
        broken = CliRunner().invoke(main, [*words, url])
    assert broken.exit_code == 1
    assert "a broken answer is marked as finished" in broken.output
