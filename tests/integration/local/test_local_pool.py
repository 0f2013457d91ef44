"""Local models in real worker processes: batches, bad inputs, crashes, hangs, deadlines."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import local_models
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_pools import CLOCK, MODELS, Start, alive, until

from headrace.core.errors import DeclarationError
from headrace.models.failure import Failure
from headrace.models.local.failure import LocalFailure
from headrace.models.local.pool import LocalPool


async def outcomes(pool: LocalPool, *inputs: Any, deadline: float = float("inf")) -> list[Any]:
    """Of inputs that come at once: the output, or the kind of failure."""
    results = await asyncio.gather(*(pool.call(value, deadline=deadline) for value in inputs), return_exceptions=True)
    return [result.failure if isinstance(result, LocalFailure) else result for result in results]


# Batches -------------------------------------------------------------------------------------------------------------


async def test_what_comes_while_a_batch_runs_is_the_next_batch(start: Start) -> None:
    pool = await start("load_steady", budget="1s")
    assert await pool.call(0) == 1
    answers = await asyncio.gather(*(client(pool, 10) for _ in range(20)))
    sizes = [size for answer in answers for size in answer]
    assert len(sizes) == 200
    assert pool.counters.batches <= 40, "200 inputs of 20 clients, one by one, would be 200 batches"
    assert pool.counters.largest == 20


async def client(pool: LocalPool, count: int) -> list[Any]:
    return [await pool.call(number) for number in range(count)]


async def test_a_model_of_one_input_is_called_for_each(start: Start) -> None:
    pool = await start("load_one", batch=False, workers=2)
    assert await outcomes(pool, 1, "bad", 3) == [{"echo": 1}, Failure.BAD_REQUEST, {"echo": 3}]
    assert pool.counters.largest == 1


async def test_several_workers_share_what_comes_at_once(start: Start) -> None:
    pool = await start(workers=2)
    pids = set(await outcomes(pool, *["pid"] * 8))
    assert pids == set(pool.pids)


async def test_a_free_worker_lingers_when_it_is_told_to(start: Start) -> None:
    pool = await start("load_steady", max_wait="300ms", max_batch=3, budget="1s")
    first = asyncio.create_task(pool.call(1))
    await asyncio.sleep(0.05)
    assert await outcomes(pool, 2, 3) == [3, 3]
    assert await first == 3


async def test_a_budget_that_one_input_breaks_is_told_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    pool = await start("load_steady", budget="5ms")
    for number in range(25):
        await pool.call(number)
    (told,) = [record.getMessage() for record in caplog.records if "budget" in record.getMessage()]
    assert "more than its budget of 5 ms" in told


# Bad inputs and outputs ----------------------------------------------------------------------------------------------


async def test_one_bad_input_fails_alone_with_its_error(start: Start) -> None:
    pool = await start()
    assert await outcomes(pool, 1, "bad", 2, "nan") == [
        {"echo": 1},
        Failure.BAD_REQUEST,
        {"echo": 2},
        Failure.SERVER_ERROR,
    ]
    with pytest.raises(LocalFailure, match="ValueError: this one is bad"):
        await pool.call("bad")
    with pytest.raises(LocalFailure, match="RuntimeError: the model is broken") as raised:
        await pool.call("broken")
    assert raised.value.failure is Failure.SERVER_ERROR
    assert pool.counters.deaths == 0


async def test_inputs_that_are_not_json_are_told(start: Start) -> None:
    pool = await start()
    with pytest.raises(LocalFailure, match="the input has the number nan"):
        await pool.call({"x": float("nan")})
    with pytest.raises(LocalFailure, match="the input is no JSON"):
        await pool.run(b"{")


# Crashes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [("die", "ended with status 3"), ("segfault", "SIGSEGV"), ("kill", "SIGKILL")],
)
async def test_a_worker_that_dies_fails_its_batch_and_is_started_again(start: Start, how: str, said: str) -> None:
    pool = await start()
    (before,) = pool.pids
    with pytest.raises(LocalFailure, match=said) as raised:
        await pool.call(how)
    assert raised.value.failure is Failure.CONNECTION
    after = await pool.call("pid")
    assert after != before
    assert not alive(before)
    assert pool.counters.deaths == 1


async def test_what_waits_while_a_worker_dies_is_answered_by_the_next(start: Start) -> None:
    pool = await start(max_batch=2)
    assert await outcomes(pool, 1, "die", 3, 4) == [Failure.CONNECTION, Failure.CONNECTION, {"echo": 3}, {"echo": 4}]


async def test_a_worker_killed_while_it_is_idle_is_started_again(start: Start) -> None:
    pool = await start()
    (before,) = pool.pids
    os.kill(before, signal.SIGKILL)
    await until(lambda: bool(pool.pids) and pool.pids != [before])
    assert await pool.call(1) == {"echo": 1}


async def test_a_worker_that_hangs_is_killed_and_shows_where(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    pool = await start(limit="300ms", workers=2)
    began = CLOCK.monotonic()
    assert await outcomes(pool, "hang", 2) == [Failure.TIMEOUT, {"echo": 2}]
    assert CLOCK.monotonic() - began < 5
    assert await pool.call(3) == {"echo": 3}
    await until(lambda: pool.counters.deaths == 1 and len(pool.pids) == 2)
    assert "local_models.py" in capfd.readouterr().err


async def test_processes_of_a_model_go_with_its_worker(start: Start) -> None:
    pool = await start("load_family")
    child = await pool.call(1)
    assert alive(child)
    await pool.aclose()
    await until(lambda: not alive(child))


# Deadlines and the queue ---------------------------------------------------------------------------------------------


async def test_an_expired_input_is_told_in_time_and_never_reaches_the_model(start: Start) -> None:
    pool = await start(max_batch=1)
    running = asyncio.create_task(pool.call({"sleep": 0.5}))
    await until(lambda: pool.counters.batches == 1)
    began = CLOCK.monotonic()
    assert await outcomes(pool, "die", deadline=began + 0.1) == [Failure.TIMEOUT]
    assert CLOCK.monotonic() - began < 0.4
    await running
    assert await pool.call(1) == {"echo": 1}
    assert (pool.counters.expired, pool.counters.batches, pool.counters.deaths) == (1, 2, 0)


async def test_who_goes_away_leaves_the_queue(start: Start) -> None:
    pool = await start(max_batch=1)
    running = asyncio.create_task(pool.call({"sleep": 0.3}))
    waiting = asyncio.create_task(pool.call("die"))
    await until(lambda: pool.queued == 1)
    waiting.cancel()
    await running
    assert await pool.call(1) == {"echo": 1}
    assert pool.counters.deaths == 0


async def test_a_full_queue_refuses(start: Start) -> None:
    pool = await start(queue=2, max_batch=1)
    running = asyncio.create_task(pool.call({"sleep": 0.3}))
    await until(lambda: pool.counters.batches == 1)
    assert await outcomes(pool, 1, 2, 3) == [{"echo": 1}, {"echo": 2}, Failure.OVERLOADED]
    await running
    assert pool.counters.refused == 1


# Loading -------------------------------------------------------------------------------------------------------------


async def test_a_model_that_cannot_be_loaded_is_told_with_its_line(start: Start) -> None:
    with pytest.raises(DeclarationError, match=r"LookupError: there is no file model\.onnx") as raised:
        await start("load_broken", workers=2)
    assert raised.value.where == f"{MODELS}:{local_models.BAD_LINE}"


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ("load_nothing", "load_nothing returned a int, which cannot be called"),
        ("load_and_exit", "ended with status 5 while it loaded the model"),
        ("load_slowly", "did not load the model within 500ms"),
    ],
)
async def test_what_is_no_model_is_told(start: Start, load: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        await start(load, load_within="500ms" if load == "load_slowly" else "1m")


async def test_what_to_do_is_said_once(start: Start) -> None:
    with pytest.raises(DeclarationError) as raised:
        await start("load_nothing")
    assert "hint" not in raised.value.message
    assert "load_nothing must return the model" in raised.value.hint


async def test_a_model_that_cannot_be_loaded_again_refuses_at_once(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_MARKER", str(tmp_path / "marker"))
    pool = await start("load_once", max_batch=1)
    assert await outcomes(pool, "die", 1, 2) == [Failure.CONNECTION] * 3
    with pytest.raises(LocalFailure, match="RuntimeError: loaded before"):
        await pool.call(1)
    (tmp_path / "marker").unlink()
    await until(lambda: bool(pool.pids))
    assert await pool.call(1) == {"echo": 1}


# Limits --------------------------------------------------------------------------------------------------------------


async def test_threads_are_what_is_asked_for(start: Start) -> None:
    pool = await start(threads=3)
    assert await pool.call("threads") == "3"


async def test_memory_over_the_limit_fails_and_the_worker_lives(start: Start) -> None:
    pool = await start(memory="512MiB")
    assert await pool.call({"allocate": 1024}) == 1024
    with pytest.raises(LocalFailure, match="MemoryError"):
        await pool.call({"allocate": 1 << 30})
    assert pool.counters.deaths == 0


async def test_a_closed_pool_refuses_and_whoever_waited_is_told(start: Start) -> None:
    pool = await start()
    waiting = asyncio.create_task(outcomes(pool, "hang", 1))
    await until(lambda: pool.counters.batches == 1)
    await pool.aclose()
    assert await waiting == [Failure.CONNECTION] * 2
    assert await outcomes(pool, 1) == [Failure.CONNECTION]


# The law -------------------------------------------------------------------------------------------------------------

INPUTS = st.lists(
    st.one_of(st.integers(), st.sampled_from(["bad", "nan", "broken", "die"])), min_size=1, max_size=12
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(INPUTS, st.integers(1, 5), st.integers(1, 2))
async def test_every_input_has_exactly_one_outcome_whatever_fails(
    start: Start, inputs: list[Any], most: int, workers: int
) -> None:
    pool = await start(max_batch=most, workers=workers)
    found = await outcomes(pool, *inputs)
    assert len(found) == len(inputs)
    for value, outcome in zip(inputs, found, strict=True):
        if outcome is Failure.CONNECTION:
            assert "die" in inputs
        elif isinstance(value, int):
            assert outcome == {"echo": value}
        else:
            assert value != "die"
            assert outcome in (Failure.BAD_REQUEST, Failure.SERVER_ERROR)
    assert pool.counters.answered + pool.counters.failed == len(inputs)
    assert pool.queued == 0
    await pool.aclose()


async def test_an_input_that_leaves_in_the_turn_in_which_it_is_taken_does_not_reach_the_model(start: Start) -> None:
    pool = await start("load_steady")
    leaving = asyncio.create_task(pool.call(1))
    await asyncio.sleep(0)  # it waits
    await asyncio.sleep(0)  # it is taken
    assert not pool.queued
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await pool.call(2) == 1
    assert pool.counters.batches == 1
