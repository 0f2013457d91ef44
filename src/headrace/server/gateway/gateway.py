"""`/v1/...`: which handler takes a request, and what the gateway says of itself."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Collection, Container, Iterator, Sequence
from random import Random
from typing import Any
from urllib.parse import unquote

import msgspec

from headrace.core.clock import SECOND, Clock, SystemClock, isoformat
from headrace.core.events import Problem
from headrace.core.failurelog import FailureLog
from headrace.core.names import suggest
from headrace.http1.request import Request
from headrace.http1.response import Handler, Later, Response
from headrace.models.periods import Budgets
from headrace.models.request import Dialect
from headrace.server.gateway import documents, refusal, upstreams
from headrace.server.gateway.allowance import Allowances
from headrace.server.gateway.complaint import JSON, Complaint
from headrace.server.gateway.entrance import Entrance
from headrace.server.gateway.examination import unknown
from headrace.server.gateway.exchange import Exchange, Parts
from headrace.server.gateway.keyring import Keyring
from headrace.server.gateway.keys import Snapshot
from headrace.server.gateway.ledger import Ledger
from headrace.server.gateway.offer import Offer
from headrace.server.gateway.tally import Tally
from headrace.server.metrics import escape
from headrace.server.ports import Reads
from headrace.server.problem import Problem as Document

_LOG = logging.getLogger("headrace.gateway")
PREFIX = b"/v1/"
_MODELS = b"/v1/models"
_PATHS = {
    b"/v1/chat/completions": Dialect.CHAT,
    b"/v1/responses": Dialect.RESPONSES,
    b"/v1/embeddings": Dialect.EMBEDDINGS,
    b"/v1/messages": Dialect.MESSAGES,
}
_BARE = PREFIX.rstrip(b"/")
_TWICE = _BARE + PREFIX
_ASTRAY = frozenset(path.removeprefix(_BARE) for path in (*_PATHS, _MODELS))
"""Where a client goes whose `base_url` lacks `/v1`: it shows nothing of a 404 that is not in its own words."""
_ASTRAY_MODEL = b"/models/"


class Gateway:
    """Serves the declared models of an app to clients of OpenAI and Anthropic; one of the server's `Handlers`.

    Parameters
    ----------
    offers
        The models.
    reads
        Where context comes from.
    keyring, budgets, ledger
        Keys, what they may spend, and where what they spent is kept. They are started and closed by whoever made them.
    api_keys
        The server's own keys, which open everything.
    clock, random
        As everywhere; `random` gives this gateway's requests a beginning of their own.
    tally
        Where answers are counted; its own if not given.
    max_reads, max_wait
        Most views in one request, and the longest wait of their policies (microseconds).
    taken
        Paths of the app's own endpoints, which are theirs also where clients go astray (`/models`, say).
    views
        The views that there are, to say of keys that name others; it is not looked at if not given.
    """

    checks_keys = True
    lasts = True

    def __init__(
        self,
        offers: Sequence[Offer],
        reads: Reads,
        *,
        keyring: Keyring | None = None,
        budgets: Budgets | None = None,
        ledger: Ledger | None = None,
        api_keys: Sequence[str] = (),
        clock: Clock | None = None,
        random: Random | None = None,
        tally: Tally | None = None,
        max_reads: int = 100,
        max_wait: int = 30_000_000,
        taken: Container[str] = (),
        views: Collection[str] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._since = self._clock.now()
        self._keyring = keyring or Keyring(None)
        self._ledger = ledger
        self._taken = taken
        self._entrance = Entrance(self._keyring, api_keys, self._clock)
        self._tally = tally or Tally(offer.name for offer in offers)
        self._prefix = f"req_{(random or Random()).getrandbits(48):012x}"
        self._numbers = itertools.count(1)
        self._parts = Parts(
            offers={offer.name: offer for offer in offers},
            reads=reads,
            entrance=self._entrance,
            allowances=Allowances(budgets or Budgets()),
            tally=self._tally,
            clock=self._clock,
            failures=FailureLog(_LOG),
            max_reads=max_reads,
            max_wait=max_wait,
        )
        self._views = views
        self._keyring.follow(self._tell_unknown)
        self._handlers: dict[bytes, Handler] = {path: self._handler(dialect) for path, dialect in _PATHS.items()}

    def find(self, request: Request) -> Handler | None:
        """The handler of a request; None where its path is not ours."""
        path = request.target.partition(b"?")[0]
        if not path.startswith(PREFIX):
            return self._nothing if self._astray(path) else None
        handler = self._handlers.get(path)
        if handler is not None and request.method == b"POST":
            coding = request.named.get(b"content-encoding")
            return handler if coding is None or coding.lower() == b"identity" else self._coded
        if path == _MODELS or path.startswith(_MODELS + b"/"):
            return self._models
        return self._nothing

    def refused(self, request: Request, problem: Document) -> Response | None:
        """What the gate or the connection refuses, in the words of the client's library, for paths of ours."""
        if not request.target:
            return refusal.unread(problem)
        path = request.path
        if not path.startswith(PREFIX) and not self._astray(path):
            return None
        dialect = _PATHS.get(path) or refusal.spoken(request)
        return refusal.outside(problem).response(dialect)

    def openapi(self) -> dict[str, Any]:
        """The paths of this gateway for `/openapi.json`."""
        return documents.paths(sorted(self._parts.offers))

    def metrics(self) -> Iterator[str]:
        """Lines for `/metrics`."""
        yield from self._tally.lines()
        yield from upstreams.lines(self._parts.offers.values())
        for name, words, problem in (
            (
                "keys_broken",
                "Whether the file of keys cannot be read; the keys of before count.",
                self._keyring.problem,
            ),
            (
                "ledger_behind",
                "Whether what keys spend cannot be written.",
                self._ledger.problem if self._ledger else "",
            ),
        ):
            yield f"# HELP headrace_gateway_{name} {words}"
            yield f"# TYPE headrace_gateway_{name} gauge"
            yield f"headrace_gateway_{name} {int(bool(problem))}"
        yield from self._money()
        yield "# HELP headrace_gateway_keys Keys in the file, those that have ended included."
        yield "# TYPE headrace_gateway_keys gauge"
        yield f"headrace_gateway_keys {len(self._keyring.snapshot.keys)}"

    def _money(self) -> Iterator[str]:
        """What keys have spent, and may spend."""
        now = self._clock.now() / SECOND
        keys = [key for key in self._keyring.snapshot.keys if key.revoked is None]
        spent = [(key.name, self._parts.allowances.amounts(now, key)) for key in keys]
        limits = [(key.name, key.budget.limits) for key in keys]
        for name, words, found in (
            (
                "spent",
                "What a key has spent this day and month (UTC) and in all, in the currency of prices.",
                spent,
            ),
            ("budget", "What a key may spend in a period, where it has a limit.", limits),
        ):
            yield f"# HELP headrace_key_{name} {words}"
            yield f"# TYPE headrace_key_{name} gauge"
            for key, amounts in found:
                for period, amount in amounts.items():
                    yield f'headrace_key_{name}{{key="{escape(key)}",period="{period}"}} {amount:f}'

    def problems(self) -> Iterator[Problem]:
        """Upstreams that are paused; keys that cannot be read, or are for nothing; spending that cannot be written."""
        yield from upstreams.problems(self._parts.offers.values())
        if self._keyring.problem:
            hint = "repair the file, or restore it (it is looked at once a second); to serve without keys, start again"
            yield Problem("gateway:keys", "keys_broken", self._keyring.problem, hint)
        yield from self._unknown(self._keyring.snapshot)
        if self._ledger is not None and self._ledger.problem:
            hint = "budgets hold in memory; make room on the disk before the server is started again"
            yield Problem("gateway:spending", "ledger_behind", self._ledger.problem, hint)

    def _unknown(self, snapshot: Snapshot) -> Iterator[Problem]:
        """Keys for what is not declared. They serve for the rest: a key may be made before the app has its model, and
        that another is revoked must not wait for it."""
        return unknown(snapshot, self._parts.offers, self._views)

    def _tell_unknown(self, snapshot: Snapshot) -> None:
        for one in self._unknown(snapshot):
            _LOG.warning("keys: %s; %s", one.message, one.hint)

    def _handler(self, dialect: Dialect) -> Handler:
        parts, prefix, numbers, now = self._parts, self._prefix, self._numbers, self._clock.monotonic

        def handle(request: Request) -> Response | Later | Awaitable[Response]:
            return Exchange(parts, dialect, request, now(), f"{prefix}{next(numbers):x}").answer()

        return handle

    def _models(self, request: Request) -> Response:
        """`GET /v1/models` and `/v1/models/{id}`, in the words of whoever asks."""
        dialect = refusal.spoken(request)
        try:
            if request.method not in (b"GET", b"HEAD"):
                return _not_allowed(b"GET, HEAD").response(dialect, [(b"allow", b"GET, HEAD")])
            key = self._entrance.admit(request).key
            names = [name for name in sorted(self._parts.offers) if key is None or key.allows(name)]
            wanted = unquote(request.path[len(_MODELS) + 1 :].decode("latin-1"))  # clients write org%2Fname
            if wanted and wanted not in names:
                message = f"there is no model {wanted[:100]!r} here; {suggest(wanted, names)}"
                raise Complaint(404, message, code="model_not_found", param="model", retry=False)
        except Complaint as complaint:
            return complaint.response(dialect)
        listed = [self._describe(name, dialect) for name in names if not wanted or name == wanted]
        if wanted:
            return Response(200, [JSON], msgspec.json.encode(listed[0]))
        document: dict[str, Any] = {"object": "list", "data": listed}
        if dialect is Dialect.MESSAGES:
            ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
            document = {"data": listed, "has_more": False} | ends
        return Response(200, [JSON], msgspec.json.encode(document))

    def _describe(self, name: str, dialect: Dialect) -> dict[str, Any]:
        if dialect is Dialect.MESSAGES:
            return {"type": "model", "id": name, "display_name": name, "created_at": isoformat(self._since)}
        return {"id": name, "object": "model", "created": self._since // 1_000_000, "owned_by": "headrace"}

    def _astray(self, path: bytes) -> bool:
        """Whether a path outside of `/v1/` is where clients go that have a wrong `base_url`."""
        if path not in _ASTRAY and path != _BARE and not path.startswith(_ASTRAY_MODEL):
            return False
        return path.decode("latin-1") not in self._taken

    def _coded(self, request: Request) -> Response:
        """A body that is compressed: what it asks for cannot be seen."""
        coding = request.named[b"content-encoding"][:40].decode("latin-1")
        message = f"content-encoding: {coding!r} is not taken: send the body as it is, without that header"
        complaint = Complaint(415, message, code="unsupported_media_type", retry=False)
        return complaint.response(_PATHS[request.path])

    def _nothing(self, request: Request) -> Response:
        """A path of ours that is none, or a method that it does not have."""
        path = request.path
        dialect = _PATHS.get(path) or refusal.spoken(request)
        if path in _PATHS:
            return _not_allowed(b"POST").response(dialect, [(b"allow", b"POST")])
        said = path[:100].decode("latin-1")
        there = ", ".join(one.decode() for one in (*_PATHS, _MODELS))
        message = f"there is nothing at {said}; there are: {there}"
        if path.startswith(_TWICE):
            message += ". /v1 stands there twice: the base_url of Anthropic's clients does not end in /v1"
        elif not path.startswith(_BARE):
            message += ". The base_url of OpenAI's clients ends in /v1"
        return Complaint(404, message, code="not_found", retry=False).response(dialect)


def _not_allowed(methods: bytes) -> Complaint:
    return Complaint(405, f"this path takes {methods.decode()} only", code="method_not_allowed", retry=False)
