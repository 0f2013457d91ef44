"""The gateway for minutes at 300 requests a second with 5 % of its upstream's answers failing in every way."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from contextlib import ExitStack

from harness import gateways
from harness.figures import Result
from harness.process import free_port, measure, private, running, wait_for
from harness.setting import Setting

RATE = 300
FAILURES = ("500=0.01", "503=0.005", "429=0.005", "reset=0.005", "cut=0.005", "truncate=0.005", "no-done=0.005",
            "error-event=0.005", "garbage=0.005")  # fmt: skip
"""Five of a hundred answers."""
UPSTREAMS = 4
"""A 429 closes its upstream for the second that it asks for: with two, a quarter of the time none would be left."""


def run(setting: Setting) -> Result:
    """Ten minutes with `--full`, one otherwise."""
    result = Result("soak")
    folder = setting.folder("soak")
    seconds = setting.pick(10, 90, 600)
    with ExitStack() as stack:
        ports = []
        for number in range(UPSTREAMS):
            port, log = free_port(), folder / f"mock{number}.log"
            failing = [part for one in FAILURES for part in ("--fail", one)]
            mock = [sys.executable, "-m", "headrace", "mock-llm", "--port", str(port), "--seed", str(number)]
            mock += ["--first-token", "lognormal(40ms, p99=200ms)", "--tokens-per-second", "2000", *failing]
            # Half beside the gateway, half beside the load: neither core may be full, or queues are all that is seen.
            child = stack.enter_context(running(mock, log=log, core=setting.core if number % 2 else 0))
            wait_for(f"http://127.0.0.1:{port}/v1/models", child, log=log)
            ports.append(port)
        ours = stack.enter_context(gateways.headrace(folder / "ours", ports, core=0))
        watch = _Watch(ours.pid)
        plan = folder / "soak.json"
        headers = [("authorization", f"Bearer {ours.key}")]
        plan.write_text(json.dumps({"port": ours.port, "headers": headers, "rate": RATE, "seconds": seconds}))
        found = measure("workers/soak.py", plan, core=setting.core, timeout=seconds + 180)
        samples = watch.stop()
    outcomes, total = found["outcomes"], RATE * seconds
    result.add("wrong answers", found["wrong"] + found["unanswered"], "", target=0, better="less", detail=found)
    growth = 1.0 if setting.size == "full" else None  # shorter runs are all warm-up
    result.add("memory growth after warm-up", _growth(samples), "MiB/min", target=growth, better="less")
    result.add("right answers", outcomes.get("right", 0) / total * 100, "%", detail=outcomes)
    result.add("memory at the end", samples[-1][1] / 2**20, "MiB", better="less")
    result.add("p99", found["ms"]["p99"], "ms", better="less", detail=found["ms"])
    result.notes.append(
        f"{seconds} s at {RATE}/s, half of them streams; {UPSTREAMS} upstreams (mocks) whose answers fail by"
        f" {', '.join(FAILURES)}. What is not right was refused or visibly broken: {outcomes}."
    )
    return result


class _Watch:
    """Memory of a process family, every second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(1.0):
            self._samples.append((time.monotonic() - began, float(private(self._pid))))

    def stop(self) -> list[tuple[float, float]]:
        """End; (seconds, bytes) so far."""
        self._ended.set()
        self._thread.join()
        return self._samples


def _growth(samples: list[tuple[float, float]]) -> float:
    """MiB a minute over the last two thirds, by the slope of a line through them."""
    late = samples[len(samples) // 3 :]
    slope = statistics.linear_regression([at for at, _ in late], [size for _, size in late]).slope
    return slope * 60 / 2**20
