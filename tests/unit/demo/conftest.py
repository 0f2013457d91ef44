"""A stand-in for the running app: the demo's views over plain SQLite, fed by the same pushes and the same file; its
own endpoints over them, and a model that answers in memory as `headrace mock-llm` does over HTTP."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest

import headrace as hr
from headrace.core.frontier import Status
from headrace.demo.app import ORDER_STATUS, RECOMMEND, food_delivery
from headrace.demo.asking import Asker
from headrace.demo.batch import CopyReads, open_endpoints
from headrace.demo.city import City
from headrace.demo.clock import CityClock
from headrace.demo.happenings import KEYS
from headrace.demo.model import ModelChoice
from headrace.demo.reading import Service
from headrace.demo.run import Opener
from headrace.demo.twin import Twin
from headrace.demo.wire import PROMOTIONS
from headrace.mockllm.contexts import contexts
from headrace.mockllm.schema import instance
from headrace.models.request import ModelRequest
from headrace.pipeline.answer import Asked
from headrace.testing import ScriptedModel

VIEWS = {"recommend": RECOMMEND, "order_status": ORDER_STATUS}
POPULAR = "CREATE VIEW popular AS SELECT item_id, COUNT(*) AS orders_15m FROM sales GROUP BY item_id"


def from_the_prompt(request: ModelRequest) -> str:
    """What the mock answers: an instance of the schema, filled from the rows of the prompt."""
    schema = request.document["response_format"]["json_schema"]["schema"]
    return json.dumps(instance(schema, contexts(request.document["messages"][-1]["content"])[-1].rows))


@pytest.fixture
def app() -> hr.App:
    """The demo's app; nothing is at the address of its model."""
    return food_delivery({}, hr.models.OpenAI("http://127.0.0.1:9/v1", model="none"))


@dataclass
class Answer:
    rows: list[dict[str, Any]]
    age_ms: float | None = 40.0
    status: Status = Status.FRESH


class StandIn:
    def __init__(self, promotions: Path, city: City) -> None:
        self._promotions = promotions.open("a+", encoding="utf-8")
        self._promotions.seek(0)
        self._db = apsw.Connection(":memory:")
        for table in KEYS:
            columns = ", ".join(city.tables[table][next(iter(city.tables[table]))])
            self._db.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({KEYS[table]}))")
        self._db.execute(POPULAR)
        self._put("restaurants", list(city.tables["restaurants"].values()))
        self.pushes = 0
        self.loaded_at = city.now
        self.live: Asker
        self.copy: Asker

    async def ask(self, path: str, data: Any, /) -> Asked:
        return await self.live.ask(path, data)

    async def push(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.pushes += 1
        self._put(table, rows)

    async def read(self, view: str, /, **params: Any) -> Answer:
        return self._ask(VIEWS[view], params)

    async def get(self, table: str, key: str) -> Answer:
        return self._ask(f"SELECT * FROM {table} WHERE {KEYS[table]} = :key", {"key": key})

    def close(self) -> None:
        self._promotions.close()
        self._db.close()

    def _ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        self._put("promotions", [json.loads(line) for line in self._promotions])
        cursor = self._db.execute(sql, params)
        return Answer([dict(zip([c[0] for c in cursor.get_description()], row, strict=True)) for row in cursor])

    def _put(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            columns = ", ".join(f":{column}" for column in rows[0])
            self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({columns})", rows)


@pytest.fixture
def stand_in(app: hr.App) -> Opener:
    @asynccontextmanager
    async def opener(
        folder: Path, clock: CityClock, city: City, twin: Twin, model: ModelChoice
    ) -> AsyncGenerator[Service]:
        service, models = StandIn(folder / PROMOTIONS, city), {"llm": ScriptedModel(from_the_prompt)}
        live, copy = CopyReads(service, clock), CopyReads(twin, clock)
        async with (
            open_endpoints(app, live, models, clock) as service.live,
            open_endpoints(app, copy, models, clock) as service.copy,
        ):
            try:
                yield service
            finally:
                service.close()

    return opener
