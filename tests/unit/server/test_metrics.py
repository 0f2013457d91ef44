from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from headrace.server.metrics import BUCKETS, ROUTES, STATUSES, Meter, render_requests, route_of, worker_file


def samples(meter: Meter) -> dict[tuple[str, ...], float]:
    text = "\n".join(render_requests(meter.totals())) + "\n"
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_routes_by_path() -> None:
    paths = ["/context/menu", "/context", "/tables/items/a/b", "/push/items", "/mcp", "/", "/contexts", "/metrics"]
    assert [ROUTES[route_of(path)] for path in paths] == [
        "/context/{view}",
        "/context",
        "/tables/{table}",
        "/push/{table}",
        "/mcp",
        "other",
        "other",
        "/metrics",
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["/context/a", "/push/b", "/x"]), st.sampled_from(STATUSES), st.floats(0, 20)))
)
def test_histograms_add_up(requests: list[tuple[str, int, float]]) -> None:
    meter = Meter()
    for path, status, seconds in requests:
        meter.count(path, status, seconds)
    found = samples(meter)
    for path in ("/context/a", "/push/b", "/x"):
        mine = [seconds for given, _, seconds in requests if given == path]
        route = ROUTES[route_of(path)]
        if mine:
            assert found["headrace_request_seconds_count", route] == len(mine)
            for bound in BUCKETS:
                within = sum(seconds <= bound for seconds in mine)
                assert found["headrace_request_seconds_bucket", str(bound), route] == within
    meter.close()


def test_workers_add_up_and_a_successor_goes_on(tmp_path: Path) -> None:
    first, second = Meter(worker_file(tmp_path, 0)), Meter(worker_file(tmp_path, 1))
    first.count("/push/a", 200, 0.1)
    second.count("/push/a", 200, 0.1)
    second.count("/push/a", 418, 0.1)
    second.close()
    successor = Meter(worker_file(tmp_path, 1))
    successor.count("/push/a", 200, 0.1)
    found = samples(first)
    assert found["headrace_requests_total", "/push/{table}", "200"] == 3
    assert found["headrace_requests_total", "/push/{table}", "other"] == 1
    first.close()
    successor.close()


def test_what_bodies_take_begins_anew_with_a_worker_and_what_was_refused_goes_on(tmp_path: Path) -> None:
    before = Meter(worker_file(tmp_path, 0))
    before.bodies(70_000, 2)
    before.close()
    meter, other = Meter(worker_file(tmp_path, 0)), Meter(worker_file(tmp_path, 1))
    meter.bodies(0, 1)
    other.bodies(80_000, 1)
    found = samples(meter)
    assert found["headrace_request_bodies_bytes",] == 80_000
    assert found["headrace_request_bodies_refused_total",] == 4
    meter.close()
    other.close()
