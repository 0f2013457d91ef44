"""A server that answers what a test says, for commands that speak to one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner


@dataclass
class Scripted:
    """What to answer, and what was asked."""

    url: str = ""
    status: int = 200
    answer: Any = None
    raw: bytes | None = None
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A running server; its `answer` goes to whoever asks next."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append((self.command, self.path, headers, body))
            content = script.raw if script.raw is not None else json.dumps(script.answer).encode()
            self.send_response(script.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        script.url = f"http://127.0.0.1:{running.server_port}"
        yield script
        running.shutdown()
        thread.join()


@pytest.fixture
def runner(server: Scripted) -> CliRunner:
    """Runs commands that find the server in their environment."""
    return CliRunner(env={"HEADRACE_URL": server.url, "HEADRACE_API_KEY": None, "HEADRACE_DEBUG": None})
