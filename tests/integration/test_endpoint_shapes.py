"""The types of an endpoint on the wire: what its document says, what it answers and what clients send are the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import jsonschema
import pytest
from pydantic import BaseModel, Field

import headrace as hr
from headrace.composition import composition
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings


class Person(BaseModel):
    first_name: str = Field(alias="firstName")


class Told(BaseModel):
    full_name: str = Field(serialization_alias="fullName")


class Cat(BaseModel):
    kind: Literal["cat"]
    discriminator: str = ""


class Dog(BaseModel):
    kind: Literal["dog"]
    friend: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Row(hr.Record):
    a: int


def shop() -> hr.App:
    app = hr.App("shapes")
    app.table(Row, key="a", freshness="1s", policy="refuse")

    @app.endpoint("/person")
    async def person(ask: Person, ctx: hr.Context) -> Person:
        return ask

    @app.endpoint("/people")
    async def people(ask: Person, ctx: hr.Context) -> AsyncIterator[Person]:
        yield ask

    @app.endpoint("/told", fallback={"full_name": "nobody"})
    async def told(ask: Person, ctx: hr.Context) -> Told:
        return Told(full_name=ask.first_name)

    @app.endpoint("/pet")
    async def pet(ask: Pet, ctx: hr.Context) -> list[Pet]:
        return [ask]

    @app.endpoint("/row")
    async def row(ask: Row, ctx: hr.Context) -> Row:
        return ask

    @app.endpoint("/late")
    async def late(ask: Row, ctx: hr.Context) -> int:
        return len((await ctx.get("rows", ask.a)).rows)

    @app.endpoint("/shelf")
    async def shelf(ask: Row, ctx: hr.Context) -> Row:
        raise hr.BadInput("no such shelf", status=404 if ask.a else 400)

    return app


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    app, settings, stop, data = shop(), Settings(port=0), asyncio.Event(), str(tmp_path / "data")
    listening = bind(settings)
    async with composition.engine(app, data) as engine, composition.reader(app, data, settings) as reader:
        front = create_app(reader.reads, engine.writes, reader.catalog, settings, handlers=reader.handlers)
        ready = asyncio.Event()
        task = asyncio.create_task(serve(front, settings, listening, stop, direct=front.direct, ready=ready.set))
        await ready.wait()
        yield address(listening)
        stop.set()
        await task


async def post(url: str, path: str, body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        return await http.post(path, json=body)


async def operation(url: str, path: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        return (await http.get("/openapi.json")).json()["paths"][path]["post"]


@pytest.mark.parametrize(
    ("path", "answer"), [("/person", {"firstName": "ann"}), ("/told", {"fullName": "ann"})], ids=["alias", "written"]
)
async def test_an_answer_goes_by_the_aliases_that_the_document_has(url: str, path: str, answer: Any) -> None:
    answered = await post(url, path, {"firstName": "ann"})
    assert answered.json() == answer
    described = (await operation(url, path))["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answered.json(), described)


async def test_python_asks_and_reads_by_the_same_aliases(url: str, tmp_path: Path) -> None:
    ann = Person(firstName="ann")
    async with shop().run(data=tmp_path / "here") as live, hr.connect(url) as afar:
        for one in (live, afar):
            assert (await one.ask("/person", ann, response=Person)).value == ann
            assert (await one.ask("/person", {"firstName": "ann"})).value == {"firstName": "ann"}
            assert [item async for item in one.stream("/people", ann, response=Person)] == [ann]


def references(schema: Any) -> list[str]:
    """Whatever looks like a reference."""
    if isinstance(schema, str):
        return [schema] if schema.startswith("#/") else []
    parts: Any = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    return [found for part in parts for found in references(part)]


def fits(schema: Any, body: Any) -> bool:
    validator: Any = jsonschema.Draft202012Validator(schema)
    return validator.is_valid(body)


async def test_a_union_is_described_without_references_to_nowhere(url: str) -> None:
    described = await operation(url, "/pet")
    takes = described["requestBody"]["content"]["application/json"]["schema"]
    gives = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert references(takes) == references(gives) == []
    assert "discriminator" in takes["anyOf"][0]["properties"]
    for body, good in (({"kind": "cat"}, True), ({"kind": "dog", "friend": {"kind": "cat"}}, True), ({}, False)):
        answered = await post(url, "/pet", body)
        assert fits(takes, body) is good is answered.is_success
        assert not good or fits(gives, answered.json())


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [("/pet", {"kind": "cat", "zz": 1}, "/zz"), ("/row", {"a": 1, "q": 2}, "/q")],
    ids=["union", "record"],
)
async def test_an_unknown_field_is_refused_with_a_pointer_into_the_body(
    url: str, path: str, body: Any, pointer: str
) -> None:
    refused = await post(url, path, body)
    assert (refused.status_code, [one["pointer"] for one in refused.json()["problems"]]) == (422, [pointer])
    takes = (await operation(url, path))["requestBody"]["content"]["application/json"]["schema"]
    assert not fits(takes, body)


async def test_what_is_not_fresh_has_no_retry_after_and_none_is_promised(url: str) -> None:
    refused = await post(url, "/late", {"a": 1})
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:headrace:problem:stale-context")
    assert "retry-after" not in refused.headers
    assert "where that is known" in (await operation(url, "/late"))["responses"]["503"]["description"]


async def test_a_refusal_of_another_status_than_those_that_are_described_is_the_apps_fault(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await post(url, "/shelf", {"a": 0})).status_code == 400
    assert (await post(url, "/shelf", {"a": 1})).status_code == 500
    assert "status=404 is none of a BadInput" in caplog.text
