from __future__ import annotations

import base64
import json
import zlib

import msgspec
import pytest

from headrace.core.errors import Backpressure, Rejected, StoreFull, Unavailable

ITEM = {"item_id": "i2", "restaurant_id": "r7", "price": 1.0, "stock": 1}


async def test_a_view_answers_with_rows_ages_and_headers(client, ports) -> None:
    answer = await client.get("/context/menu", params={"restaurant_id": "r7"})
    assert answer.status_code == 200
    assert answer.json()["rows"][0]["item_id"] == "i1"
    assert answer.json()["status"] == "fresh"
    assert answer.headers["headrace-status"] == "fresh"
    assert float(answer.headers["headrace-age-ms"]) == answer.json()["age_ms"]


async def test_the_answer_is_to_dict(client, ports) -> None:
    ports.frontier = ports.clock.now()
    expected = (await ports.read("menu", {"restaurant_id": "r7"})).to_dict()
    answer = (await client.get("/context/menu?restaurant_id=r7")).json()
    assert answer.keys() == expected.keys()
    assert answer["rows"] == expected["rows"]
    assert answer["as_of"] == expected["as_of"]


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/context/menus?restaurant_id=r7", 404, "unknown-name"),
        ("/context/menu", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=r7&restaurant_id=r8", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=%ff", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=r7&most=x", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=r7&_policy=maybe", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=r7&_policy=wait+2h", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=r7&_max_age=-1s", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=r7&_other=1", 400, "bad-parameter"),
        ("/context/menu?restaurant_id=" + "x" * 9000, 414, "url-too-long"),
        ("/tables/item/i1", 404, "unknown-name"),
        ("/tables/stock/one", 400, "bad-parameter"),
        ("/nothing", 404, "no-such-path"),
        ("/quarantine/99", 404, "unknown-name"),
        ("/quarantine?limit=0", 400, "bad-parameter"),
        ("/quarantine?what=0", 400, "bad-parameter"),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_with_a_hint(client, path: str, status: int, kind: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:headrace:problem:{kind}"
    assert problem["status"] == status
    assert problem["detail"]


async def test_what_there_is_is_listed_with_its_paths(client) -> None:
    found = (await client.get("/")).json()
    assert {"GET /context/menu", "POST /push/items", "POST /context", "GET /healthz"} <= set(found["paths"])
    assert (found["endpoints"], found["models"]) == ([], [])
    described = (await client.get("/openapi.json")).json()["paths"]
    assert {path.split(" ")[1] for path in found["paths"]} == set(described)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/contxt/menu", "did you mean '/context/menu'? GET / lists what there is"),
        ("/Freshness", "did you mean '/freshness'? GET / lists what there is"),
        ("/openapi.jsn", "did you mean '/openapi.json'? GET / lists what there is"),
        ("/xyz", "GET / lists what there is"),
    ],
)
async def test_a_path_that_is_none_is_named_with_what_is_near_it(client, path: str, hint: str) -> None:
    problem = (await client.get(path)).json()
    assert (problem["detail"], problem["hint"]) == (f"there is nothing at '{path}'", hint)


async def test_policies_by_header_and_by_query(client, ports) -> None:
    ports.frontier = ports.clock.now() - 60_000_000
    url = "/context/menu?restaurant_id=r7"
    assert (await client.get(url)).json()["status"] == "stale"
    refused = await client.get(url, headers={"Headrace-Policy": "refuse"})
    assert refused.status_code == 503
    assert refused.json()["answer"]["status"] == "stale"
    assert "rows" not in refused.json()["answer"]
    assert (await client.get(url + "&_policy=flag", headers={"Headrace-Policy": "refuse"})).status_code == 200
    assert (await client.get(url + "&_max_age=90s", headers={"Headrace-Policy": "refuse"})).status_code == 200
    assert (await client.get(url, headers={"Headrace-Max-Age": "90"})).json()["status"] == "fresh"


@pytest.mark.parametrize("path", ["/context", "/validate", "/tables/items", "/quarantine/drop"])
async def test_a_body_nested_too_deeply(client, path: str) -> None:
    body = b'{"reads":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "nested" in answer.json()["detail"]) == (400, True)


async def test_a_read_set_comes_when_asked_and_is_compared(client) -> None:
    answer = (await client.get("/context/menu?restaurant_id=r7&_readset=1")).json()
    assert "readset" not in (await client.get("/context/menu?restaurant_id=r7")).json()
    body = {"readsets": [answer["readset"]]}
    assert (await client.post("/validate", json=body)).json()["holds"] is True
    await client.post("/push/items", json=ITEM)
    verdict = (await client.post("/validate", json=body)).json()
    assert verdict["holds"] is False
    assert verdict["changed"][0]["name"] == "menu"


def _token(*reads: object) -> str:
    return base64.urlsafe_b64encode(zlib.compress(msgspec.msgpack.encode(list(reads)))).decode()


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [1],
        ["x"],
        ["é"],
        ["eJw="],
        [_token(["orders", {}, [], 1, [], 0])],
        [_token(["menu", {}, ["items"], 1, [], 0])],
        [_token(["menu", {"restaurant_id": "r7", "most": [1]}, ["items"], 1, [], 0])],
        [_token(["menu", {"restaurant_id": "r7", "most": 1}, ["sqlite_master"], 1, [], 0])],
        [_token(["menu", {"restaurant_id": "r7", "most": 2**63}, ["items"], 1, [], 0])],
        [_token(["menu", {"restaurant_id": "r7", "most": 1}, ["items"], 1, [[[1]]], 0])],
        [_token(["menu", {"restaurant_id": "r7", "most": 1}, ["items"], 1, [[]], 0])],
        [_token(["menu", {"restaurant_id": "r7", "most": 1}, ["items"], 1, [[1]], -1])],
        [_token(["menu", {"restaurant_id": "r7", "most": 1, "_now": "x"}, ["items"], 1, [], 0])],
        [_token("x" * 5_000_000)],
        [_token(["menu", {"restaurant_id": "r7", "most": 1}, ["items"], 1, [["x" * 3_500_000]], 0])] * 3,
        "x",
    ],
)
async def test_tokens_that_are_not_ours(client, tokens) -> None:
    assert (await client.post("/validate", json={"readsets": tokens})).status_code == 400


async def test_many_reads_at_once(client) -> None:
    body = {
        "reads": [
            {"view": "menu", "params": {"restaurant_id": "r7"}},
            {"view": "menu", "params": {"restaurant_id": "r8"}},
        ]
    }
    answer = await client.post("/context", json=body)
    assert [len(one["rows"]) for one in answer.json()["answers"]] == [2, 0]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reads": []},
        {"reads": "menu"},
        {"reads": [{}]},
        {"reads": [{"view": "menu", "params": []}]},
        {"reads": [{"view": "menu", "what": 1}]},
        {"reads": [{"view": "menu", "params": {"restaurant_id": "r7"}}] * 101},
        {"reads": [{"view": "menu", "params": {"restaurant_id": "r7"}}], "max_age": -1},
        [],
        5,
    ],
)
async def test_bad_bodies_of_many_reads(client, body) -> None:
    answer = await client.post("/context", json=body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:headrace:problem:bad-parameter"


async def test_rows_by_key(client) -> None:
    assert (await client.get("/tables/items/i1")).json()["rows"][0]["price"] == 9.5
    assert (await client.get("/tables/items/a/b,c")).json()["rows"][0]["item_id"] == "a/b,c"
    assert (await client.get("/tables/items/a%2Fb%2Cc")).json()["rows"][0]["item_id"] == "a/b,c"
    assert (await client.get("/tables/stock/s%201,i%2C1")).json()["rows"][0]["count"] == 3
    assert (await client.get("/tables/stock/a%2Cb")).status_code == 404


async def test_rows_of_many_keys(client) -> None:
    answer = await client.post("/tables/items", json={"keys": ["i1", "none", "a/b,c"], "readset": True})
    assert [row["item_id"] for row in answer.json()["rows"]] == ["i1", "a/b,c"]
    assert answer.json()["readset"]
    stock = await client.post("/tables/stock", json={"keys": [["s 1", "i,1"]]})
    assert stock.json()["rows"][0]["count"] == 3


@pytest.mark.parametrize(
    "body", [{}, {"keys": []}, {"keys": "i1"}, {"keys": [{}]}, {"keys": ["i1"], "x": 1}, {"keys": ["i1"], "policy": 1}]
)
async def test_bad_keys(client, body) -> None:
    assert (await client.post("/tables/items", json=body)).status_code == 400


async def test_a_wrong_control_that_loses_to_the_body_is_said(client) -> None:
    body = {"keys": ["i1"], "policy": "flag", "readset": False}
    for query in ("_policy=what", "_readset=what", "_max_age=what"):
        assert (await client.post(f"/tables/items?{query}", json=body)).status_code == 400


async def test_an_absent_row_says_how_old_the_table_is(client) -> None:
    answer = await client.get("/tables/items/i9")
    assert answer.status_code == 404
    assert answer.json()["answer"]["status"] == "fresh"
    assert answer.json()["answer"]["rows"] == []


async def test_pushes_are_taken_in_three_shapes(client, ports) -> None:
    other = ITEM | {"item_id": "i3"}
    single = await client.post("/push/items", json=ITEM)
    assert single.status_code == 200
    assert single.json() == {"accepted": 1, "quarantined": 0, "duplicates": 0, "replayed": False} | {
        "txn": single.json()["txn"]
    }
    assert (await client.post("/push/items", json=[ITEM, other, {}])).json()["quarantined"] == 1
    lines = "\n".join(json.dumps(one) for one in (ITEM, other))
    ndjson = await client.post("/push/items", content=lines, headers={"content-type": "application/x-ndjson"})
    assert ndjson.json()["accepted"] == 2
    assert ("i3",) in ports.rows["items"]


async def test_an_idempotency_key_answers_again(client) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = (await client.post("/push/items", json=ITEM, headers=headers)).json()
    again = (await client.post("/push/items", json=ITEM, headers=headers)).json()
    assert again == first | {"replayed": True}
    other = await client.post("/push/items", json=[ITEM], headers=headers)
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"item=1", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {}, 415),
        (b"no json", {"content-type": "application/json"}, 400),
        (b"  ", {"content-type": "application/json"}, 400),
        (b"{}", {"content-type": "application/json", "idempotency-key": "x" * 256}, 400),
        (b"[" + b"1," * 600 + b"1]", {"content-type": "application/json"}, 413),
    ],
)
async def test_bodies_that_cannot_be_taken(connect, content: bytes, headers: dict[str, str], status: int) -> None:
    async with connect(max_body=1000) as client:
        answer = await client.post("/push/items", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["hint"]


async def test_a_streamed_body_is_cut_at_the_limit(connect) -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 1_000_000:
            sent += 100
            yield b"x" * 100

    async with connect(max_body=1000) as client:
        answer = await client.post("/push/items", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Rejected("no", violations=[{"rule": "gt"}]), 422),
        (Backpressure("full", retry_after=0.2), 429),
        (Unavailable("gone", retry_after=2.5), 503),
        (StoreFull("disk"), 507),
    ],
)
async def test_errors_of_the_engine(client, ports, error: Exception, status: int) -> None:
    ports.failure = error
    answer = await client.post("/push/items", json=ITEM)
    assert answer.status_code == status
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_table_with_another_source_takes_no_pushes(client) -> None:
    answer = await client.post("/push/stock", json={})
    assert answer.status_code == 405
    assert "allow" in answer.headers


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/context/menu"), ("GET", "/push/items"), ("DELETE", "/freshness")]
)
async def test_other_methods_are_named(client, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_quarantine_is_listed_shown_and_dropped(client) -> None:
    await client.post("/push/items", json=[{"price": 1}, {"price": 2}])
    page = (await client.get("/quarantine?limit=1")).json()
    assert page["next"] == page["records"][0]["id"]
    assert "raw" not in page["records"][0]
    one = (await client.get(f"/quarantine/{page['next']}")).json()
    assert json.loads(one["raw"]) == {"price": 1}
    assert (await client.post("/quarantine/drop", json={})).status_code == 400
    assert (await client.post("/quarantine/drop", json={"ids": [True]})).status_code == 400
    assert (await client.post("/quarantine/replay", json={"table": "items"})).json()["still_quarantined"] == 2
    assert (await client.post("/quarantine/drop", json={"ids": [page["next"]]})).json() == {"dropped": 1}
    assert (await client.post("/quarantine/drop", json={"all": True})).json() == {"dropped": 1}


@pytest.mark.parametrize("path", ["/context/menu?restaurant_id=r7", "/tables/items/i1"])
async def test_an_unforeseen_error_tells_a_number_and_no_more(client, ports, caplog, path: str) -> None:
    ports.failure = RuntimeError("secret detail")
    answer = await client.get(path)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request"] in caplog.text
    assert "secret detail" in caplog.text


async def test_too_many_requests_at_once(connect) -> None:
    async with connect(max_concurrency=0) as client:
        answer = await client.get("/freshness")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        for probe in ("/healthz", "/metrics"):  # a busy worker lives
            assert (await client.get(probe)).status_code == 200


async def test_ready_says_why_not(client, ports) -> None:
    assert (await client.get("/readyz")).status_code == 200
    ports.failure = Unavailable("the engine is gone")
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the engine is gone"]
    assert (await client.get("/healthz")).status_code == 200


async def test_metrics_are_prometheus_text(client) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    await client.get("/context/menu?restaurant_id=r7")
    await client.post("/push/items", json=ITEM)
    families = {family.name: family for family in text_string_to_metric_families((await client.get("/metrics")).text)}
    counts = {(s.labels["route"], s.labels["status"]): s.value for s in families["headrace_requests"].samples}
    assert counts["/context/{view}", "200"] == 1
    assert counts["/push/{table}", "200"] == 1
    assert families["headrace_queue_depth"].samples[0].value == 0
    assert any(s.labels["table"] == "items" and s.value == 1 for s in families["headrace_records_accepted"].samples)
