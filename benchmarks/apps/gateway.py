"""One model behind several upstreams, with everything on: prices, quotas, balancing, limits, hedging, deadlines."""

from __future__ import annotations

import os

import headrace as hr

app = hr.App("gateway")
app.model(
    "llm",
    [
        hr.models.OpenAI(url, model="mock", name=f"u{number}", requests_per_minute=60_000_000)
        for number, url in enumerate(os.environ["HEADRACE_BENCH_UPSTREAMS"].split(","))
    ],
    deadline="30s",
    prices=os.environ["HEADRACE_BENCH_PRICES"],
)
