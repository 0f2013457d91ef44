"""What a reader asks for beside the data: a freshness policy, a greatest age, a read-set token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from headrace.context.policy import FreshnessPolicy
from headrace.core.durations import format_duration, parse_duration
from headrace.core.errors import BadParameter, DeclarationError

T = TypeVar("T")

POLICY_HEADER = b"headrace-policy"
MAX_AGE_HEADER = b"headrace-max-age"
CONTROLS = ("_policy", "_max_age", "_readset")
"""Query parameters that are ours; names with a leading underscore are reserved, so no view has them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """How a read is wanted: `policy` and `max_age` (microseconds) override the view's own where they are given."""

    policy: FreshnessPolicy | None = None
    max_age: int | None = None
    readset: bool = False

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes], controls: Mapping[str, str], *, max_wait: int) -> Ask:
        """From headers and query controls; a query control beats its header. Raises `BadParameter`."""
        header_policy, header_age = headers.get(POLICY_HEADER), headers.get(MAX_AGE_HEADER)
        if header_policy is None and header_age is None and not controls:
            return _PLAIN
        # All of them are parsed, also those that lose: a mistake is said, not passed over.
        policies = [parse_policy(text, max_wait) for text in (controls.get("_policy"), _text(header_policy))]
        ages = [parse_max_age(text) for text in (controls.get("_max_age"), _text(header_age))]
        return cls(_first(policies), _first(ages), parse_flag(controls.get("_readset")))

    @classmethod
    def of_request(cls, request: Request, body: Mapping[str, Any], *, max_wait: int) -> Ask:
        """From a request without query parameters of its own: members of the body beat the query and the headers."""
        params, controls = parse_query(request.scope["query_string"])
        if params:
            raise BadParameter(f"there is no parameter {next(iter(params))!r}", hint="it does not go into the query")
        given = {name: body[name] for name in ASK_MEMBERS if body.get(name) is not None}
        if not isinstance(given.get("policy", ""), str) or not isinstance(given.get("readset", False), bool):
            raise BadParameter("'policy' is text and 'readset' is true or false", hint='send {"policy": "refuse"}')
        if isinstance(max_age := given.get("max_age", ""), bool) or not isinstance(max_age, str | int | float):
            raise BadParameter("'max_age' is not a duration", hint='send text such as "2s", or seconds')
        outer = cls.of(dict(request.scope["headers"]), controls, max_wait=max_wait)
        inner = cls.of({}, {f"_{name}": str(value) for name, value in given.items()}, max_wait=max_wait)
        return cls(
            inner.policy or outer.policy,
            outer.max_age if inner.max_age is None else inner.max_age,
            inner.readset or outer.readset,
        )


_PLAIN = Ask()
ASK_MEMBERS = frozenset({"policy", "max_age", "readset"})
"""Members of a body that say how it is to be read."""


@lru_cache(maxsize=256)
def parse_policy(text: str | None, max_wait: int) -> FreshnessPolicy | None:
    """The policy of a text from a client. Raises `BadParameter` also when the wait is over `max_wait` microseconds."""
    if text is None:
        return None
    try:
        policy = FreshnessPolicy.parse(text)
    except DeclarationError as error:
        raise BadParameter(error.message, hint=error.hint) from error
    if policy.wait > max_wait:
        raise BadParameter(
            f"a wait of {format_duration(policy.wait)} is too long",
            hint=f"this server waits at most {format_duration(max_wait)}",
        )
    return policy


@lru_cache(maxsize=256)
def parse_max_age(text: str | None) -> int | None:
    """Microseconds of a greatest age: "2s", "250ms", or a plain number of seconds. Raises `BadParameter`."""
    if text is None:
        return None
    try:
        return parse_duration(float(text) if text.replace(".", "", 1).isdecimal() else text)
    except DeclarationError as error:
        raise BadParameter(error.message, hint=error.hint) from error


def parse_flag(text: str | None) -> bool:
    """Whether a flag is set. Raises `BadParameter` for what is neither yes nor no."""
    if text is None or text.lower() in {"0", "false", "no"}:
        return False
    if text.lower() in {"1", "true", "yes"}:
        return True
    raise BadParameter(f"{text[:40]!r} is neither yes nor no", hint="write 1 or 0")


def parse_query(query: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters and the controls of a query string, each at most once. Raises `BadParameter`.

    Written by hand because it is on the path of every read: three times as fast as `urllib.parse.parse_qsl`.

    >>> parse_query(b"restaurant_id=r7&_policy=wait+1s")
    ({'restaurant_id': 'r7'}, {'_policy': 'wait 1s'})
    """
    params: dict[str, Any] = {}
    controls: dict[str, str] = {}
    for part in query.split(b"&"):
        if not part:
            continue
        raw_name, _, raw_value = part.partition(b"=")
        name, value = _unquote(raw_name), _unquote(raw_value)
        into = params
        if name[:1] == "_":
            into = controls
            if name not in CONTROLS:
                raise BadParameter(f"there is no parameter {name!r}", hint=f"those of ours are {', '.join(CONTROLS)}")
        if name in into:
            raise BadParameter(f"the parameter {name!r} is given twice", hint="give it once")
        into[name] = value
    return params, controls


def _unquote(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadParameter(f"the query holds bytes that are not UTF-8: {raw[:40]!r}", hint="encode it as UTF-8") from (
            error
        )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _first(given: list[T | None]) -> T | None:
    return next((one for one in given if one is not None), None)
