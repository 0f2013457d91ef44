"""HTTP/1.1 for the paths where the cost of a request counts: a server, a client, and nothing around them.

No proxies, no HTTP/2, no redirects, no cookies, no content codings. See docs/design/http-hot-path.md.
"""

from headrace.http1.answer import Answer
from headrace.http1.client import Client
from headrace.http1.headers import end_to_end, find
from headrace.http1.limits import ClientLimits, ServerLimits
from headrace.http1.loop import run
from headrace.http1.origin import Origin
from headrace.http1.request import Request
from headrace.http1.response import Handler, Later, Reset, Response
from headrace.http1.server import Server

__all__ = [
    "Answer", "Client", "ClientLimits", "Handler", "Later", "Origin", "Request", "Reset", "Response", "Server",
    "ServerLimits", "end_to_end", "find", "run",
]  # fmt: skip
