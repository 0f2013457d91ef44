"""How a local model is run: the part of `Local` that is numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headrace.core.errors import DeclarationError
from headrace.core.mistakes import why
from headrace.core.sizes import parse_size
from headrace.models.bounds import Count, Seconds

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables by which OpenMP, the libraries of linear algebra and torch learn how many threads to use."""


_EXAMPLES = {"budget": "50ms", "max_wait": "5ms", "limit": "30s", "load_within": "5m", "memory": "2GiB"}
"""Of what has a unit."""


def _size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except DeclarationError as error:
        raise ValueError(error.message) from error


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
"""A number of bytes; users may write "2GiB"."""
Some = Annotated[Seconds, Field(gt=0)]
"""A duration that is not zero."""


class LocalSettings(BaseModel):
    """How a local model is run; see the parameters of `Local`.

    Examples
    --------
    >>> LocalSettings.of(budget="20ms").budget
    0.02
    >>> LocalSettings.of(workers=0)
    Traceback (most recent call last):
        ...
    headrace.core.errors.DeclarationError: a local model cannot have workers = 0: ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: bool = True
    workers: Count = 1
    max_batch: Count = 64
    max_wait: Seconds = 0.0
    budget: Some = 0.05
    queue: Count = 1000
    limit: Some = 30.0
    load_within: Some = 300.0
    threads: Count | None = None
    memory: Size = 0

    @classmethod
    def of(cls, **values: Any) -> LocalSettings:
        """Of what a user wrote. Raises `DeclarationError`."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            example = _EXAMPLES.get(field, "")
            write = f'write for example {field}="{example}"; ' if example else ""
            raise DeclarationError(
                f"a local model cannot have {field} = {first['input']!r:.80}: {why(first)}",
                hint=f"{write}see the parameters of headrace.models.Local",
            ) from None

    def environment(self, ours: Mapping[str, str], cores: int | None = None) -> dict[str, str]:
        """The environment of a worker: `threads` if given, else what is set already, else a fair share of the cores.

        Libraries take a thread per core by default, so that several workers would get in each other's way.

        >>> LocalSettings(workers=2).environment({"MKL_NUM_THREADS": "1"}, cores=8)["OMP_NUM_THREADS"]
        '4'
        """
        if self.threads is not None:
            return {**ours, **dict.fromkeys(THREADS, str(self.threads))}
        share = max((cores or _cores()) // self.workers, 1)
        return {**dict.fromkeys(THREADS, str(share)), **ours}


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
