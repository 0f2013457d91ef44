"""Declaring endpoints: the part of an app that answers requests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from headrace.context.policy import FreshnessPolicy
from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.names import ROUTES, ROUTING
from headrace.core.records import Field, Record
from headrace.core.sizes import LARGEST_BODY, format_size, parse_size
from headrace.declaration.modelling import parse_policies
from headrace.declaration.place import caller, located
from headrace.models.admission import AdmissionRules
from headrace.models.periods import parse_budget
from headrace.pipeline import fallbacks
from headrace.pipeline.bounds import Bounds
from headrace.pipeline.endpoint import Endpoint, Function, check_flag, check_path, make_handler, parse_prompts
from headrace.pipeline.stale import OnStale
from headrace.pipeline.tolerance import Tolerance, check_columns

if TYPE_CHECKING:
    from headrace.declaration.declaration import Declaration

_CACHE = 64 * 1024 * 1024


class Route(Record):
    """A row of `headrace_routes`: how much of an endpoint's traffic a version gets."""

    endpoint: str
    version: str
    weight: float = Field(ge=0)
    shadow: bool = False


class Endpoints:
    """The part of a declaration that is about endpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: dict[str, Endpoint] = {}

    @located
    def endpoint(
        self,
        path: str,
        *,
        deadline: Duration = "30s",
        on_stale: str | OnStale = "flag",
        fallback: Any = None,
        reserve: Duration | None = None,
        cache: bool | str | int = False,
        strict: bool = False,
        tolerances: Sequence[Any] = (),
        policy: str | None = None,
        max_concurrency: int = 256,
        admission: AdmissionRules | Mapping[str, Any] | None = None,
        budget: str | Sequence[str] = (),
        max_body: str | int = "1MiB",
        unknown_fields: Literal["refuse", "ignore"] = "refuse",
        reask: int = 1,
        version: str = "a",
        prompts: Sequence[str] = (),
        description: str = "",
    ) -> Callable[[Function], Endpoint]:
        """A typed endpoint: `POST path`, JSON in, JSON out.

            @app.endpoint("/recommend", deadline="4s", on_stale="retry", fallback="cached")
            async def recommend(ask: Ask, ctx: hr.Context) -> Recommendation: ...

        A handler that is an async generator, or that returns a stream of a model, and says `-> AsyncIterator[str]`,
        answers with server-sent events.

        Parameters
        ----------
        path
            Where it is served.
        deadline
            Longest time from the request to its answer; a request may ask for less.
        on_stale
            What to do when what an answer is built on changed before it is returned: "ignore", "flag", "retry",
            "retry 3 else refuse", "refuse" or `hr.repair(fn)`.
        fallback
            What answers when the model gives none, time runs out, or there is too much to do: "cached" (the last good
            answer to the same question, if what it was built on is still so or `on_stale` lets it pass), a model or its
            name, a function of `ask` or of `(ask, ctx)`, an answer; or a list of these, tried in order.
        reserve
            How much of the deadline is kept for the fallback; for a function a twentieth (at most 250 ms), for a model
            a third, if not given.
        cache
            Keep answers for as long as what they are built on has the same content: True (64 MiB), or a size.
        strict
            Wait until the sources of what was read are complete up to when the answer was made.
        tolerances
            Which changes do not matter, per table or view; `hr.tolerance`. One may name a table that is declared later.
        policy
            The freshness policy of its reads; that of each view if not given.
        max_concurrency
            Requests that run at a time; more wait in a fair queue.
        admission
            How they wait: the settings of the policy `admission` of models, such as `{"most": 100}`.
        budget
            The most that its calls to models may cost: "5/day", "100/month", "1000/total", or a list of these. Its
            shadows, taken together, have as much beside.
        max_body
            Longest body; at most 16 MiB.
        unknown_fields
            Whether fields that the input's type does not have are refused or ignored. A model that sets `extra` in its
            `model_config` says it itself.
        reask
            How often a model is asked once more whose typed answer does not fit.
        version
            The name of this version of the handler; see `Endpoint.version` for more of them.
        prompts
            Texts that belong to the version: when one changes, the version is another.
        description
            For people; the handler's docstring if not given.

        Raises
        ------
        DeclarationError
            With the line of the declaration and what to do.
        """
        checked = self._free_path(check_path(path))
        seconds = parse_duration(deadline) / 1_000_000
        kept = None if reserve is None else parse_duration(reserve) / 1_000_000
        if kept is not None and kept >= seconds:
            raise DeclarationError(
                f"reserve={reserve!r} is all of the deadline ({deadline!r})", hint="keep less for the fallback"
            )
        stale = OnStale.parse(on_stale)
        if unknown_fields not in ("refuse", "ignore"):
            raise DeclarationError(f"unknown_fields={unknown_fields!r} is not known", hint='use "refuse" or "ignore"')
        if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"max_concurrency={max_concurrency!r:.80} is no number", hint="give 1 or more")
        if max_concurrency < 1:
            raise DeclarationError(f"max_concurrency={max_concurrency!r} lets nobody in", hint="give 1 or more")
        bounds = Bounds(
            concurrency=max_concurrency,
            admission=_admission(admission),
            max_body=_body(max_body),
            ignore_unknown=unknown_fields == "ignore",
        )
        check_flag("strict", strict)
        if strict and (not stale.check or cache):
            raise DeclarationError(
                f"a strict endpoint has no {'cache' if cache else 'on_stale that ignores'}: each answer is compared",
                hint="leave one of the two out",
            )
        if not isinstance(description, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"description={description!r:.80} is no text", hint="say in words what it is for")
        limits = parse_budget(budget)
        rules = None if policy is None else FreshnessPolicy.parse(policy)
        size = _CACHE if cache is True else 0 if cache is False else _bytes(cache)
        self._check_tolerances(tolerances)
        if isinstance(reask, bool) or not isinstance(reask, int) or reask < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(f"reask={reask!r:.80} is no number of times", hint="give 0 or more")
        texts, where = parse_prompts(prompts), caller()

        @located
        def declare(function: Function) -> Endpoint:
            handler = make_handler(version, function, weight=1, shadow=False, prompts=texts, where=where)
            if size and handler.shape.streams:
                raise DeclarationError("an endpoint that streams has no cache", hint="leave cache= out")
            if stale.fix is not None and handler.shape.streams:
                raise DeclarationError(
                    "an endpoint that streams has no answer to repair: its first items are out before it is whole",
                    hint='use on_stale="retry", which begins anew before the first item, "flag" or "refuse"',
                )
            endpoint = Endpoint(
                checked,
                handler,
                deadline=seconds,
                on_stale=stale,
                fallbacks=fallbacks.parse(fallback, handler.shape, getattr(self, "models", {})),
                reserve=kept,
                cache=size,
                strict=strict,
                tolerances=tuple(tolerances),
                policy=rules,
                reask=reask,
                bounds=bounds,
                budget=limits,
                description=description or inspect.getdoc(function) or "",
                where=where,
                place=caller,
            )
            self.endpoints[self._free_path(checked)] = endpoint
            declare_routes(cast("Declaration", self))
            return endpoint

        return declare

    def _check_tolerances(self, tolerances: Sequence[Any]) -> None:
        """What is known of them now; a source that is declared later is looked at when the app is complete."""
        app = cast("Declaration", self)
        if not isinstance(tolerances, list | tuple):
            raise DeclarationError(
                f"tolerances={tolerances!r:.80} is no list",
                hint='write tolerances=[hr.tolerance("items", price="1%")]',
            )
        for one in tolerances:
            if not isinstance(one, Tolerance):
                raise DeclarationError(
                    f"{one!r:.80} is no tolerance",
                    hint='write tolerances=[hr.tolerance("items", price="1%")]',
                )
            if one.source in app.views:
                check_columns(one, app.views[one.source].plan.columns)
            elif one.source in app.tables:
                check_columns(one, app.tables[one.source].schema.columns)

    def _free_path(self, path: str) -> str:
        if path in self.endpoints:
            raise DeclarationError(
                f"the path {path!r} is taken by the endpoint declared at {self.endpoints[path].where}",
                hint="give one of them another path, or declare a version of it: @endpoint.version('b')",
            )
        return path


def declare_routes(app: Declaration) -> None:
    """The table that says who gets which version, and the view of its rows; once, with the first endpoint."""
    if ROUTES in app.tables:
        return
    app.table(Route, key=("endpoint", "version"), name=ROUTES, description="Which version of an endpoint answers whom.")
    app.view(
        ROUTING,
        f"SELECT endpoint, version, weight, shadow FROM {ROUTES} ORDER BY endpoint, version",
        policy="serve",
        description="Which version of an endpoint answers whom.",
    )


def _admission(given: Any) -> AdmissionRules:
    if given is None or isinstance(given, AdmissionRules):
        return given or AdmissionRules()
    if not isinstance(given, Mapping):
        raise DeclarationError(
            f"admission={given!r:.80} is not known", hint='give its settings, such as {"most": 100}, or AdmissionRules'
        )
    return parse_policies({"admission": given}).admission


def _body(size: str | int) -> int:
    found = _bytes(size)
    if found > LARGEST_BODY:
        raise DeclarationError(
            f"max_body={size!r} is more than the server takes: no body is over {format_size(LARGEST_BODY)}",
            hint="give at most that, and have clients send more than that in parts, or as a link",
        )
    return found


def _bytes(size: str | int) -> int:
    found = parse_size(size)
    if found < 1:
        raise DeclarationError(f"the size {size!r} is not positive", hint='write for example "1MiB"')
    return found
