"""A synchronous face for anything async: its event loop runs in a thread of its own, calls go through a portal.

Nothing is written twice: the object's own coroutine functions are called, and their results returned.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

Live = TypeVar("Live")


class SyncPortal(Generic[Live]):
    """Runs what an async context manager gives, and lets threads use it.

    Parameters
    ----------
    factory
        Makes the context manager; called in the event loop's thread, so it may use the running loop.

    Examples
    --------
    >>> from contextlib import asynccontextmanager
    >>> class Echo:
    ...     async def say(self, word: str) -> str:
    ...         return word
    >>> @asynccontextmanager
    ... async def run():
    ...     yield Echo()
    >>> with SyncPortal(run) as echo:
    ...     echo.say("hello")
    'hello'
    """

    def __init__(self, factory: Callable[[], AbstractAsyncContextManager[Live]]) -> None:
        self._factory = factory
        self._stack = ExitStack()

    def __enter__(self) -> Synchronous:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio"))
            manager = portal.call(self._factory)
            inner = stack.enter_context(portal.wrap_async_context_manager(manager))
            self._stack = stack.pop_all()
        return Synchronous(portal, inner)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)


class Synchronous:
    """An object of the loop's thread, seen from others: its methods run there, and are waited for.

    Safe to use from several threads. A call that is interrupted (Ctrl-C) is cancelled in the loop as well.
    """

    def __init__(self, portal: BlockingPortal, inner: Any) -> None:
        self._portal = portal
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return partial(self._call, found)

    def __dir__(self) -> list[str]:
        return dir(self._inner)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = self._portal.call(partial(_settle, function, *args, **kwargs))
        return Iterated(self._portal, result) if isinstance(result, AsyncIterator) else result


class Iterated(Synchronous):
    """An async iterator of the loop's thread, seen from others: `for item in ...`, and `with ... as items` to end it
    before its end."""

    def __iter__(self) -> Iterated:
        return self

    def __next__(self) -> Any:
        """The next item."""
        item = self._portal.call(_next, self._inner)
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """Nobody takes more."""
        self._portal.call(self._inner.aclose)

    def __enter__(self) -> Iterated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


_END = object()


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


async def _settle(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result
