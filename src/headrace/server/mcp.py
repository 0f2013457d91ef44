"""Views as tools for models: the Model Context Protocol over streamable HTTP and stdio, by the official SDK.

Each view is one tool. A tool's answer comes twice: as structured content (rows, ages, inputs), and as text that
begins with how old it is, because a model that is not told takes everything for current.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from headrace.context.value import ContextValue
from headrace.core.durations import format_duration
from headrace.core.errors import HeadraceError, MissingExtra
from headrace.core.frontier import Status
from headrace.server.answers import to_json
from headrace.server.catalog import Catalog, ViewInfo, object_schema
from headrace.server.failures import Failures
from headrace.server.ports import Reads
from headrace.server.schemas import answer

if TYPE_CHECKING:
    from mcp.server import Server, ServerRequestContext
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, Tool

_INSTRUCTIONS = """Each tool reads live context and says how old it is. as_of: everything the sources had committed up
to that instant is in the answer. status: fresh (within its promise), stale (known to be behind) or unknown (the source
is silent, nobody knows). Do not present stale or unknown context as current."""


def installed() -> bool:
    """Whether the extra `mcp` is there."""
    return importlib.util.find_spec("mcp") is not None


def build_server(reads: Reads, catalog: Catalog, *, failures: Failures) -> Server[Any]:
    """An MCP server with one tool per view.

    Raises
    ------
    MissingExtra
        The extra `mcp` is not installed.
    """
    if not installed():
        raise MissingExtra("serving context to models by MCP", extra="mcp")
    from mcp.server import Server
    from mcp_types import ListToolsResult

    tools = ListToolsResult(tools=[_tool(view) for view in catalog.views.values() if view.tool])
    calls = _Calls(reads, catalog, failures)

    async def listed(_context: ServerRequestContext[Any], _params: PaginatedRequestParams | None) -> ListToolsResult:
        return tools

    return Server(
        catalog.app,
        version=catalog.version,
        description=catalog.description or None,
        instructions=_INSTRUCTIONS,
        on_list_tools=listed,
        on_call_tool=calls.call,
    )


async def run_stdio(reads: Reads, catalog: Catalog, *, failures: Failures | None = None) -> None:
    """Serve the views over standard input and output until the client goes away.

    Raises
    ------
    MissingExtra
        The extra `mcp` is not installed.
    """
    from headrace.core.clock import SystemClock

    server = build_server(reads, catalog, failures=failures or Failures(SystemClock()))
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class HttpTransport:
    """Streamable HTTP at one path of the ASGI application; `running` must be open while it serves.

    Stateless and with plain JSON answers: several worker processes share one address, and the next request of a
    client may reach another one. Keys, hosts and origins were checked before by `Guard`.

    The SDK takes a second and 35 MB to import, so that is done in a thread when the first client comes; reads by
    HTTP go on meanwhile.
    """

    def __init__(self, reads: Reads, catalog: Catalog, *, failures: Failures, max_body: int) -> None:
        self._reads = reads
        self._catalog = catalog
        self._failures = failures
        self._max_body = max_body
        self._serving: asyncio.Task[None] | None = None
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._serving = asyncio.create_task(self._serve(self._manager))
        manager = await asyncio.shield(self._manager)
        await manager.handle_request(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """While this is open, requests are served; on exit, what was started is ended. Once per object."""
        try:
            yield
        finally:
            self._stop.set()
            if self._serving is not None:
                await self._serving

    async def _serve(self, ready: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        """Hold the SDK's tasks: they must be ended by the task that began them."""
        try:
            manager = await asyncio.to_thread(self._build)
        # Whatever the SDK raises while it is loaded goes to those who wait for it, and is logged there.
        except Exception as error:
            ready.set_exception(error)
            return
        async with manager.run():
            ready.set_result(manager)
            await self._stop.wait()

    def _build(self) -> StreamableHTTPSessionManager:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        server = build_server(self._reads, self._catalog, failures=self._failures)
        return StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=self._max_body
        )


class Missing:
    """What stands at the path of MCP when the extra is not installed: the error that says how to get it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        raise MissingExtra("serving context to models by MCP", extra="mcp")


class _Calls:
    """Answers tool calls."""

    def __init__(self, reads: Reads, catalog: Catalog, failures: Failures) -> None:
        self._reads = reads
        self._catalog = catalog
        self._failures = failures

    async def call(self, _context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        """One call. What is wrong with it is told to the model in the result, so that it can do better."""
        from mcp_types import CallToolResult, TextContent

        try:
            self._catalog.view(params.name)
            value = await self._reads.read(params.name, params.arguments or {})
        except HeadraceError as error:
            return _failed(f"{error.message}\nhint: {error.hint}" if error.hint else error.message)
        # The boundary to user code: what a view raises is logged, and the model is told no internals.
        except Exception as error:
            problem = self._failures.report(error, {"method": "MCP", "path": params.name})
            return _failed(f"{problem.detail}\nhint: {problem.hint}")
        document = value.to_dict()
        text = say_age(value) + "\n" + to_json(value.rows).decode()
        return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=document)


def _failed(text: str) -> CallToolResult:
    from mcp_types import CallToolResult, TextContent

    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def say_age(value: ContextValue) -> str:
    """One line for a model: how many rows, how old, and what that means."""
    count = f"{len(value.rows)} row{'' if len(value.rows) == 1 else 's'} of {value.name!r}"
    if value.as_of is None:
        return f"{count}. Age UNKNOWN: its source never said up to when it is complete. Do not present it as current."
    age = format_duration(max(value.now - value.as_of, 0)) + " old"
    if value.status is Status.FRESH:
        return f"{count}, {age} (fresh)."
    behind = _behind(value)
    if value.status is Status.STALE:
        return f"{count}, {age}: STALE, the source is behind{behind}. Do not present it as current."
    return f"{count}, at least {age}: UNKNOWN, the source is silent{behind}. Do not present it as current."


def _behind(value: ContextValue) -> str:
    names = [name for name, age in value.inputs.items() if age.status is not Status.FRESH]
    return f" ({', '.join(names)})" if names else ""


def _tool(view: ViewInfo) -> Tool:
    from mcp_types import Tool, ToolAnnotations

    return Tool(
        name=view.name,
        description=describe(view),
        input_schema=object_schema(view.params, closed=True),
        output_schema=answer(view.columns, readset=False),
        annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
    )


def describe(view: ViewInfo) -> str:
    """The tool's description: the view's own, and that its answer is dated."""
    own = view.description.strip() or f"Reads the view {view.name!r}."
    return f"{own}\nLive context: the answer says how old it is (as_of, age_ms) and whether it is fresh."
