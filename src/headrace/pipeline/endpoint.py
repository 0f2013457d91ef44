"""An endpoint as it is declared: a path, the versions of its handler, and what is promised for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from headrace.context.policy import FreshnessPolicy
from headrace.core.errors import DeclarationError
from headrace.core.options import options
from headrace.pipeline.bounds import Bounds
from headrace.pipeline.context import Context
from headrace.pipeline.fallbacks import Fallback, settle
from headrace.pipeline.fitting import check_fit
from headrace.pipeline.prompt import Prompt
from headrace.pipeline.shape import Shape, shape_of
from headrace.pipeline.stale import OnStale

Function = Callable[..., Any]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
RESERVED = frozenset({
    "context", "tables", "push", "freshness", "quarantine", "validate", "mcp", "healthz", "readyz", "metrics",
    "openapi.json", "v1",
})  # fmt: skip
"""First parts of the paths that every server has."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One version of an endpoint's code.

    Attributes
    ----------
    weight
        Its share of the users, until rows say otherwise.
    shadow
        Whether it runs beside, unseen.
    prompts
        Texts that are part of the version: a change of one is another version.
    """

    name: str
    function: Function
    shape: Shape
    weight: float
    shadow: bool
    prompts: tuple[str, ...]
    where: str


class Endpoint:
    """What `app.endpoint` returns in place of the handler. Called, it is the handler of its first version.

    Attributes
    ----------
    path
        Where it is served: POST, JSON in, JSON out.
    versions
        By name, the first one declared first.
    deadline
        Seconds.
    reask
        How often a model is asked once more whose typed answer does not fit.
    reserve
        Seconds of the deadline that are kept for the fallback.
    cache
        Bytes of answers that are kept; 0: none.
    strict
        Whether an answer waits until its sources are complete up to when it was made.
    policy
        What to do with context that is not fresh, for all reads that do not say so themselves.
    budget
        The most that its calls to models may cost, per period; and the most that those of its shadows may cost beside.
    where
        `file:line` of the declaration.
    """

    def __init__(
        self,
        path: str,
        handler: Handler,
        *,
        deadline: float,
        on_stale: OnStale,
        fallbacks: tuple[Fallback, ...] = (),
        reserve: float | None = None,
        cache: int = 0,
        strict: bool = False,
        tolerances: tuple[Any, ...] = (),
        policy: FreshnessPolicy | None = None,
        reask: int = 1,
        bounds: Bounds | None = None,
        budget: Mapping[str, Decimal] | None = None,
        description: str = "",
        where: str = "",
        place: Callable[[], str] = str,
    ) -> None:
        self.path = path
        self.versions: dict[str, Handler] = {handler.name: handler}
        self.deadline = deadline
        self.on_stale = on_stale
        if on_stale.fix is not None:
            answer = handler.shape.answer_type
            check_fit(f"hr.repair({getattr(on_stale.fix, '__name__', 'fix')})", on_stale.fix, [answer], answer)
        self._reserve = reserve
        self._fall_back(fallbacks)
        self.cache = cache
        self.strict = strict
        self.tolerances = tolerances
        self.policy = policy
        self.reask = reask
        self.bounds = bounds or Bounds()
        self.budget = dict(budget or {})
        self.description = description
        self.where = where
        self._place = place

    @property
    def account(self) -> str:
        """Under which name its spending is kept; no key has a name with a colon."""
        return f"endpoint:{self.path}"

    @property
    def shadow_account(self) -> str:
        """The same for its shadows: what nobody sees must not use up what answers are paid from. No path has a "#"."""
        return f"{self.account}#shadow"

    @property
    def shape(self) -> Shape:
        """The types of its first version, which are those of all."""
        return next(iter(self.versions.values())).shape

    @property
    def name(self) -> str:
        """For people and operation ids: the path in words."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.path).strip("_")

    def settle(self, models: Collection[str]) -> None:
        """All models are declared now: see which of them are meant as fallbacks.

        Raises
        ------
        DeclarationError
            A fallback names nothing.
        """
        try:
            self._fall_back(settle(self.fallbacks, models))
        except DeclarationError as error:
            error.where = error.where or self.where
            raise

    def _fall_back(self, fallbacks: tuple[Fallback, ...]) -> None:
        self.fallbacks = fallbacks
        kept = max((one.reserve(self.deadline) for one in fallbacks), default=0.0)
        self.reserve = kept if self._reserve is None else self._reserve

    def __call__(self, ask: Any, ctx: Context) -> Any:
        """The handler itself: for tests of one's own."""
        return next(iter(self.versions.values())).function(ask, ctx)

    def __repr__(self) -> str:
        return f"Endpoint({self.path!r}, versions={list(self.versions)})"

    @options
    def version(
        self, name: str, *, weight: float | None = None, shadow: bool = False, prompts: Sequence[str] = ()
    ) -> Callable[[Function], Endpoint]:
        """Declare another version of the handler: `@recommend.version("b", weight=0, shadow=True)`.

        Parameters
        ----------
        weight
            Its share of the users, relative to the other versions' (the first has 1); 0 if not given. Rows of
            `headrace_routes` say otherwise while the app runs.
        shadow
            Whether it runs beside requests, unseen and as long as the models' budgets allow; `weight` is then the
            share of users whose requests it gets, all (1) if not given.
        prompts
            Texts that belong to it.

        Raises
        ------
        DeclarationError
            The name is taken, or the types are not those of the first version.
        """
        where = self._place()
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DeclarationError(
                f"{_named(name)} is not a name for a version",
                hint='write the decorator with a name: @endpoint.version("b")',
                where=where,
            )
        share = weight if weight is not None else 1.0 if shadow else 0.0

        def declare(function: Function) -> Endpoint:
            try:
                texts = parse_prompts(prompts)
                self._add(make_handler(name, function, weight=share, shadow=shadow, prompts=texts, where=where))
            except DeclarationError as error:
                error.where = error.where or where
                raise
            return self

        return declare

    def _add(self, handler: Handler) -> None:
        if handler.name in self.versions:
            raise DeclarationError(
                f"{self.path} has a version {handler.name!r}, declared at {self.versions[handler.name].where}",
                hint="give it another name",
            )
        mine, other = self.shape, handler.shape
        if (mine.input_type, mine.answer_type, mine.streams) != (other.input_type, other.answer_type, other.streams):
            raise DeclarationError(
                f"the version {handler.name!r} of {self.path} {other.words}, and the first version {mine.words}",
                hint="give it the same types",
            )
        self.versions[handler.name] = handler


def make_handler(
    name: str, function: Function, *, weight: float, shadow: bool, prompts: tuple[str, ...], where: str
) -> Handler:
    """A checked handler. Raises `DeclarationError`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(
            f"{name!r:.80} is not a name for a version",
            hint='use small letters, digits, "-", "_" and ".", for example "b"',
        )
    number = isinstance(weight, int | float) and not isinstance(weight, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not number or not 0 <= weight < float("inf") or (shadow and weight > 1):
        raise DeclarationError(
            f"weight={weight!r} is no share", hint="give 0 or more: shares are relative; of a shadow, 0 to 1"
        )
    check_flag("shadow", shadow)
    return Handler(name, function, shape_of(function, Context), float(weight), shadow, prompts, where)


def check_flag(option: str, given: Any) -> None:
    """Refuse what is neither True nor False: a text such as "no" would count as True. Raises `DeclarationError`."""
    if not isinstance(given, bool):
        raise DeclarationError(f"{option}={given!r:.80} is neither True nor False", hint=f"write {option}=True")


def parse_prompts(prompts: Sequence[Any]) -> tuple[Any, ...]:
    """The prompts of a version: texts, `Prompt`s, or functions that make them. Raises `DeclarationError`."""
    many = prompts if isinstance(prompts, list | tuple) else None
    wrong = [prompts] if many is None else [one for one in many if not isinstance(one, str | Prompt | Callable)]
    if wrong:
        raise DeclarationError(
            f"prompts={prompts!r:.80} is no list" if many is None else f"{wrong[0]!r:.80} is no prompt",
            hint='write prompts=["..."], with texts or hr.Prompt("file.txt")',
        )
    return tuple(prompts)


def _named(value: Any) -> str:
    """A value that stands where a text should: most often the handler, of a decorator that was not called."""
    name = getattr(value, "__name__", None)
    return f"the function {name!r}" if callable(value) and name else f"{value!r:.80}"


def check_path(path: str) -> str:
    """The path, if an endpoint may have it.

    >>> check_path("/recommend"), check_path("/shop/recommend.v2")
    ('/recommend', '/shop/recommend.v2')

    Raises
    ------
    DeclarationError
        It is no path, has parameters, or belongs to the server itself.
    """
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(
            f"{_named(path)} is not the path of an endpoint",
            hint='write the decorator with a path: @app.endpoint("/recommend")',
        )
    if "{" in path or ":" in path:
        raise DeclarationError(
            f"the path {path!r} has parameters, which endpoints have not", hint="put them into the type of the input"
        )
    if not _PATH.fullmatch(path):
        raise DeclarationError(
            f"{path!r} is not the path of an endpoint",
            hint='begin with "/", then letters, digits, ".", "_", "~" and "-": for example "/recommend"',
        )
    first, *rest = path.split("/")[1:]
    if any(set(part) == {"."} for part in (first, *rest)):
        raise DeclarationError(
            f"the path {path!r} has a part of dots alone, which clients take out before they ask",
            hint="leave that part out, or give it a name",
        )
    if first in RESERVED:
        raise DeclarationError(
            f"the path {path!r} lies below /{first}, which the server itself has",
            hint=f'write for example "/app{path}"',
        )
    return path
