from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from running import CLOCK, Running, eventually, pause

ITEM = {"item_id": "i1", "restaurant_id": "r7", "price": 1.0, "stock": 1}


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    started: list[Running] = []

    def make(**options) -> Running:
        started.append(Running(tmp_path, **options))
        return started[-1]

    yield make
    for one in started:
        one.close()


def test_pushes_cross_to_the_engine_and_are_read_by_workers(start) -> None:
    server = start()
    with httpx.Client(base_url=server.url()) as client:
        assert client.get("/readyz").json() == {"ready": True, "reasons": [], "degraded": []}
        assert client.post("/push/items", json=ITEM).json()["accepted"] == 1
        assert client.get("/context/menu?restaurant_id=r7").json()["rows"] == [ITEM]
        assert client.post("/push/items", content=b"x", headers={"content-type": "application/json"}).status_code == 400
        assert "headrace_queue_depth 0" in client.get("/metrics").text
    assert server.stop() == 0
    assert (server.data / "closed").read_text() == "engine\n"


def test_reads_go_on_while_the_engine_starts_again(start) -> None:
    server = start()
    url = server.url()
    with httpx.Client(base_url=url) as client:
        client.post("/push/items", json=ITEM)
        lost = client.post("/push/items", json=ITEM | {"item_id": "crash"})
        assert lost.status_code == 503
        assert lost.headers["retry-after"] == "1"
        assert "Idempotency-Key" in lost.json()["hint"]
        assert client.get("/context/menu?restaurant_id=r7").status_code == 200
        assert eventually(lambda: _status(200, client.post("/push/items", json=ITEM))).json()["accepted"] == 1
    assert server.stop() == 0


def test_a_killed_worker_is_started_again(start) -> None:
    server = start(workers=1)
    url = server.url()
    answered = [_worker(url)]
    pid = answered[0]
    os.kill(pid, signal.SIGKILL)

    def other() -> int:
        answered.append(_worker(url))  # one that is about to die may still answer
        assert answered[-1] != pid
        return answered[-1]

    assert eventually(other) != pid
    metrics = httpx.get(url + "/metrics").text
    assert f'headrace_requests_total{{route="/context/{{view}}",status="200"}} {len(answered)}' in metrics
    assert server.stop() == 0


async def test_requests_in_flight_are_finished(start) -> None:
    server = start(workers=1)
    url = await asyncio.to_thread(server.url)
    async with httpx.AsyncClient(base_url=url) as client:
        read = asyncio.create_task(client.get("/context/menu?restaurant_id=slow"))
        push = asyncio.create_task(client.post("/push/items", json=ITEM | {"item_id": "slow"}))
        await CLOCK.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert (await read).status_code == 200
        assert (await push).json()["accepted"] == 1
    assert await asyncio.to_thread(server.process.wait, 30) == 0
    assert "stopping: what is under way has up to" in server.process.stdout.read()
    assert b"slow" in (server.data / "rows").read_bytes()
    with pytest.raises(httpx.TransportError):
        await asyncio.to_thread(httpx.get, url + "/healthz")


def test_a_second_signal_ends_at_once(start) -> None:
    server = start(workers=1)
    url = server.url()
    reading = threading.Thread(target=lambda: _quietly(url + "/context/menu?restaurant_id=slow"))
    reading.start()
    pause(0.2)
    server.process.send_signal(signal.SIGTERM)
    pause(0.1)
    began = CLOCK.monotonic()
    assert server.stop() == 1
    assert CLOCK.monotonic() - began < 0.7
    reading.join()
    assert server.process.stderr.read() == ""  # whoever signals twice knows: no traceback, and nothing about patience


def test_the_same_signal_twice_at_once_is_one_wish_to_stop(start) -> None:
    server = start(workers=1)
    url = server.url()
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(httpx.get, url + "/context/menu?restaurant_id=slow")
        pause(0.3)
        server.process.send_signal(signal.SIGTERM)
        pause(0.002)  # as `timeout` does it: the process, then its group
        assert server.stop() == 0
        assert reading.result().status_code == 200


def test_an_app_that_cannot_be_served_is_said_at_once(start) -> None:
    server = start(text="broken")
    assert server.process.wait(30) == 1
    assert "the app is broken" in server.process.stderr.read()


def test_what_keeps_a_worker_from_starting_is_all_that_is_said(start) -> None:
    server = start(text="unreadable", workers=1)
    assert server.process.wait(30) == 1
    told = server.process.stderr.read()
    assert "nobody can read it" in told
    assert "starting it again" not in told  # the engine, which had begun, was stopped on purpose


def test_a_server_that_is_stopped_while_it_starts_ends_without_a_word(start) -> None:
    server = start(text="slow", workers=1)
    eventually(lambda: (server.data / "loading").read_text())
    server.stop()
    assert "Traceback" not in server.process.stderr.read()


def test_children_end_when_the_parent_is_killed(start) -> None:
    server = start(workers=1)
    url = server.url()
    pids = [_worker(url), int((server.data / "engine.pid").read_text())]
    server.process.kill()
    server.process.wait()
    for pid in pids:
        eventually(lambda pid=pid: _gone(pid))
    assert (server.data / "closed").read_text() == "engine\n"


def test_what_is_saved_while_the_app_is_loaded_counts(start) -> None:
    server = start(reload=True)
    url = server.url()
    server.app.write_text("slow broken")
    eventually((server.data / "loading").read_text)
    server.app.write_text("mended")
    eventually(lambda: _equal(httpx.get(url, timeout=30).json().get("app"), "mended"))
    assert server.stop() == 0


@pytest.mark.parametrize("first", ["endless", "one"])
def test_an_app_that_never_ends_loading_can_be_mended_and_stopped(start, first: str) -> None:
    server = start(reload=True, text=first)
    if first == "one":
        server.url()
        server.app.write_text("endless too")
    eventually((server.data / "loading").read_text)
    server.app.write_text("mended")
    url = server.url()
    assert httpx.get(url, timeout=30).json().get("app") == "mended"
    (server.data / "loading").unlink()
    server.app.write_text("endless again")
    eventually((server.data / "loading").read_text)
    begun = CLOCK.monotonic()
    assert server.stop() == 0
    assert CLOCK.monotonic() - begun < 1.5
    assert "did not end" not in server.process.stderr.read()


def test_an_app_that_takes_long_to_load_is_told_of(start) -> None:
    server = start(reload=True)
    url = server.url()
    server.app.write_text("endless")
    answer = eventually(lambda: _status(503, httpx.get(url, timeout=30)), seconds=20)
    assert answer.json()["type"] == "urn:headrace:problem:app-loading"
    assert answer.json()["detail"] == f"{server.app} is still being loaded, after 5 s"
    assert answer.headers["retry-after"] == "1"
    asked = httpx.post(url + "/v1/chat/completions", json={}, timeout=2)
    assert asked.json()["error"]["code"] == "app_loading"
    assert "x-should-retry" not in asked.headers
    server.app.write_text("mended")
    eventually(lambda: _equal(httpx.get(url, timeout=30).json().get("app"), "mended"))
    assert server.stop() == 0
    assert server.process.stdout.read().count("is still being loaded, after 5 s\n") == 1


def test_a_process_that_never_ends_loading_ends_with_its_parent(start) -> None:
    server = start(text="endless")
    child = eventually(lambda: int((server.data / "loading").read_text()))
    server.process.kill()
    eventually(lambda: _gone(child))


def test_a_changed_app_is_loaded_again_and_a_broken_one_waits(start) -> None:
    server = start(reload=True)
    url = server.url()
    assert httpx.get(url).json()["app"] == "one"
    httpx.post(url + "/push/items", json=ITEM)
    server.app.write_text("two is longer")
    eventually(lambda: _equal(httpx.get(url, timeout=30).json().get("app"), "two is longer"))
    assert httpx.get(url + "/context/menu?restaurant_id=r7").json()["rows"] == [ITEM]
    server.app.write_text("broken")
    pause(1)
    server.app.write_text("three")
    eventually(lambda: _equal(httpx.get(url, timeout=30).json().get("app"), "three"))
    assert server.stop() == 0


def test_while_an_app_is_broken_requests_are_told_why_at_once(start) -> None:
    server = start(reload=True)
    url = server.url()
    server.app.write_text("broken")
    eventually(lambda: _equal(httpx.get(url, timeout=30).status_code, 503))
    for method, path in (("GET", "/readyz"), ("POST", "/push/items"), ("HEAD", "/")):
        content = b"x" * 3_000_000 if method == "POST" else None
        answer = httpx.request(method, url + path, content=content, timeout=2)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        if method == "HEAD":
            assert answer.content == b""
            continue
        problem = answer.json()
        assert (problem["type"], problem["status"]) == ("urn:headrace:problem:app-broken", 503)
        assert (problem["detail"], problem["hint"]) == ("the app is broken", "mend it")
    assert httpx.get(url + "/healthz", timeout=2).json() == {"status": "alive"}  # nobody need start it again
    server.app.write_text("mended")
    eventually(lambda: _equal(httpx.get(url, timeout=30).json().get("app"), "mended"))
    server.app.write_text("broken again")
    eventually(lambda: _equal(httpx.get(url, timeout=30).status_code, 503))
    assert server.stop() == 0


def test_an_app_that_is_broken_from_the_start_is_told_and_can_be_mended(start) -> None:
    server = start(reload=True, text="broken")
    assert server.process.stdout is not None
    url = next(line.split()[-1] for line in server.process.stdout if "waiting until" in line)
    assert httpx.get(url, timeout=2).json()["detail"] == "the app is broken"
    server.app.write_text("mended")
    assert server.url() == url  # it says that it serves again
    assert httpx.get(url, timeout=30).json().get("app") == "mended"
    assert server.stop() == 0


def test_what_no_save_can_mend_ends_a_start_and_is_told_on_a_reload(start) -> None:
    server = start(reload=True, text="unreadable")
    assert server.process.wait(30) == 1
    assert "nobody can read it" in server.process.stderr.read()
    server = start(reload=True)
    url = server.url()
    server.app.write_text("unreadable")
    told = next(line for line in server.process.stdout if " to serve it" in line)
    assert "start again once that is right, or save" in told
    server.app.write_text("two")
    assert server.url() == url
    assert server.stop() == 0


def test_a_data_folder_that_another_process_has_is_taken_once_it_is_free(start, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    server = start(reload=True)
    lines = iter(server.process.stdout.readline, "")
    url = next(line.split()[-1] for line in lines if "trying again by itself" in line)
    assert httpx.get(url, timeout=30).json()["detail"] == "process 7 already writes here"
    (tmp_path / "taken").unlink()
    assert next(lines).split()[-1] == url  # and nothing is said twice meanwhile
    assert httpx.get(url, timeout=30).json()["app"] == "one"
    assert server.stop() == 0


def _quietly(url: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.get(url)


def _worker(url: str) -> int:
    return int(httpx.get(url + "/context/menu?restaurant_id=pid").json()["rows"][0]["item_id"])


def _status(expected: int, answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == expected
    return answer


def _equal(one: object, other: object) -> None:
    assert one == other


def _gone(pid: int) -> None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return
    assert stat.rsplit(")", 1)[1].split()[0] == "Z"
