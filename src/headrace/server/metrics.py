"""Requests counted by route and status, with a latency histogram, in memory that all workers of one server share.

Each worker writes to its own file of 64-bit cells; whoever answers `/metrics` adds the files up. A worker that is
restarted goes on in the file of its predecessor, so counters never go back while the server runs.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

ROUTES = (
    "/context/{view}",
    "/context",
    "/tables/{table}",
    "/push/{table}",
    "/freshness",
    "/quarantine",
    "/validate",
    "/mcp",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "other",
)
STATUSES = (200, 202, 400, 401, 403, 404, 405, 406, 408, 409, 413, 414, 415, 421, 422, 429, 431, 500, 501, 503, 507, 0)
"""0 counts every other status."""
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, seconds."""

_FIRST_STATUS = len(BUCKETS) + 1
"""Cells of a route: one per bucket and the one above, one per status, and the sum in microseconds."""
_BY_STATUS = {status: index for index, status in enumerate(STATUSES, _FIRST_STATUS)}
_OTHER = _BY_STATUS[0]
_STRIDE = _FIRST_STATUS + len(STATUSES) + 1
_BY_PREFIX = {
    "context": 1,
    "tables": 2,
    "push": 3,
    "freshness": 4,
    "quarantine": 5,
    "validate": 6,
    "mcp": 7,
    "healthz": 8,
    "readyz": 9,
    "metrics": 10,
    "openapi.json": 11,
}
_HELD = _STRIDE * len(ROUTES)
"""After the routes: bytes of bodies that are held now, and bodies that were refused for want of room."""
_CELLS = _HELD + 2
_BYTES = _CELLS * 8


@lru_cache(maxsize=256)
def route_of(path: str) -> int:
    """The index in `ROUTES` of a request path.

    >>> ROUTES[route_of("/context/menu")], ROUTES[route_of("/context")], ROUTES[route_of("/x")]
    ('/context/{view}', '/context', 'other')
    """
    if path.startswith("/context/"):
        return 0
    return _BY_PREFIX.get(path[1:].partition("/")[0], len(ROUTES) - 1)


class Meter:
    """Counts the requests of one worker. `file` is shared with the other workers; None: memory of this process."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._map = _map(file)
        self._cells = memoryview(self._map).cast("Q")
        self._routes = [self._cells[at : at + _STRIDE] for at in range(0, _HELD, _STRIDE)]
        self._cells[_HELD] = 0  # what a worker before this one held went with it
        self._before = self._cells[_HELD + 1]

    def count(self, path: str, status: int, seconds: float) -> None:
        """One request was answered."""
        cells = self._routes[route_of(path)]
        cells[bisect_left(BUCKETS, seconds)] += 1
        cells[_BY_STATUS.get(status, _OTHER)] += 1
        cells[-1] += int(seconds * 1e6)

    def bodies(self, held: int, refused: int) -> None:
        """What the bodies of requests take now, bytes; how many this worker refused."""
        self._cells[_HELD] = held
        self._cells[_HELD + 1] = self._before + refused

    def totals(self) -> list[int]:
        """The cells of all workers of this server, added up."""
        if self.file is None:
            return list(self._cells)
        sums = [0] * _CELLS
        for path in sorted(self.file.parent.glob("requests-*.cells")):
            with memoryview(path.read_bytes()[:_BYTES].ljust(_BYTES, b"\0")).cast("Q") as cells:
                sums = [total + cell for total, cell in zip(sums, cells, strict=True)]
        return sums

    def close(self) -> None:
        """Let go of the file."""
        for cells in (*self._routes, self._cells):
            cells.release()
        self._map.close()


def _map(file: Path | None) -> mmap.mmap:
    if file is None:
        return mmap.mmap(-1, _BYTES)
    file.touch(mode=0o600)
    with file.open("r+b") as handle:
        handle.truncate(_BYTES)
        return mmap.mmap(handle.fileno(), _BYTES)


def worker_file(folder: Path, worker: int) -> Path:
    """Where worker number `worker` counts."""
    return folder / f"requests-{worker}.cells"


def render_requests(totals: Sequence[int]) -> Iterator[str]:
    """The lines of the Prometheus text format for request counts, latencies and bodies."""
    yield "# HELP headrace_requests_total Requests answered, by route and status."
    yield "# TYPE headrace_requests_total counter"
    for index, route in enumerate(ROUTES):
        counts = totals[index * _STRIDE + _FIRST_STATUS : (index + 1) * _STRIDE - 1]
        for status, count in zip(STATUSES, counts, strict=True):
            if count:
                yield f'headrace_requests_total{{route="{route}",status="{status or "other"}"}} {count}'
    yield "# HELP headrace_request_seconds How long answers took."
    yield "# TYPE headrace_request_seconds histogram"
    for index, route in enumerate(ROUTES):
        cells = totals[index * _STRIDE : (index + 1) * _STRIDE]
        if any(cells):
            yield from _histogram(route, cells[:_FIRST_STATUS], cells[-1])
    yield "# HELP headrace_request_bodies_bytes What the bodies (over 64 KiB) of requests take now."
    yield "# TYPE headrace_request_bodies_bytes gauge"
    yield f"headrace_request_bodies_bytes {totals[_HELD]}"
    yield "# HELP headrace_request_bodies_refused_total Bodies that were refused because others took all the room."
    yield "# TYPE headrace_request_bodies_refused_total counter"
    yield f"headrace_request_bodies_refused_total {totals[_HELD + 1]}"


def _histogram(route: str, counts: Sequence[int], micros: int) -> Iterator[str]:
    running = 0
    for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
        running += count
        yield f'headrace_request_seconds_bucket{{route="{route}",le="{bound}"}} {running}'
    yield f'headrace_request_seconds_sum{{route="{route}"}} {micros / 1e6}'
    yield f'headrace_request_seconds_count{{route="{route}"}} {running}'


def escape(label: str) -> str:
    """The value of a label in the Prometheus text format.

    >>> escape('a "b"')
    'a \\\\"b\\\\"'
    """
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
