"""A mock that runs somewhere, as a test sees it: where it is, what it did, and what it shall do next."""

from __future__ import annotations

from typing import Any

import httpx

from headrace.core.errors import HeadraceError


class Mock:
    """Speaks with a running mock.

    Parameters
    ----------
    url
        Where it is: `http://127.0.0.1:8080`.

    Attributes
    ----------
    base_url
        What an OpenAI client takes as its `base_url`; Anthropic's takes `url`.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.base_url = self.url + "/v1"

    @property
    def port(self) -> int:
        """The port of its URL."""
        return httpx.URL(self.url).port or 80

    def stats(self) -> dict[str, Any]:
        """What it counted: see `/mock/stats`."""
        return self._ask("GET", "/mock/stats")

    def requests(self) -> list[dict[str, Any]]:
        """The latest requests, oldest first: see `/mock/requests`."""
        return self._ask("GET", "/mock/requests")

    def force(self, fail: str, *, after: int = 3, times: int | None = None, record: bool = False) -> None:
        """Let the next requests (all, until `relax`, if `times` is not given) fail in this way; `none`: in no way.

        `record` keeps the bytes of each stream for `requests`.
        """
        self._ask("POST", "/mock/force", {"fail": fail, "after": after, "times": times, "record": record})

    def relax(self) -> None:
        """End what `force` began."""
        self._ask("POST", "/mock/force", {})

    def clear(self) -> None:
        """Forget the requests that are over."""
        self._ask("POST", "/mock/clear", {})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            # Never through a proxy of the environment: a mock is on this machine.
            with httpx.Client(trust_env=False, timeout=5.0) as client:
                answer = client.request(method, self.url + path, json=body)
        except httpx.HTTPError as error:
            raise HeadraceError(f"the mock at {self.url} does not answer: {error}", hint="is it running?") from error
        if not answer.is_success:
            raise HeadraceError(f"the mock refused: {answer.text:.300}", hint="see docs/how-to/mock-llm.md")
        return answer.json()
