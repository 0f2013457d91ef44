"""Our HTTP server and client as a bare relay: no keys, no policies, nothing read but heads. The floor of the stack.

relay.py <port> <upstream port>...
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable

from headrace import http1
from headrace.core.errors import ExchangeError


async def main(port: int, upstreams: list[int]) -> None:
    origins = itertools.cycle([http1.Origin("http", "127.0.0.1", one) for one in upstreams])
    async with http1.Client() as client:

        async def wait(request: http1.Request, origin: http1.Origin, body: bytes) -> http1.Response:
            headers = http1.end_to_end(request.headers)
            answer = await client.request(b"POST", origin, request.target, headers, body + await request.read())
            return http1.Response(answer.status, http1.end_to_end(answer.headers), answer)

        def relay(request: http1.Request) -> http1.Later | Awaitable[http1.Response]:
            later, origin, body = http1.Later(lambda: None), next(origins), request.take()

            def told(answer: http1.Answer | ExchangeError) -> None:
                if isinstance(answer, ExchangeError):
                    later.give(http1.Response(502))
                else:
                    passed = answer.take() if answer.ready else answer
                    later.give(http1.Response(answer.status, http1.end_to_end(answer.headers), passed))

            headers = tuple(http1.end_to_end(request.headers))
            if request.complete and client.post(origin, request.target, headers, body, told, None) is not None:
                return later
            return wait(request, origin, body)

        await http1.Server(relay).start("127.0.0.1", port)
        await asyncio.Event().wait()


if __name__ == "__main__":
    http1.run(main(int(sys.argv[1]), [int(one) for one in sys.argv[2:]]))
