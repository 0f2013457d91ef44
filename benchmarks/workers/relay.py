"""Our HTTP server and client as a bare relay: no keys, no policies, nothing read but heads. The floor of the stack.

relay.py <port> <upstream port>...
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from headrace import http1


async def main(port: int, upstreams: list[int]) -> None:
    origins = itertools.cycle([http1.Origin("http", "127.0.0.1", one) for one in upstreams])
    async with http1.Client() as client:

        async def relay(request: http1.Request) -> http1.Response:
            headers, body = http1.end_to_end(request.headers), await request.read()
            answer = await client.request(request.method, next(origins), request.target, headers, body)
            return http1.Response(answer.status, http1.end_to_end(answer.headers), answer)

        await http1.Server(relay).start("127.0.0.1", port)
        await asyncio.Event().wait()


if __name__ == "__main__":
    http1.run(main(int(sys.argv[1]), [int(one) for one in sys.argv[2:]]))
