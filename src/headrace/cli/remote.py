"""A running Headrace, spoken to over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from headrace.cli.options import Address
from headrace.core.errors import HeadraceError

if TYPE_CHECKING:
    import httpx

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL = "http://127.0.0.1:8787"
TIMEOUT = 60.0
"""Seconds. A freshness policy may wait up to 30 s on the server, a push for its place in the queue."""


def remote_options(command: F) -> F:
    """The options --url and --api-key."""
    url = click.option(
        "--url",
        type=Address(),
        metavar="URL",
        envvar="HEADRACE_URL",
        default=DEFAULT_URL,
        show_default=True,
        help="Address of the running server.",
    )
    key = click.option("--api-key", envvar="HEADRACE_API_KEY", help="API key, where the server asks for one.")
    return url(key(command))


class Remote:
    """A server, by its address.

    Every call raises a `HeadraceError`: the server's own, or one that says that there is no server.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"x-api-key": api_key} if api_key else {}

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """The JSON answer of a GET."""
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer of a POST of JSON."""
        return self._ask("POST", path, json=body)

    def push(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """The JSON answer of a POST of bytes."""
        return self._ask("POST", path, content=body, headers=headers)

    def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **given: Any) -> Any:
        import httpx  # a quarter of the time that `headrace --help` takes

        try:
            answer = httpx.request(
                method, self.url + path, headers={**self._headers, **(headers or {})}, timeout=TIMEOUT, **given
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise HeadraceError(
                f"no Headrace answers at {self.url} ({error})",
                hint="start one with: headrace dev app.py; or say where it is with --url",
            ) from None
        return _content(answer, self.url)


def _content(answer: httpx.Response, url: str) -> Any:
    from headrace.core.problems import from_problem, misled

    try:
        content = answer.json()
    except ValueError:
        raise HeadraceError(
            f"{answer.url} answered {answer.status_code} with something that is not JSON",
            hint="is it a Headrace? check --url",
        ) from None
    if answer.is_success:
        return content
    document = cast("dict[str, Any]", content) if isinstance(content, dict) else {"detail": str(content)}
    error = from_problem(document)
    if answer.status_code == 404:
        error.hint = misled(url) or error.hint
    raise error
