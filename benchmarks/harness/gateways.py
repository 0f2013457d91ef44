"""Gateways side by side: a model that answers at once, nginx as the floor, ours, and LiteLLM's proxy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import peers
from harness.process import Failed, environment, free_port, running, wait_for
from harness.setting import BENCHMARKS, Setting

KEY = "sk-benchmark-key-0123456789"
"""The key that every gateway asks for (nginx asks for none)."""
UPSTREAMS = 4
QUESTION = (
    '{"model":"llm","messages":[{"role":"system","content":"You answer briefly."},{"role":"user","content":'
    '"Which dish of the menu sells best this evening, and can it still be had?"}],"max_tokens":64,"temperature":0}'
)
"""About 200 bytes, as a small chat request is."""
_ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"mock","choices":[{"index":0,"message":'
    '{"role":"assistant","content":"' + "The noodles, and there are nine portions left. " * 8 + '"},"logprobs":null,'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"completion_tokens":96,"total_tokens":136}}'
)
_MODEL = """
worker_processes 1; daemon off; pid {folder}/model.pid; error_log {folder}/model.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; client_body_buffer_size 64k;
  client_body_temp_path {folder}/b1; proxy_temp_path {folder}/p1; fastcgi_temp_path {folder}/f1;
  uwsgi_temp_path {folder}/u1; scgi_temp_path {folder}/s1;
  server {{
    {listen}
    default_type application/json;
    add_header x-ratelimit-limit-requests 1000000; add_header x-ratelimit-remaining-requests 999999;
    add_header x-ratelimit-reset-requests 1s; add_header x-ratelimit-limit-tokens 900000000;
    add_header x-ratelimit-remaining-tokens 899999999; add_header x-ratelimit-reset-tokens 1s; {number}
    location / {{ return 200 '{answer}'; }}
  }}
}}
"""
_PROXY = """
worker_processes 1; daemon off; pid {folder}/proxy.pid; error_log {folder}/proxy.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_buffer_size 64k;
  client_body_temp_path {folder}/b2; proxy_temp_path {folder}/p2; fastcgi_temp_path {folder}/f2;
  uwsgi_temp_path {folder}/u2; scgi_temp_path {folder}/s2;
  upstream model {{ {servers} keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering {buffering};
    }}
  }}
}}
"""
_LITELLM = """
model_list:
{models}
router_settings: {{routing_strategy: simple-shuffle}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: {key}}}
"""


@dataclass(frozen=True)
class Gateway:
    """A running gateway. `pid` is the parent of all its processes, `key` what it asks for."""

    name: str
    port: int
    pid: int
    key: str = KEY


def tools() -> None:
    """Raises `Failed` where the tools of these benchmarks are not there."""
    places = {name: shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") for name in ("nginx", "wrk")}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise Failed(f"{' and '.join(missing)} needed: apt-get install nginx-light wrk")


@contextlib.contextmanager
def instant_model(folder: Path, *, core: int, numbered: bool = True) -> Iterator[list[int]]:
    """A model that answers at once, on several ports. `numbered`: each answer has a number in its head, as those of
    providers have, so that no two heads are the same."""
    ports = [free_port() for _ in range(UPSTREAMS)]
    listen = " ".join(f"listen 127.0.0.1:{port};" for port in ports)
    number = "add_header x-request-id $request_id;" if numbered else ""
    text = _MODEL.format(folder=folder, listen=listen, answer=_ANSWER, number=number)
    with _nginx(folder, "model", text, ports[0], core=core):
        yield ports


@contextlib.contextmanager
def nginx(folder: Path, upstreams: list[int], *, core: int, buffering: bool = True) -> Iterator[Gateway]:
    """nginx as a reverse proxy: no keys, no policies, no parsing."""
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{one};" for one in upstreams)
    text = _PROXY.format(folder=folder, servers=servers, port=port, buffering="on" if buffering else "off")
    with _nginx(folder, "proxy", text, port, core=core) as child:
        yield Gateway("nginx", port, child.pid)


@contextlib.contextmanager
def _nginx(folder: Path, name: str, text: str, port: int, *, core: int) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / f"{name}.conf", folder / f"{name}.log"
    config.write_text(text)
    program = shutil.which("nginx") or "/usr/sbin/nginx"  # Debian keeps it off the path of users
    with running([program, "-c", config, "-p", folder], log=log, core=core) as child:
        wait_for(f"http://127.0.0.1:{port}/", child, log=log, any_status=True)
        yield child


@contextlib.contextmanager
def headrace(
    folder: Path, upstreams: list[int], *, core: int, app: str = "gateway", name: str = "headrace"
) -> Iterator[Gateway]:
    """Ours, as a user runs it: `headrace serve`, with a key that has limits and a budget."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    prices, keys, log = folder / "prices.yaml", folder / "keys.yaml", folder / "headrace.log"
    prices.write_text('models: {mock: {input: "1", output: "2"}}\n')
    file = BENCHMARKS / "apps" / f"{app}.py"
    env = {
        "HEADRACE_BENCH_UPSTREAMS": ",".join(f"http://127.0.0.1:{one}/v1" for one in upstreams),
        "HEADRACE_BENCH_PRICES": str(prices),
        "HEADRACE_KEYS": str(keys),
    }
    key = _key(file, keys, env)
    command = [sys.executable, "-m", "headrace", "serve", file, "--data", folder / "data", "--port", str(port)]
    with running(command, log=log, cwd=folder, core=core, env=env) as child:
        wait_for(f"http://127.0.0.1:{port}/readyz", child, log=log, any_status=True)
        yield Gateway(name, port, child.pid, key)


@contextlib.contextmanager
def relay(folder: Path, upstreams: list[int], *, core: int) -> Iterator[Gateway]:
    """Our HTTP server and client as a bare relay: what is left of ours without keys and policies."""
    port, log = free_port(), folder / "relay.log"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, BENCHMARKS / "workers" / "relay.py", str(port), *map(str, upstreams)]
    with running(command, log=log, core=core) as child:
        wait_for(f"http://127.0.0.1:{port}/", child, log=log, any_status=True)
        yield Gateway("relay", port, child.pid)


def _key(app: Path, keys: Path, env: dict[str, str]) -> str:
    """A key whose limits and budget are never reached."""
    command = [sys.executable, "-m", "headrace", "key", "create", str(app), "benchmark", "--keys", str(keys), "--json"]
    command += ["--budget", "1000000/day", "--rpm", "100000000", "--tpm", "100000000000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(env))
    return json.loads(done.stdout)["key"]


@contextlib.contextmanager
def litellm(setting: Setting, folder: Path, upstreams: list[int], *, core: int) -> Iterator[Gateway | None]:
    """LiteLLM's proxy: one worker, a key, no database and no callbacks."""
    python = peers.python("litellm", setting)
    if python is None:
        yield None
        return
    port, folder = free_port(), folder / "litellm"
    folder.mkdir(parents=True, exist_ok=True)
    models = "\n".join(
        f"  - {{model_name: llm, litellm_params: {{model: openai/mock, api_key: none,"
        f" api_base: 'http://127.0.0.1:{one}/v1'}}}}"
        for one in upstreams
    )
    config, log = folder / "config.yaml", folder / "litellm.log"
    config.write_text(_LITELLM.format(models=models, key=KEY))
    command = [python.parent / "litellm", "--config", config, "--port", str(port), "--host", "127.0.0.1"]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}
    with running([*command, "--num_workers", "1"], log=log, cwd=folder, core=core, env=env) as child:
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", child, log=log, timeout=180)
        yield Gateway("LiteLLM", port, child.pid)
