"""What an endpoint cannot be is refused where it is declared."""

from __future__ import annotations

import sys
import typing
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import BaseModel

import headrace as hr
from headrace.core.errors import DeclarationError
from headrace.pipeline.endpoint import Endpoint
from headrace.pipeline.fallbacks import Constant, OtherModel
from headrace.pipeline.stale import OnStale
from headrace.server.listening import limits
from headrace.server.settings import Settings


class Ask(BaseModel):
    text: str


class Reply(BaseModel):
    text: str


async def good(ask: Ask, ctx: hr.Context) -> Reply:
    """Answer kindly.

    At length.
    """
    return Reply(text=ask.text)


def declare(**how: Any) -> Endpoint:
    return hr.App("x").endpoint("/a", **how)(good)


def test_what_is_declared_is_kept() -> None:
    app = hr.App("x")
    endpoint = app.endpoint("/shop/recommend", deadline="4s", max_body="2KiB", cache="1MiB")(good)
    assert app.endpoints == {"/shop/recommend": endpoint}
    assert (endpoint.deadline, endpoint.bounds.max_body, endpoint.cache) == (4.0, 2048, 1 << 20)
    assert endpoint.where.startswith(__file__)
    assert endpoint.description.startswith("Answer kindly.")
    assert "headrace_routes" in app.tables


def test_a_body_may_be_as_long_as_the_server_takes() -> None:
    assert declare(max_body="16MiB").bounds.max_body == Settings().max_body == limits(Settings()).max_body


def test_how_requests_wait_is_said_in_the_words_of_policies() -> None:
    rules = declare(admission={"most": 5, "target": "100ms"}).bounds.admission
    assert (rules.most, rules.target, rules.reserve) == (5, 0.1, 0.2)


async def test_a_declared_endpoint_is_its_handler_still() -> None:
    assert await declare()(Ask(text="hi"), None) == Reply(text="hi")  # type: ignore[arg-type]


WRONG = [
    ("app.endpoint('recommend')(good)", "not the path", 'begin with "/"'),
    ("app.endpoint('/')(good)", "not the path", 'begin with "/"'),
    ("app.endpoint('/a/')(good)", "not the path", 'begin with "/"'),
    ("app.endpoint('/a b')(good)", "not the path", 'begin with "/"'),
    ("app.endpoint('/a/{id}')(good)", "parameters", "type of the input"),
    ("app.endpoint('/a/../b')(good)", "a part of dots alone", "leave that part out"),
    ("app.endpoint('/./a')(good)", "a part of dots alone", "leave that part out"),
    ("app.endpoint('/a/..')(good)", "a part of dots alone", "leave that part out"),
    ("app.endpoint('/context/a')(good)", "server itself", "/app/context/a"),
    ("app.endpoint('/v1/chat')(good)", "server itself", "/app/v1/chat"),
    ("app.endpoint('/healthz')(good)", "server itself", "/app/healthz"),
    ("app.endpoint('/taken')(good)", "is taken", "another path"),
    ("app.endpoint('/a', on_stale='hope')(good)", "'hope'", '"retry"'),
    ("app.endpoint('/a', on_stale=7)(good)", "7", '"retry"'),
    ("app.endpoint('/a', deadline='soon')(good)", "not a duration", "unit"),
    ("app.endpoint('/a', deadline='2s', reserve='2s')(good)", "all of the deadline", "keep less"),
    ("app.endpoint('/a', max_concurrency=0)(good)", "lets nobody in", "1 or more"),
    ("app.endpoint('/a', max_concurrency='many')(good)", "max_concurrency='many' is no number", "1 or more"),
    ("app.endpoint(good)", "the function 'good' is not the path", '@app.endpoint("/recommend")'),
    ("taken.version(good)", "the function 'good' is not a name", '@endpoint.version("b")'),
    ("app.endpoint('/a', prompts='hello')(good)", "prompts='hello' is no list", 'prompts=["..."]'),
    ("app.endpoint('/a', prompts=['hi', 1])(good)", "1 is no prompt", 'prompts=["..."]'),
    ("taken.version('b', prompts='hello')(good)", "prompts='hello' is no list", 'prompts=["..."]'),
    ("taken.version('b', weight='half')(good)", "weight='half' is no share", "0 or more"),
    ("app.endpoint('/a', tolerances=hr.tolerance('things', price=1))(good)", "is no list", "tolerances=[hr."),
    ("app.endpoint('/a', admission={'most': 'x'})(good)", "admission.most cannot be 'x'", "policies.md"),
    ("app.endpoint('/a', admission={'mots': 1})(good)", "no policy 'admission.mots'", "did you mean 'most'"),
    ("app.endpoint('/a', max_body='lots')(good)", "not a size", "KiB"),
    ("app.endpoint('/a', max_body='17MiB')(good)", "max_body='17MiB' is more than the server takes", "in parts"),
    ("app.endpoint('/a', max_body=16 * 1024 * 1024 + 1)(good)", "no body is over 16 MiB", "in parts"),
    ("app.endpoint('/a', budget=5)(good)", "5 is no budget", "5/day"),
    ("app.endpoint('/a', budget=[5])(good)", "5 is no budget", "5/day"),
    ("app.endpoint('/a', strict='yes')(good)", "strict='yes' is neither True nor False", "strict=True"),
    ("app.endpoint('/a', policy=5)(good)", "5 is not a freshness policy", '"wait 200ms"'),
    ("app.endpoint('/a', description=5)(good)", "description=5 is no text", "in words"),
    ("app.endpoint('/a', version=2)(good)", "2 is not a name for a version", "small letters"),
    ("taken.version('b', shadow='yes')(good)", "shadow='yes' is neither True nor False", "shadow=True"),
    ("hr.Prompt(5)", "5 is not the path of a prompt", 'hr.Prompt("prompt.txt")'),
    ("app.endpoint('/a', unknown_fields='keep')(good)", "'keep'", '"ignore"'),
    ("app.endpoint('/a', policy='hurry')(good)", "freshness policy", '"wait 200ms"'),
    ("app.endpoint('/a', version='A version')(good)", "name for a version", "small letters"),
    ("app.endpoint('/a', fallback='bigger')(good)", "'bigger'", "there are: small"),
    ("app.endpoint('/a', fallback='smal')(good)", "'smal'", "did you mean 'small'"),
    ("app.endpoint('/a', reask=-1)(good)", "reask=-1", "0 or more"),
    ("app.endpoint('/a', admission=4)(good)", "admission=4", "AdmissionRules"),
    ("app.endpoint('/a', tolerances=['items'])(good)", "'items' is no tolerance", "hr.tolerance"),
    ("app.endpoint('/a', tolerances=[hr.tolerance('things', prize=1)])(good)", "'prize'", "did you mean 'price'"),
    ("app.endpoint('/a', tolerances=[hr.tolerance('cheap', name=1)])(good)", "is a text", "hr.ignore"),
    ("app.endpoint('/a', tolerances=[hr.tolerance('thing', price=1)])(good)", "'thing'", "did you mean 'things'"),
    ("app.endpoint('/a', fallback=lambda: 1)(good)", "0 parameters", "fallback(ask)"),
    ("app.endpoint('/a', fallback={'txt': 'x'})(good)", "neither a function", "answer of its type"),
    (
        "app.endpoint('/a', fallback={'text': 'x', 'txt': 1})(good)",
        "Extra inputs are not permitted at /txt",
        "answer of",
    ),
    ("app.endpoint('/a', fallback='cached')(streams)", "never answers for an endpoint that streams", "a function"),
    ("app.endpoint('/a', fallback=['x', 'cached'])(streams)", "never answers for an endpoint that streams", "model"),
    ("app.endpoint('/a', fallback=streams)(streams)", "'streams' yields, and is to give one answer", "return"),
    ("app.endpoint('/a', fallback=passes)(streams)", "answers collections.abc.AsyncIterator[str]", "-> str"),
    (
        "app.endpoint('/a', fallback=paged)(good)",
        "'ask' of the fallback 'paged' is Page, and it is given Ask",
        "ask: Ask",
    ),
    ("app.endpoint('/a', fallback=['', paged])(other)", "'paged' is Page, and it is given Ask", "ask: Ask"),
    ("app.endpoint('/a', fallback=other)(good)", "the fallback 'other' answers str, and is to answer Ask", "-> Ask"),
    ("app.endpoint('/a', fallback=good)(other)", "answers Ask, and is to answer str", "-> str"),
    ("app.endpoint('/a', fallback=nothing)(good)", "answers NoneType, and is to answer Ask", "-> Ask"),
    ("app.endpoint('/a', on_stale=hr.repair(mend))(good)", "hr.repair(mend) answers Page, and is to", "-> Ask"),
    (
        "app.endpoint('/a', on_stale=hr.repair(fix))(good)",
        "'answer' of hr.repair(fix) is str, and it is given Ask",
        "Ask",
    ),
    ("app.endpoint('/a', fallback='smal')(other)", "would be sent as the answer", "did you mean 'small'? if it is"),
    ("app.endpoint('/a', fallback='cachd')(other)", "would be sent as the answer", "did you mean 'cached'?"),
    ("app.endpoint('/a', fallback={'x': app})(anything)", "cannot be written as JSON", "plain data"),
    ("app.endpoint('/a')(sync)", "not async", "async def"),
    ("app.endpoint('/a')(one)", "it takes two", "async def"),
    ("app.endpoint('/a')(untyped)", "'ask' of 'untyped' has no type", "async def"),
    ("app.endpoint('/a')(silent)", "does not say what it answers", "async def"),
    ("app.endpoint('/a')(swapped)", "not hr.Context", "async def"),
    ("app.endpoint('/a')(unknown)", "cannot be found", "above the handler"),
    ("app.endpoint('/a')(strange)", "cannot be read from or written as JSON", "Pydantic model"),
    ("app.endpoint('/a')(either)", "is none for Pydantic (discriminator-no-field)", "Model 'Ask' needs"),
    ("app.endpoint('/a')(yields)", "yields", "AsyncIterator"),
    ("app.endpoint('/a', cache=True)(streams)", "has no cache", "leave cache= out"),
    ("app.endpoint('/a', on_stale=hr.repair(fix))(streams)", "no answer to repair", 'on_stale="retry"'),
    ("taken.version('a')(good)", "has a version 'a'", "another name"),
    ("taken.version('b', weight=-1)(good)", "no share", "0 or more"),
    ("taken.version('b', weight=2, shadow=True)(good)", "no share", "0 to 1"),
    (
        "taken.version('b')(other)",
        "takes Ask and answers str, and the first version takes Ask and answers Ask",
        "the same types",
    ),
    ("hr.repair(good)", "three parameters", "fix(answer, changed, ctx)"),
]

FILE = """
from __future__ import annotations
from collections.abc import AsyncIterator
from typing import Annotated
import headrace as hr
from pydantic import BaseModel, Field

class Ask(BaseModel):
    text: str
class Strange:
    pass
class Second(Ask):
    pass
Either = Annotated[Ask | Second, Field(discriminator="kind")]
async def good(ask: Ask, ctx: hr.Context) -> Ask: return ask
async def anything(ask: Ask, ctx: hr.Context) -> dict: return {}
def sync(ask: Ask, ctx: hr.Context) -> Ask: return ask
async def one(ask: Ask) -> Ask: return ask
async def untyped(ask, ctx: hr.Context) -> Ask: return ask
async def silent(ask: Ask, ctx: hr.Context): return ask
async def swapped(ctx: hr.Context, ask: Ask) -> Ask: return ask
async def unknown(ask: Nowhere, ctx: hr.Context) -> Ask: return ask
async def strange(ask: Strange, ctx: hr.Context) -> Ask: return ask
async def either(ask: Either, ctx: hr.Context) -> Ask: return ask
async def yields(ask: Ask, ctx: hr.Context) -> Ask: yield ask
async def other(ask: Ask, ctx: hr.Context) -> str: return ""
async def streams(ask: Ask, ctx: hr.Context) -> AsyncIterator[str]: yield ""
async def fix(answer: str, changed: list, ctx: hr.Context) -> str: return answer
class Page(BaseModel):
    number: int
async def mend(answer: Ask, changed: list, ctx: hr.Context) -> Page: return Page(number=1)
async def paged(ask: Page) -> Ask: return Ask(text="x")
async def passes(ask: Ask, ctx: hr.Context) -> AsyncIterator[str]: return await ctx.small.chat("x", stream=True)
def nothing(ask: Ask) -> None: return None

class Thing(hr.Record):
    thing_id: str
    name: str
    price: float

app = hr.App("x")
app.table(Thing, key="thing_id")
app.view("cheap", "SELECT name, price FROM things WHERE price < 5")
app.model("small", hr.models.OpenAI("http://127.0.0.1:1/v1"))
taken = app.endpoint("/taken")(good)
"""


@pytest.mark.parametrize(("line", "message", "hint"), WRONG, ids=[line for line, _, _ in WRONG])
def test_a_mistake_is_told_with_its_line_and_what_to_do(tmp_path: Path, line: str, message: str, hint: str) -> None:
    file = tmp_path / "app.py"
    file.write_text(dedent(FILE) + line + "\n")
    with pytest.raises(DeclarationError) as caught:
        hr.load_app(file)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert str(caught.value).startswith(f"{file}:{file.read_text().count(chr(10))}")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Pydantic takes the one of typing there")
def test_what_pydantic_says_of_a_type_is_told() -> None:
    class Typed(typing.TypedDict):
        text: str

    async def handler(ask: Typed, ctx: hr.Context) -> Typed:
        return ask

    with pytest.raises(DeclarationError, match=r"Typed, a type of the handler 'handler', is none for Pydantic") as told:
        hr.App("x").endpoint("/a")(handler)
    assert "use `typing_extensions.TypedDict` instead of `typing.TypedDict`" in told.value.hint


LATER = """
later = app.endpoint(
    "/later", deadline="3s", fallback="big", tolerances=[hr.tolerance("others", price=1), hr.tolerance("dear", price=2)]
)(good)
text = app.endpoint("/text", fallback="big")(other)
sorry = app.endpoint("/sorry", fallback="sorry")(other)
class Other(Thing): pass
app.table(Other, key="thing_id")
app.view("dear", "SELECT name, price FROM others WHERE price > 5")
app.model("big", hr.models.OpenAI("http://127.0.0.1:1/v1"))
"""


def test_what_an_endpoint_names_may_be_declared_after_it(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(dedent(FILE) + LATER)
    endpoints = hr.load_app(file).endpoints
    assert (endpoints["/later"].fallbacks, endpoints["/later"].reserve) == ((OtherModel("big"),), 1.0)
    assert endpoints["/text"].fallbacks == (OtherModel("big"),)
    assert endpoints["/sorry"].fallbacks == (Constant("sorry"),)


def test_what_an_endpoint_names_is_looked_at_when_the_app_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(dedent(FILE) + LATER.replace('"others", price', '"others", prize'))
    with pytest.raises(DeclarationError, match="'prize' of 'others'") as caught:
        hr.load_app(file)
    assert caught.value.where == f"{file}:{len(dedent(FILE).splitlines()) + 2}"


def test_types_may_be_local_to_the_function_that_declares() -> None:
    class Local(BaseModel):
        n: int

    app = hr.App("x")

    @app.endpoint("/a")
    async def handler(ask: Local, ctx: hr.Context) -> Local:
        return ask

    assert handler.shape.input_type is Local


def test_streams_are_told_by_what_they_say() -> None:
    app = hr.App("x")

    @app.endpoint("/a")
    async def handler(ask: Ask, ctx: hr.Context) -> AsyncIterator[str]:
        yield ask.text

    @app.endpoint("/b")
    async def given(ask: Ask, ctx: hr.Context) -> AsyncIterator[Reply]:
        return handler(ask, ctx)

    assert (handler.shape.streams, handler.shape.generator, handler.shape.answer_type) == (True, True, str)
    assert (given.shape.streams, given.shape.generator) == (True, False)


@pytest.mark.parametrize(
    ("text", "tries", "check", "then"),
    [
        ("ignore", 0, False, "flag"),
        ("flag", 0, True, "flag"),
        ("retry", 2, True, "flag"),
        ("Retry 5 else refuse", 5, True, "refuse"),
        ("refuse", 0, True, "refuse"),
    ],
)
def test_on_stale_is_read(text: str, tries: int, check: bool, then: str) -> None:
    parsed = OnStale.parse(text)
    assert (parsed.tries, parsed.check, parsed.then) == (tries, check, then)


def test_time_is_kept_for_a_fallback_that_takes_some() -> None:
    assert declare(deadline="10s", fallback=lambda ask: {"text": "x"}).reserve == 0.25
    assert declare(deadline="10s", fallback={"text": "x"}).reserve == 0.0
    assert declare(deadline="10s", fallback={"text": "x"}, reserve="1s").reserve == 1.0
