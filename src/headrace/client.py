"""A running Headrace somewhere else, with the face of one in this process.

async with headrace.connect("http://127.0.0.1:8787") as live:
    menu = await live.menu(restaurant_id="r7")
    print(menu.rows, menu.age_ms, menu.status)
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from headrace.context.readset import ReadSet
from headrace.context.value import ContextValue, InputAge
from headrace.core.carried import check_key, is_value
from headrace.core.changes import Receipt
from headrace.core.clock import Clock, SystemClock, instant, isoformat
from headrace.core.errors import HeadraceError, Misuse, PushError, StreamBroken, Unavailable, UnknownName
from headrace.core.finite import unfinite, with_constants
from headrace.core.frontier import Status
from headrace.core.problems import PREFIX, from_problem, misled
from headrace.core.records import Record
from headrace.core.schema import to_json

if TYPE_CHECKING:
    import httpx

    from headrace.pipeline.answer import Asked
    from headrace.pipeline.pieces import Pieces
    from headrace.portal import SyncPortal

Records = Record | Mapping[str, Any] | Sequence[Record | Mapping[str, Any]]

_JSON = {"content-type": "application/json"}


def connect(
    url: str, *, api_key: str | None = None, timeout: float = 60.0, readsets: bool = False, clock: Clock | None = None
) -> Remote:
    """A client of the server at `url`: use it as `async with connect(url) as live`.

    Parameters
    ----------
    api_key
        One of the server's keys, where it has any.
    timeout
        Longest wait for an answer, seconds.
    readsets
        Ask for the read set of each answer, so that `live.validate(answer)` can tell whether it still holds.

    Raises
    ------
    HeadraceError
        The address is none, or the key cannot be sent.
    """
    return Remote(url, api_key=api_key, timeout=timeout, readsets=readsets, clock=clock)


def connect_sync(
    url: str, *, api_key: str | None = None, timeout: float = 60.0, readsets: bool = False
) -> SyncPortal[Remote]:
    """The same for code that is not async: `with connect_sync(url) as live: live.menu(restaurant_id="r7")`."""
    from headrace.portal import SyncPortal

    return SyncPortal(lambda: connect(url, api_key=api_key, timeout=timeout, readsets=readsets))


@dataclass(frozen=True, slots=True)
class RemoteValue(ContextValue):
    """An answer from afar. `token` holds its read set, when it was asked for."""

    token: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether answers still hold: what changed since, as (view or table, reason), and as of when that is known."""

    holds: bool
    changed: list[tuple[str, str]]
    as_of: int | None

    def __bool__(self) -> bool:
        return self.holds


class Remote:
    """A server, by its address. Each view is a method: `await live.menu(restaurant_id="r7")`.

    Every method raises the error that the server's problem tells of, and `Unavailable` when there is no answer.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        readsets: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.url = _address(url)
        self._key = check_key(api_key)
        self._timeout = timeout
        self._readsets = readsets
        self._clock = clock or SystemClock()
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Remote:
        import httpx

        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        # One connection per request in flight; the default of 100 would queue the rest without a word.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        # No proxies or credentials from the environment: the server is where the caller says.
        self._http = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=self._timeout, limits=limits, trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def __getattr__(self, view: str) -> Callable[..., Awaitable[RemoteValue]]:
        if view.startswith("_"):
            raise AttributeError(view)

        async def read(**params: Any) -> RemoteValue:
            return await self.read(view, **params)

        return read

    async def read(
        self, view: str, /, *, _policy: str | None = None, _max_age: Any = None, **params: Any
    ) -> RemoteValue:
        """The rows of a view, with their ages.

        Parameters
        ----------
        _policy
            A freshness policy for this call: "serve", "flag", "wait 200ms else refuse", "refuse".
        _max_age
            A promise for this call: "2s", or seconds, or a `timedelta`.
        **params
            The view's parameters.

        Raises
        ------
        UnknownName, BadParameter, StaleContext
        """
        query = _query(params)
        if query is None:
            return (await self.read_many([(view, params)], policy=_policy, max_age=_max_age))[0]
        path = "/context/" + quote(view, safe="")
        return self._value(view, await self._ask("GET", path, params=query | self._controls(_policy, _max_age)))

    async def read_many(
        self, reads: Sequence[tuple[str, Mapping[str, Any]]], *, policy: str | None = None, max_age: Any = None
    ) -> list[RemoteValue]:
        """Several views in one snapshot: `[("menu", {"restaurant_id": "r7"}), ("order", {"order_id": "o1"})]`."""
        asked = [{"view": view, "params": dict(params)} for view, params in reads]
        controls = self._controls(policy, max_age)
        answer = await self._ask("POST", "/context", params=controls, content=_encode({"reads": asked}), headers=_JSON)
        return [self._value(one["view"], one) for one in answer["answers"]]

    async def get(self, table: str, key: Any, *, policy: str | None = None, max_age: Any = None) -> RemoteValue:
        """The latest row of one key (a tuple for a composite key): `rows` holds one row or none."""
        parts = cast("Sequence[Any]", key) if isinstance(key, list | tuple) else (key,)
        if len(parts) != 1:  # in a path the parts of a key would be one text to a table whose key is one column
            return await self.get_many(table, [[_text(part) for part in parts]], policy=policy, max_age=max_age)
        path = f"/tables/{quote(table, safe='')}/{quote(_text(parts[0]), safe='')}"
        try:
            return self._value(table, await self._ask("GET", path, params=self._controls(policy, max_age)))
        except _NoRow as absent:
            return self._value(table, absent.answer)

    async def get_many(
        self, table: str, keys: Sequence[Any], *, policy: str | None = None, max_age: Any = None
    ) -> RemoteValue:
        """The rows of many keys in one snapshot, in the order of `keys`; keys without a row are left out."""
        path, controls = "/tables/" + quote(table, safe=""), self._controls(policy, max_age)
        answer = await self._ask("POST", path, params=controls, content=_encode({"keys": list(keys)}), headers=_JSON)
        return self._value(table, answer)

    async def ask(
        self,
        path: str,
        data: Any,
        /,
        *,
        response: Any = None,
        user: str = "",
        session: str = "",
        tenant: str = "",
        priority: str = "normal",
        timeout: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Asked:
        """Ask an endpoint: `await live.ask("/recommend", {"restaurant_id": "r7"})`; see `Live.ask`.

        Raises
        ------
        UnknownName, BadInput
            No such endpoint; an input that does not fit, or that no header can carry (who asks).
        BadReply
            The answer does not fit `response`.
        EndpointError, ModelError
            No answer.
        """
        from headrace.pipeline import afar  # Pydantic's adapters, which reading context does not need

        sent = afar.headers_of(
            user=user, session=session, tenant=tenant, priority=priority, timeout=timeout, headers=headers
        )
        answer = await self._send("POST", path, whole=False, content=afar.body_of(data), headers=_JSON | sent)
        try:
            pieces = await _collect(answer)
        finally:
            await answer.aclose()
        if not answer.is_success:
            raise self._problem(answer, pieces)
        return afar.read(answer.headers, pieces, response)

    def stream(
        self,
        path: str,
        data: Any,
        /,
        *,
        response: Any = None,
        user: str = "",
        session: str = "",
        tenant: str = "",
        priority: str = "normal",
        timeout: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pieces:
        """The answer of an endpoint as it comes: `async for piece in live.stream("/tell", {...})`; see `Live.stream`.

        Raises
        ------
        UnknownName, BadInput, EndpointError, ModelError
            With the first piece: no answer. `StreamBroken`, or what is known of the reason, with a later one.
        """
        from headrace.pipeline import afar  # as in `ask`
        from headrace.pipeline.pieces import Pieces

        sent = afar.headers_of(
            user=user, session=session, tenant=tenant, priority=priority, timeout=timeout, headers=headers
        )
        return Pieces(self._pieces(path, afar.body_of(data), _JSON | sent), response)

    async def _pieces(self, path: str, content: bytes, headers: dict[str, str]) -> AsyncGenerator[Any]:
        import httpx

        from headrace.pipeline import afar

        answer = await self._send("POST", path, whole=False, content=content, headers=headers)
        try:
            if not answer.is_success:
                raise self._problem(answer, await _collect(answer))
            async with aclosing(afar.pieces(answer.headers, answer.aiter_bytes())) as items:
                async for item in items:
                    yield item
        except httpx.TransportError as error:
            raise StreamBroken(f"the answer broke off ({type(error).__name__}: {error})") from error
        finally:
            await answer.aclose()

    async def push(self, table: str, records: Records, *, idempotency_key: str | None = None) -> Receipt:
        """Give records to a table whose source is `Push`; returns once they are on disk.

        A record is a `Record`, or a mapping; `{"op": "delete", "key": ...}` deletes.

        Raises
        ------
        Rejected, Backpressure, StoreFull, IdempotencyConflict
        PushError
            No header can carry the idempotency key.
        """
        many = [records] if isinstance(records, Record | Mapping) else list(records)
        if idempotency_key is not None and not is_value(idempotency_key):
            raise PushError(
                f"idempotency_key={idempotency_key!r:.80} cannot be sent, since it goes as a header",
                hint="give ASCII characters in one line, without blanks at its ends",
            )
        headers = _JSON if idempotency_key is None else _JSON | {"idempotency-key": idempotency_key}
        path = "/push/" + quote(table, safe="")
        return msgspec.convert(await self._ask("POST", path, content=_records(many), headers=headers), Receipt)

    async def validate(self, *answers: RemoteValue) -> Verdict:
        """Whether what these answers were built on still holds. They must have come with `readsets=True`.

        Raises
        ------
        HeadraceError
            An answer without a read set.
        """
        tokens = [answer.token for answer in answers if answer.token is not None]
        if len(tokens) < len(answers) or not tokens:
            raise HeadraceError("an answer came without its read set", hint="connect(url, readsets=True)")
        found = await self._ask("POST", "/validate", content=_encode({"readsets": tokens}), headers=_JSON)
        changed = [(one["name"], one["reason"]) for one in found["changed"]]
        return Verdict(found["holds"], changed, _instant(found["as_of"]))

    async def freshness(self) -> dict[str, Any]:
        """Per table and view: as-of, age, status, source state, counters; and the problems."""
        return await self._ask("GET", "/freshness")

    def _controls(self, policy: str | None, max_age: Any) -> dict[str, str]:
        given = {"_policy": policy, "_max_age": None if max_age is None else _text(max_age)}
        controls = {name: value for name, value in given.items() if value is not None}
        return controls | {"_readset": "1"} if self._readsets else controls

    async def _ask(self, method: str, path: str, **how: Any) -> Any:
        answer = await self._send(method, path, **how)
        if answer.is_success:
            return msgspec.json.decode(answer.content)
        raise self._error(answer)

    async def _send(self, method: str, path: str, *, whole: bool = True, **how: Any) -> httpx.Response:
        import httpx

        if self._http is None:
            raise HeadraceError("the client is not connected", hint="use it as: async with connect(url) as live")
        try:
            return await self._http.send(self._http.build_request(method, path, **how), stream=not whole)
        except httpx.TransportError as error:
            raise Unavailable(
                f"no Headrace answers at {self.url} ({type(error).__name__}: {error})",
                hint="start one with: headrace dev app.py. A push may have been applied: repeat it with the same key",
            ) from error

    def _error(self, answer: httpx.Response) -> HeadraceError:
        return self._problem(answer, answer.content)

    def _problem(self, answer: httpx.Response, content: bytes) -> HeadraceError:
        try:
            document = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError:
            return HeadraceError(
                f"{answer.url} answered {answer.status_code} and no problem document", hint="is it a Headrace?"
            )
        if document.get("type") == PREFIX + "no-row":
            return _NoRow(document)
        error = from_problem(document)
        if answer.status_code == 404 and type(error) is HeadraceError:  # a path that is none
            return UnknownName(error.message, hint=misled(self.url) or error.hint)
        return error

    def _value(self, name: str, answer: Mapping[str, Any]) -> RemoteValue:
        as_of, age = _instant(answer["as_of"]), answer["age_ms"]
        now = self._clock.now() if as_of is None or age is None else as_of + round(age * 1000)
        return RemoteValue(
            name=name,
            rows=answer["rows"],
            now=now,
            as_of=as_of,
            status=Status(answer["status"]),
            changed=[None if old is None else now - round(old * 1000) for old in answer.get("value_age_ms", ())],
            inputs={
                name: InputAge(
                    _instant(one["as_of"]), Status(one["status"]), one["state"], _microseconds(one.get(_ERROR))
                )
                for name, one in answer["inputs"].items()
            },
            readset=ReadSet(),
            token=answer.get("readset"),
        )


async def _collect(answer: httpx.Response) -> bytes:
    """The body, or what came of one that broke off: the reader of its events sees that it is not whole."""
    import httpx

    pieces: list[bytes] = []
    try:
        async for piece in answer.aiter_bytes():
            pieces.append(piece)
    except httpx.TransportError as error:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise Unavailable(
                f"the answer broke off ({type(error).__name__}: {error})", hint="ask again: nothing is kept of it"
            ) from error
    return b"".join(pieces)


class _NoRow(UnknownName):
    """There is no row of the key; holds how old the table is all the same."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__(str(document.get("detail")))
        self.answer: Mapping[str, Any] = document["answer"]


def _address(url: str) -> str:
    """The address of a server, without a slash at its end. Raises `HeadraceError` where it is none."""
    from headrace.http1.origin import Origin  # brings the whole package, which few clients need before

    try:
        Origin.parse(url)
    except (Misuse, TypeError):
        shown = re.sub(r"//[^/@]*@", "//", str(url))  # without a password
        hint = 'write "http://127.0.0.1:8787"'
        raise HeadraceError(f"{shown!r:.100} is not the address of a server", hint=hint) from None
    return url.rstrip("/")


def _instant(text: str | None) -> int | None:
    return None if text is None else instant(datetime.fromisoformat(text))


def _microseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)


_ERROR = "value_age_error_ms"


def _query(params: Mapping[str, Any]) -> dict[str, str] | None:
    """The parameters as a query, or None when one of them can only be said in JSON."""
    if any(value is None or isinstance(value, list | tuple | dict) for value in params.values()):
        return None
    return {name: _text(value) for name, value in params.items()}


def _text(value: Any) -> str:
    """A value as it stands in a URL."""
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case datetime():
            return isoformat(instant(value))
        case date() | time():
            return value.isoformat()
        case timedelta():
            return f"{value / timedelta(microseconds=1):.0f}us"
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return str(value)


def _encode(data: Any) -> bytes:
    try:
        return msgspec.json.encode(data, enc_hook=_plain)
    except (TypeError, ValueError):
        # What msgspec does not know (models inside mappings, sets): the slower way knows it.
        return to_json(data).encode()


def _records(records: list[Any]) -> bytes:
    found = _encode(records)
    return with_constants(records) if b"null" in found and unfinite(records) is not None else found


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    raise TypeError(type(value).__name__)
