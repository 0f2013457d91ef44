"""The version of an endpoint: a hash of all that decides what it answers.

| part      | what counts                                                                               |
|-----------|-------------------------------------------------------------------------------------------|
| code      | the handler, and what it uses of the app's own files: functions, classes, constants        |
| prompts   | texts and files that were declared as prompts                                              |
| views     | the SQL (not its formatting), parameters and refresh of views; rollups                     |
| contracts | columns, rules and constraints of tables                                                   |
| models    | kinds, addresses, model names, fallbacks; not keys, limits, prices or other policies       |

The same declaration has the same version in every process and on every machine. `docs/design/versions.md` says what is
not seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import sqlglot
from pydantic import BaseModel
from sqlglot.tokens import TokenType  # pyright: ignore[reportPrivateImportUsage]

from headrace.contracts.contract import Contract
from headrace.pipeline.sight import Sight
from headrace.views.rollup import Rollup
from headrace.views.view import ViewPlan

SHORT = 12
"""Hexadecimal digits of a hash in a header."""

_WRITTEN = frozenset({TokenType.STRING, TokenType.NUMBER, TokenType.IDENTIFIER, TokenType.VAR})
_SECRET = re.compile(
    r"authori[sz]ation|\bauth\b|token(?!s|i)|secret|passw|credential|cookie|signature|\bsig\b|(\b|[-_])key\b|api-?key",
    re.IGNORECASE,
)
_NO_ANSWER = frozenset(
    (
        "budget",
        "clock",
        "concurrency",
        "connections",
        "deadline",
        "key",
        "local",
        "max_connections",
        "name",
        "policies",
        "price",
        "prices",
        "quota",
        "random",
        "rate",
        "requests_per_minute",
        "retries",
        "timeout",
        "timeouts",
        "tokens_per_minute",
        "weight",
        "where",
        "workers",
    )
)
"""Fields of models and providers that say how a call is made, and nothing of what is answered."""


@dataclass(frozen=True, slots=True)
class Version:
    """What an endpoint is at one moment.

    Attributes
    ----------
    name
        As declared: "v1".
    hash
        SHA-256 over the parts, in hexadecimal.
    parts
        The hash of each part by its name: two versions differ where their parts do.
    """

    name: str
    hash: str
    parts: dict[str, str]

    @property
    def short(self) -> str:
        """The first 12 digits of the hash, for headers."""
        return self.hash[:SHORT]

    def __str__(self) -> str:
        return f"{self.name}-{self.short}"

    def changed(self, other: Version) -> list[str]:
        """The names of the parts that differ."""
        return [name for name in {**self.parts, **other.parts} if self.parts.get(name) != other.parts.get(name)]


def fingerprint(
    handler: Callable[..., Any],
    *,
    name: str = "v1",
    prompts: Iterable[Any] = (),
    views: Iterable[ViewPlan | Rollup] = (),
    contracts: Iterable[Contract] = (),
    models: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Version:
    """The version of an endpoint as it is declared now. Takes milliseconds: once, when the app is loaded.

    Parameters
    ----------
    handler
        The function that answers.
    prompts
        Texts, `Prompt`s, or functions that make them, that the handler does not name itself.
    views
        The views and rollups that it may read, those under other views included; the order does not matter.
    contracts
        Of the tables below them.
    models
        The declared models that it may call, by name, those that others fall back to included.
    more
        Whatever else decides the answer: values and functions by name.

    Examples
    --------
    >>> def greet(name: str) -> str: return f"Good morning, {name}"
    >>> first = fingerprint(greet)
    >>> first == fingerprint(greet), len(first.short)
    (True, 12)
    """
    parts = {
        "code": _hash(_seen([handler])),
        "prompts": _hash(_seen(list(prompts))),
        "views": _hash(*sorted(map(_view, views))),
        "contracts": _hash(*sorted(map(_contract, contracts))),
        "models": _hash(*(f"{key}: {_model(value)}" for key, value in sorted((models or {}).items()))),
    }
    if more:
        parts["more"] = _hash(_seen([sorted(more.items())]))
    return Version(name, _hash(*(f"{part} {digest}" for part, digest in sorted(parts.items()))), parts)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()


def _seen(values: list[Any]) -> str:
    sight = Sight()
    seen = [sight.see(value) for value in values]
    return "\n".join([*seen, sight.text()])


def _view(view: ViewPlan | Rollup) -> str:
    if isinstance(view, Rollup):
        windows = [repr(window) for window in view.windows]
        return f"rollup {view.name} {view.definition} {windows} {view.lateness}"
    params = [(param.name, param.type.value, param.nullable) for param in view.params]
    return f"view {view.name} {_sql(view.sql)} {params} {view.refresh}"


def _sql(text: str) -> str:
    """SQL without its formatting and comments, and with its keywords in one case."""
    tokens = sqlglot.tokenize(text)
    return " ".join(
        f"{token.token_type.name}:{token.text if token.token_type in _WRITTEN else token.text.upper()}"
        for token in tokens
        if token.token_type is not TokenType.SEMICOLON
    )


def _contract(contract: Contract) -> str:
    schema = contract.schema
    columns = [(c.name, c.type.value, c.nullable, c.default) for c in schema.columns]
    kept = (schema.name, schema.kind.value, schema.key, schema.event_time, schema.version, schema.keep, schema.adopt)
    rules = [(rule.name, rule.check, rule.on_violation, rule.columns) for rule in contract.rules]
    bounds = (contract.lateness, contract.ahead, contract.new_fields, contract.on_violation, contract.policies)
    return f"{kept!r} {columns!r} {_seen([contract.record, rules, bounds])}"


def _model(model: Any) -> str:
    """A declared model, and what in it decides the answer. New fields count until they are known not to."""
    sight = Sight()
    return f"{_described(model, sight)}\n{sight.text()}"


def _described(value: Any, sight: Sight) -> str:
    if isinstance(value, str):
        return repr(without_secrets(value))
    if isinstance(value, Mapping):
        pairs = sorted(cast("Mapping[Any, Any]", value).items(), key=lambda pair: str(pair[0]))
        return " ".join(f"{key}={_described(item, sight)}" for key, item in pairs if not _SECRET.search(str(key)))
    if isinstance(value, list | tuple):
        return f"[{', '.join(_described(item, sight) for item in cast('list[Any]', value))}]"
    fields = _fields(value)
    if fields is None:
        return sight.see(value)
    kept = {name: item for name, item in fields.items() if name not in _NO_ANSWER and item is not None}
    return f"{value.__class__.__qualname__}({_described(kept, sight)})"


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass, of a Pydantic model or of an object of Headrace's; None for anything else."""
    if isinstance(value, type) or callable(value):
        return None
    found: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        found = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    elif isinstance(value, BaseModel):
        found = {name: getattr(value, name) for name in type(value).model_fields}
    elif hasattr(value, "__dict__"):
        found = dict(cast("dict[str, Any]", value.__dict__))
    else:
        return None
    return {name.lstrip("_"): item for name, item in found.items()}


def without_secrets(text: str) -> str:
    """A URL without its user, password and parameters that look like secrets; any other text as it is.

    >>> without_secrets("https://me:pw@api.example.com/v1?api-key=abc&api-version=3")
    'https://api.example.com/v1?api-version=3'
    """
    if "://" not in text:
        return text
    try:
        url = urlsplit(text)
        query = urlencode(
            [pair for pair in parse_qsl(url.query, keep_blank_values=True) if not _SECRET.search(pair[0])]
        )
    except ValueError:
        return text
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, query, ""))
