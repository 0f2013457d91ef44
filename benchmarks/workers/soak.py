"""Questions with one right answer each, whole and streamed in turn, for minutes. Prints one line of JSON.

Plan: {"port", "headers", "rate", "seconds"}. An answer that came whole and is not the right one is wrong; a refusal or
a broken stream is not: it says what it is. A stream is whole where its text has an end, by `[DONE]` or by the reason to
finish, and HTTP vouches for the end of its bytes.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness.figures import quantiles

from headrace.core.errors import HttpError
from headrace.http1 import Client, ClientLimits, Origin

PARTS = 12
_DELTA = re.compile(rb'"content":"((?:[^"\\]|\\.)*)"')


def question(number: int, stream: bool) -> tuple[bytes, str]:
    """A body, and the text of its right answer."""
    words = [f"n{number}x{part}" for part in range(PARTS)]
    rows = json.dumps([{"word": word} for word in words])
    message = {"role": "user", "content": f"Say them.\n{rows}\nanswer-with: {{word}}"}
    body = {"model": "llm", "messages": [message], "stream": stream}
    return json.dumps(body).encode(), "".join(words)


class Soak:
    """One run."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._origin = Origin.parse(f"http://127.0.0.1:{plan['port']}")
        self._headers = [
            (b"content-type", b"application/json"),
            *((a.encode(), b.encode()) for a, b in plan["headers"]),
        ]
        self.outcomes: Counter[str] = Counter()
        self.times: list[float] = []
        self.wrong: list[str] = []

    async def run(self) -> dict[str, Any]:
        """Send everything, wait for the last answer."""
        rate, tasks = self._plan["rate"], set[asyncio.Task[None]]()
        # As many connections as it takes: a queue in the load would be measured as the gateway's.
        async with Client(ClientLimits(max_connections=8192)) as client:
            start = time.monotonic()
            for number in range(rate * self._plan["seconds"]):
                wait = start + number / rate - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                task = asyncio.create_task(self._one(client, number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if tasks:
                await asyncio.wait(tasks, timeout=60)
        return {
            "outcomes": dict(self.outcomes), "wrong": len(self.wrong), "examples": self.wrong[:3],
            "ms": quantiles(self.times), "unanswered": len(tasks),
        }  # fmt: skip

    async def _one(self, client: Client, number: int) -> None:
        stream = number % 2 == 1
        body, right = question(number, stream)
        began = time.monotonic()
        try:
            answer = await client.request(
                b"POST", self._origin, b"/v1/chat/completions", self._headers, body, timeout=40.0
            )
            text = await answer.read()
        except HttpError as error:
            self.outcomes[f"broken: {type(error).__name__}"] += 1
            return
        if answer.status != 200:
            self.outcomes[str(answer.status)] += 1
        elif stream and b"[DONE]" not in text and b'"finish_reason":"stop"' not in text:
            self.outcomes["told broken" if b'"error"' in text else "ends without an end"] += 1
            if b'"error"' not in text:
                self.wrong.append(f"{number}: {text[-200:]!r}")
        else:
            self._judge(number, b"".join(_DELTA.findall(text)).decode(), right)
            self.times.append((time.monotonic() - began) * 1000)

    def _judge(self, number: int, said: str, right: str) -> None:
        said = re.sub(r"\s|\\n", "", said)
        if said == right:
            self.outcomes["right"] += 1
        else:
            self.outcomes["wrong"] += 1
            self.wrong.append(f"{number}: {said[:200]} instead of {right[:60]}")


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(Soak(json.loads(Path(sys.argv[1]).read_text())).run())))
