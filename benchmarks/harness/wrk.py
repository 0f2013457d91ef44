"""POST load with wrk: a closed loop of a fixed number of connections."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def post(folder: Path, port: int, body: str, *, key: str, connections: int, seconds: int, core: int) -> dict[str, Any]:
    """Requests in `seconds`, how many a second, how many failed, and quantiles in ms."""
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = {json.dumps(body)}\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {key}"\n'
    )
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["--timeout", "30s", "-s", str(script), f"http://127.0.0.1:{port}/v1/chat/completions"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    failed = [int(value) for value in re.findall(r"Non-2xx or 3xx responses: (\d+)", text)]
    failed += [int(value) for line in re.findall(r"Socket errors:(.*)", text) for value in re.findall(r"\d+", line)]
    return {
        "requests": int(count[1]) if count else 0,
        "per_second": float(rate[1]) if rate else 0.0,
        "errors": sum(failed),
        "ms": {
            f"p{share}": float(value) * _UNITS[unit]
            for share, value, unit in re.findall(r"(50|90|99)%\s+([\d.]+)(us|ms|s)\b", text)
        },
    }
