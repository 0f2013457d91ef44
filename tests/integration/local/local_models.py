"""Models that the tests load in worker processes; each input says what happens to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BAD_LINE = 48
"""Where `load_broken` raises."""


def act(value: Any) -> Any:
    """What an input asks for."""
    match value:
        case "die":
            os._exit(3)
        case "segfault":
            import ctypes

            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), 9)
        case "hang":
            time.sleep(600)
        case "bad":
            raise ValueError("this one is bad")
        case "broken":
            raise RuntimeError("the model is broken")
        case "nan":
            return float("nan")
        case "pid":
            return os.getpid()
        case "threads":
            return os.environ["OMP_NUM_THREADS"]
        case {"sleep": seconds}:
            time.sleep(seconds)
        case {"allocate": size}:
            return len(bytearray(size))
        case _:
            pass
    return {"echo": value}


def load_broken() -> None:
    raise LookupError("there is no file model.onnx")


def load() -> Callable[[list[Any]], list[Any]]:
    return lambda batch: [act(value) for value in batch]


def load_one() -> Callable[[Any], Any]:
    return act


def load_steady() -> Callable[[list[Any]], list[Any]]:
    """20 ms whatever it is given; says with how many others each was answered."""

    def model(batch: list[Any]) -> list[Any]:
        time.sleep(0.02)
        return [len(batch) for _ in batch]

    return model


def load_vectors() -> Callable[[list[Any]], list[Any]]:
    return lambda batch: [[float(len(text)), 0.5] for text in batch]


def load_nothing() -> int:
    return 42


def load_once() -> Callable[[list[Any]], list[Any]]:
    """Loads the first time only."""
    marker = Path(os.environ["LOCAL_MARKER"])
    if marker.exists():
        raise RuntimeError("loaded before")
    marker.touch()
    return load()


def load_slowly() -> None:
    time.sleep(600)


def load_and_exit() -> None:
    os._exit(5)


def load_family() -> Callable[[list[Any]], list[Any]]:
    """Starts a process of its own, as joblib and torch do."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    return lambda batch: [child.pid for _ in batch]
