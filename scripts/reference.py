"""Writes docs/reference from the code, so that it cannot say anything else.

python scripts/reference.py            write the pages
python scripts/reference.py --check    say which pages are not current, and exit with 1
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py from the code: change the code, then run `make reference`. -->"


GIVEN = ("headrace.runtime.live.Live", "headrace.declaration.declared.Table", "headrace.declaration.declared.View")
"""Classes that public calls return."""

# Docstrings ----------------------------------------------------------------------------------------------------------

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)


def markdown(docstring: str | None) -> str:
    """A docstring with NumPy sections as Markdown."""
    text = inspect.cleandoc(docstring or "")
    pieces = _SECTION.split(text)
    parts = [_prose(pieces[0])]
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        parts.append(f"**{name}**\n\n" + (_prose(body) if name == "Examples" else _entries(body)))
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _prose(text: str) -> str:
    """Text with its doctests and indented drawings fenced."""
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(_fenced(block) for block in _joined(blocks))


def _joined(blocks: list[str]) -> Iterator[str]:
    """Indented blocks that follow each other are one drawing."""
    pending: list[str] = []
    for block in blocks:
        if block.startswith("    "):
            pending.append(block)
            continue
        if pending:
            yield "\n\n".join(pending)
            pending = []
        yield block
    if pending:
        yield "\n\n".join(pending)


def _fenced(block: str) -> str:
    if block.startswith(">>>"):
        return f"```pycon\n{block}\n```"
    if block.startswith("    "):
        return f"```text\n{inspect.cleandoc(block)}\n```"
    return block


def _entries(text: str) -> str:
    """`name` lines with indented descriptions, as a list."""
    items: list[tuple[str, list[str]]] = []
    for line in text.strip("\n").splitlines():
        if line and not line.startswith(" "):
            items.append((line, []))
        elif items:
            items[-1][1].append(line.strip())
    return "\n".join(f"- `{name}`" + (": " + " ".join(filter(None, words)) if words else "") for name, words in items)


# Pages ---------------------------------------------------------------------------------------------------------------


def python_page() -> str:
    """Every public name of the package."""
    package = importlib.import_module("headrace")
    parts = [NOTE, "# Python", markdown(package.__doc__)]
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.ismodule(value):
            parts.append(f"## `headrace.{name}`\n\n{markdown(value.__doc__)}")
            if name == "errors":
                continue  # a page of their own
            parts += [_object(f"headrace.{name}.{inner}", getattr(value, inner), "###") for inner in value.__all__]
        else:
            parts.append(_object(f"headrace.{name}", value, "##"))
    parts.append("# What they give\n\nClasses that users meet and never make.")
    parts += [_object(path, _find(path), "##") for path in GIVEN]
    return "\n\n".join(parts) + "\n"


def _find(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _object(path: str, value: Any, heading: str) -> str:
    name = path.rpartition(".")[2]
    if inspect.ismodule(value):
        return f"{heading} `{path}`\n\n{markdown(value.__doc__)}"
    if not callable(value):
        return f"{heading} `{path}`\n\n```python\n{name} = {value!r}\n```"
    parts = [f"{heading} `{path}`", _signature(name, value), markdown(_own_doc(value))]
    if inspect.isclass(value):
        parts += [_method(name, key, member) for key, member in _public_members(value)]
    return "\n\n".join(part for part in parts if part)


def _public_members(cls: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that this package defines, its own and inherited ones."""
    for key in dict.fromkeys(
        key for base in cls.__mro__ for key in vars(base) if base.__module__.startswith("headrace")
    ):
        member = inspect.getattr_static(cls, key)
        if not key.startswith("_") and isinstance(member, property | staticmethod | classmethod | Callable):
            yield key, member


def _method(owner: str, name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"#### `{owner}.{name}`\n\n{markdown(member.__doc__)}"
    function = inspect.unwrap(member.__func__ if isinstance(member, staticmethod | classmethod) else member)
    return f"#### `{owner}.{name}`\n\n{_signature(name, function)}\n\n{markdown(function.__doc__)}"


def _own_doc(value: Any) -> str:
    return (value.__doc__ or "") if not inspect.isclass(value) or "__doc__" in vars(value) else ""


class Raw:
    """An annotation that prints as it is written."""

    def __init__(self, annotation: Any) -> None:
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        self._text = re.sub(r"\b(?:headrace|collections|typing|pathlib)(?:\.\w+)*\.(?=[A-Z])", "", text)

    def __repr__(self) -> str:
        return self._text


def _signature(name: str, value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except ValueError:
        return ""
    kept = [_raw(parameter) for parameter in signature.parameters.values() if parameter.name not in ("self", "cls")]
    returns = signature.return_annotation
    if inspect.isclass(value) or returns is inspect.Signature.empty:
        shown = inspect.Signature(kept)
    else:
        shown = inspect.Signature(kept, return_annotation=Raw(returns))
    return f"```python\n{_wrapped(name + str(shown))}\n```"


def _raw(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter with an annotation that prints as it is written, and a default that says something."""
    annotation, default = parameter.annotation, parameter.default
    if annotation is not inspect.Parameter.empty:
        parameter = parameter.replace(annotation=Raw(annotation))
    return parameter.replace(default=Raw("...")) if " at 0x" in repr(default) or default is ... else parameter


def _wrapped(signature: str) -> str:
    """A long signature, one parameter a line."""
    if len(signature) <= 100:
        return signature
    head, _, rest = signature.partition("(")
    depth, parts, word = 0, [], ""
    body, _, tail = rest.rpartition(")")
    for character in body:
        depth += character in "([{"
        depth -= character in ")]}"
        if character == "," and depth == 0:
            parts.append(word.strip())
            word = ""
        else:
            word += character
    return f"{head}(\n" + "".join(f"    {part},\n" for part in [*parts, word.strip()]) + f"){tail}"


def cli_page() -> str:
    """Every command and option."""
    main = importlib.import_module("headrace.cli").main
    return "\n".join([NOTE + "\n", "# Command line\n", *_command(main, ["headrace"])])


def _command(command: click.Command, path: list[str]) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path))
    yield f"{'#' * min(len(path) + 1, 4)} `{' '.join(path)}`\n"
    yield "```text\n" + " ".join([*path, *command.collect_usage_pieces(context)]) + "\n```\n"
    yield _help(command.help or "") + "\n"
    options = [param for param in command.params if isinstance(param, click.Option) and "--debug" not in param.opts]
    if options:
        yield "| option | meaning |\n|---|---|"
        yield from (_option(option) for option in options)
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _command(command.commands[name], [*path, name])


def _help(text: str) -> str:
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(
        "```text\n" + block.removeprefix("\b\n") + "\n```" if block.startswith("\b") else block for block in blocks
    )


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts + option.secondary_opts)
    metavar = "" if option.is_flag else f" `{option.metavar or option.type.name.upper()}`"
    notes = [(option.help or "").replace("|", "\\|")]
    if option.show_default and option.default not in (None, ()):
        notes.append(f"Default: `{option.default}`.")
    if option.envvar:
        notes.append(f"Environment: `{option.envvar}`.")
    return f"| {names}{metavar} | {' '.join(notes)} |"


def errors_page() -> str:
    """The error tree, with what each error means and how HTTP answers."""
    errors = importlib.import_module("headrace.core.errors")
    problems = importlib.import_module("headrace.core.problems")
    parts = [NOTE, "# Errors", markdown(errors.__doc__)]
    parts.append("They are imported from `headrace.errors`: `from headrace.errors import StaleContext`.")
    parts.append("| error | HTTP status | problem type |\n|---|---|---|")
    parts[-1] += "".join(
        f"\n| `{kind.error.__name__}` | {kind.status} | `{problems.PREFIX}{kind.name}` |" for kind in problems.KINDS
    )
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, Exception):
            parts.append(f"## `{value.__name__}`\n\n{markdown(value.__doc__)}")
    return "\n\n".join(parts) + "\n"


EXAMPLE = """\
import headrace as hr

app = hr.App("shop")

class Item(hr.Record):
    item_id: str
    shop: str
    price: float

items = app.table(Item, key="item_id", index=["shop"], freshness="2s")
menu = app.view("menu", "SELECT item_id, price FROM items WHERE shop = :shop AND price <= :most")
"""


MODELS = """
from pydantic import BaseModel

class Ask(BaseModel):
    shop: str

from headrace.models.cost import Prices

prices = Prices.parse('models: {small: {input: "1", output: "2"}}')
app.model("llm", hr.models.OpenAI(MOCK, model="small", name="first"), prices=prices)

@app.endpoint("/recommend", cache=True, fallback="nothing")
async def recommend(ask: Ask, ctx: hr.Context) -> str:
    found = await ctx.menu(shop=ask.shop, most=2)
    return (await ctx.llm.chat(str(found.rows))).text
"""
"""What the page on metrics has more: a model and an endpoint. Its gateway has a key with a budget."""


def example(more: str = "", **names: Any) -> Any:
    """The app that the pages on HTTP and metrics are written from."""
    space: dict[str, Any] = {"__name__": "example", **names}
    exec(EXAMPLE + more, space)
    return space["app"]


def http_page() -> str:
    """Every path, from the OpenAPI document of a small app."""
    openapi = importlib.import_module("headrace.server.openapi")
    settings = importlib.import_module("headrace.server.settings").Settings()
    catalog = importlib.import_module("headrace.composition").catalog(example())
    paths = openapi.build(catalog, settings)["paths"]
    parts = [
        NOTE,
        "# HTTP",
        "Each app serves its own OpenAPI document at `/openapi.json`, with the types of its own views and tables; an "
        "MCP endpoint (streamable HTTP) is at `/mcp`. This page is written from the document of a small app:",
        f"```python\n{EXAMPLE}```",
        "Errors are problem documents (RFC 9457); their types are listed in [errors](errors.md).",
    ]
    parts += [_operation(verb, path, operation) for path, item in paths.items() for verb, operation in item.items()]
    return "\n\n".join(parts) + "\n"


def _operation(verb: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"## `{verb.upper()} {path}`", f"{operation.get('summary', '')}."]
    if operation.get("description"):
        parts.append(operation["description"])
    rows = [
        f"| `{one['name']}` | {one['in']} | {'yes' if one.get('required') else 'no'} | {one.get('description', '')} |"
        for one in operation.get("parameters", ())
    ]
    if rows:
        parts.append("| parameter | in | required | |\n|---|---|---|---|\n" + "\n".join(rows))
    body = operation.get("requestBody")
    if body:
        parts.append("Body: " + ", ".join(f"`{kind}`" for kind in body["content"]) + ".")
    answers = "\n".join(
        f"- {status}: {answer['description'].rstrip('.')}"
        for status, answer in operation["responses"].items()
        if "description" in answer
    )
    return "\n\n".join([*parts, answers])


async def _exposition() -> str:
    """What `/metrics` of the small app says after one push, one read, and one answer of each kind."""
    httpx = importlib.import_module("httpx")
    composition = importlib.import_module("headrace.composition")
    settings = importlib.import_module("headrace.server.settings").Settings(port=0)
    testing = importlib.import_module("headrace.testing")
    accounts, keyfile, keys = (
        importlib.import_module(f"headrace.server.gateway.{name}") for name in ("accounts", "keyfile", "keys")
    )
    with tempfile.TemporaryDirectory() as folder, testing.mock_llm() as mock:
        app = example(MODELS, MOCK=mock.base_url)
        secret, _ = keyfile.create(
            Path(folder) / accounts.KEYS,
            lambda id, digest: keys.VirtualKey(id=id, name="shop", sha256=digest, budget=keys.Budget(day=Decimal(5))),
        )
        async with (
            app.run(data=folder) as live,
            composition.carried(app, live.reads, Path(folder), settings) as handlers,
            _served(live, composition.catalog(app), settings, handlers) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            await live.push("items", {"item_id": "i1", "shop": "s1", "price": 1})
            await client.get("/context/menu?shop=s1&most=2")
            await client.post("/recommend", json={"shop": "s1"})
            chat = {"model": "llm", "messages": [{"role": "user", "content": "Hi"}]}
            await client.post("/v1/chat/completions", json=chat, headers={"authorization": f"Bearer {secret}"})
            return (await client.get("/metrics")).text


@asynccontextmanager
async def _served(live: Any, catalog: Any, settings: Any, handlers: Any) -> AsyncIterator[str]:
    """The URL of a server over a running app."""
    listening = importlib.import_module("headrace.server.listening")
    http = importlib.import_module("headrace.server.http")
    front = http.create_app(live.reads, live.engine, catalog, settings, health=live.engine, handlers=handlers)
    ready, stop = asyncio.Event(), asyncio.Event()
    with listening.bind(settings) as bound:
        serving = asyncio.create_task(
            listening.serve(front, settings, bound, stop, direct=front.direct, ready=ready.set)
        )
        await ready.wait()
        yield listening.address(bound)
        stop.set()
        await serving


def metrics_page() -> str:
    """Every metric, from what a running app exposes."""
    text = asyncio.run(_exposition())
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    rows: list[str] = []
    for name, kind in sorted(kinds.items()):
        found = re.search(rf"^{name}(?:_bucket|_total)?\{{(.*?)\}}", text, re.MULTILINE)
        labels = ", ".join(f"`{label}`" for label in re.findall(r'(\w+)="', found[1])) if found else ""
        rows.append(f"| `{name}` | {kind} | {labels} | {helps.get(name, '')} |")
    table = "| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "\n".join(rows)
    return "\n\n".join([NOTE, "# Metrics", "What `GET /metrics` exposes, in the Prometheus text format.", table]) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "python.md": python_page,
    "cli.md": cli_page,
    "errors.md": errors_page,
    "http.md": http_page,
    "metrics.md": metrics_page,
}


def stale() -> list[str]:
    """The pages that do not say what the code says."""
    return [name for name, page in PAGES.items() if _read(REFERENCE / name) != page()]


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def main(arguments: list[str]) -> None:
    """Write or check."""
    if "--check" in arguments:
        if found := stale():
            sys.exit(f"not current: {', '.join(found)}; run: make reference")
        return
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page())


if __name__ == "__main__":
    main(sys.argv[1:])
