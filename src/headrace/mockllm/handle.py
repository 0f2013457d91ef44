"""A mock that runs somewhere, as a test sees it: where it is, what it did, and what it shall do next."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from headrace.core.errors import HeadraceError

_PATIENCE = 5.0


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
    port
        The port of its URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.base_url = self.url + "/v1"
        parts = urlsplit(self.url)
        self._host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80

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
        # Not httpx: it reads the machine's certificates for each client, 30 ms in which a cancel is not seen.
        connection = HTTPConnection(self._host, self.port, timeout=_PATIENCE)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise HeadraceError(f"the mock at {self.url} does not answer: {error}", hint="is it running?") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise HeadraceError(
                f"the mock refused: {text.decode(errors='replace')[:300]}", hint="see docs/how-to/mock-llm.md"
            )
        return json.loads(text)
