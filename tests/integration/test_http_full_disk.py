"""A disk that is really full under a real server: what is answered, what is shown, and that it goes on by itself."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from running import CLOCK, Running, eventually

APP = """
import asyncio
import headrace as hr

app = hr.App("shop")


class Item(hr.Record):
    item_id: str
    text: str


async def ticking():
    n = 0
    while True:
        n += 1
        yield {"item_id": f"t{n % 50}", "text": str(n)}
        await asyncio.sleep(0.02)


items = app.table(Item, key="item_id", freshness="1h")
ticks = app.table(Item, name="ticks", key="item_id", freshness="1h", source=hr.sources.Generator(ticking))
"""
DECLARED_FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, -1))
"""
BLOCK = [{"item_id": f"i{n}", "text": "x" * 1000} for n in range(400)]


@dataclass
class Disk:
    """A folder with little room: `fill` takes the rest of it, `free` gives it back."""

    path: Path
    fill: Callable[[Running], None]
    free: Callable[[Running], None]


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "limit":
        yield Disk(tmp_path, lambda server: _limit(server, 1 << 16), lambda server: _limit(server, -1))
        return
    path, ballast = tmp_path / "disk", tmp_path / "disk" / "ballast"
    path.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)], capture_output=True)
    if not made or made.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield Disk(path, lambda server: _fill(ballast), lambda server: ballast.unlink())
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def _limit(server: Running, size: int) -> None:
    for pid in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split():
        resource.prlimit(int(pid), resource.RLIMIT_FSIZE, (size, -1))


@pytest.fixture
def server(disk: Disk) -> Iterator[Running]:
    server = Running(disk.path, workers=1, text=APP, composition="headrace.composition:composition")
    yield server
    server.close()


def test_pushes_are_told_at_once_sources_wait_and_all_goes_on_when_there_is_room(disk: Disk, server: Running) -> None:
    with httpx.Client(base_url=server.url(), timeout=20, trust_env=False) as client:
        assert client.post("/push/items", json=BLOCK).status_code == 200
        assert client.get("/readyz").status_code == 200
        disk.fill(server)
        refused, keys, seconds = _push_until_full(client)
        assert seconds < 2
        assert refused.json()["type"] == "urn:headrace:problem:store-full"
        assert str(disk.path) in refused.json()["detail"]
        assert "nothing of this was applied" in refused.json()["hint"]
        answer = client.post("/push/items", json={"item_id": "small", "text": ""})
        assert (answer.status_code, answer.json()["title"]) == (507, "The disk is full")

        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["degraded"]) == (503, [])
        assert "is full" in ready.json()["reasons"][0]
        (problem,) = client.get("/freshness").json()["problems"]
        assert (problem["subject"], problem["kind"]) == ("store", "store_full")
        assert problem["since"]
        assert client.get("/tables/items/i1").json()["rows"][0]["text"] == "x" * 1000
        stands = client.get("/freshness").json()["tables"]["ticks"]["counters"]["accepted"]

        disk.free(server)
        eventually(lambda: _is(client.get("/readyz").status_code, 200), seconds=10)
        assert client.get("/freshness").json()["problems"] == []
        assert client.post("/tables/items", json={"keys": [*keys, "small"]}).json()["rows"] == []
        assert client.post("/push/items", json={"item_id": "small", "text": ""}).status_code == 200
        eventually(lambda: _more(client.get("/freshness").json()["tables"]["ticks"]["counters"]["accepted"], stands))
    assert server.stop() == 0


def test_a_server_stops_in_good_time_while_the_disk_is_full(disk: Disk, server: Running) -> None:
    with httpx.Client(base_url=server.url(), timeout=20, trust_env=False) as client:
        disk.fill(server)
        _push_until_full(client)
    began = CLOCK.monotonic()
    server.stop()
    assert CLOCK.monotonic() - began < 5


def test_what_cannot_start_on_a_full_disk_says_so_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text(APP + DECLARED_FULL)
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "serve", str(path), "--port", "0", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr
    assert "is there room" in done.stderr
    assert "Traceback" not in done.stderr


def _push_until_full(client: httpx.Client) -> tuple[httpx.Response, list[str], float]:
    """The answer, the keys that it is about, and how long it took. (Some pushes may still find room in the log.)"""
    for attempt in range(200):
        keys = [f"r{attempt}-{n}" for n in range(len(BLOCK))]
        began = CLOCK.monotonic()
        answer = client.post("/push/items", json=[row | {"item_id": k} for k, row in zip(keys, BLOCK, strict=True)])
        if answer.status_code != 200:
            assert answer.status_code == 507, answer.text
            return answer, keys, CLOCK.monotonic() - began
    raise AssertionError("the disk never was full")


def _is(one: object, other: object) -> None:
    assert one == other


def _more(one: int, other: int) -> None:
    assert one > other


@pytest.fixture
def gateway(disk: Disk) -> Iterator[Running]:
    text = APP + '\napp.model("llm", hr.models.OpenAI("http://127.0.0.1:9/v1", model="m"))\n'
    server = Running(disk.path, workers=1, text=text, composition="headrace.composition:composition")
    yield server
    server.close()


def test_a_gateway_is_ready_and_says_what_is_wrong(disk: Disk, gateway: Running) -> None:
    with httpx.Client(base_url=gateway.url(), timeout=20, trust_env=False) as client:
        assert client.get("/readyz").json() == {"ready": True, "reasons": [], "degraded": []}
        disk.fill(gateway)
        _push_until_full(client)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"], ready.json()["reasons"]) == (200, True, [])
        assert "is full" in ready.json()["degraded"][0]
        assert client.get("/v1/models").json()["data"][0]["id"] == "llm"
        assert "headrace_engine_ready 0" in client.get("/metrics").text
        disk.free(gateway)
        eventually(lambda: _is(client.get("/readyz").json()["degraded"], []), seconds=10)
    assert gateway.stop() == 0
