"""How a command runs: on which event loop, with what beside it, and until which signal.

Owns the exit statuses and the errors that only the command line has.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import anyio

__all__ = [
    "BACKENDS",
    "FAILED",
    "INTERRUPTED",
    "OK",
    "USAGE",
    "Failure",
    "UsageError",
    "check_extra",
    "go_below_ctrl_c",
    "receive_signals",
    "run_beside",
    "run_on",
    "until_signal",
]

T = TypeVar("T")

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 128 + signal.SIGINT

#: By name: the backend of anyio with its options, and the extra that brings it.
BACKENDS: dict[str, tuple[str, dict[str, bool], str | None]] = {
    "asyncio": ("asyncio", {}, None),
    "trio": ("trio", {}, "trio"),
    "uvloop": ("asyncio", {"use_uvloop": True}, "uvloop"),
}


class Failure(Exception):
    """It cannot be done; the text is for the user."""


class UsageError(Exception):
    """The arguments do not go together; the text is for the user."""


def check_extra(what: str, module: str, extra: str, distribution: str | None = None) -> None:
    """Check that a module of an extra is there.

    Raises:
        ImportError: it is not; `what` says who needs it.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"{what} needs {distribution or module}, an extra: "
            f"in a checkout, pip install '.[{extra}]'"
        )


def run_on(backend: str, function: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run an async function on an event loop of `BACKENDS`.

    Raises:
        ImportError: it is not installed.
    """
    name, options, extra = BACKENDS[backend]
    if extra is not None:
        check_extra(f"--backend {backend}", extra, extra)
    return anyio.run(function, *args, backend=name, backend_options=options)


async def run_beside(
    background: Callable[[], Coroutine[Any, Any, object]],
    foreground: Callable[[], Awaitable[T]],
) -> T:
    """Run two functions; the end of the second is the end of both, and of what it raises.

    Args:
        background: it may not raise.

    Cancelling: both are cancelled.
    """
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(background)
        try:
            result = await foreground()
        except Exception as exc:
            error = exc  # by itself: the group would put it into an ExceptionGroup
        tasks.cancel_scope.cancel()
    try:
        if error is not None:
            raise error
        return result
    finally:
        del error  # whose traceback has this frame


def receive_signals(*numbers: signal.Signals) -> AbstractContextManager[AsyncIterator[int]]:
    """Receive signals for the length of a block, one after the other."""
    if sys.platform == "win32":
        return nullcontext(_Silence())  # Ctrl+C is a KeyboardInterrupt there
    return anyio.open_signal_receiver(*numbers)


def go_below_ctrl_c(number: int) -> None:
    """Begin a line, since a terminal shows Ctrl+C where it was pressed."""
    if number == signal.SIGINT and sys.stderr.isatty():
        print(file=sys.stderr, flush=True)


class _Silence:
    """No signals, ever."""

    def __aiter__(self) -> _Silence:
        return self

    async def __anext__(self) -> int:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")


async def until_signal(function: Callable[[], Awaitable[object]]) -> int | None:
    """Run a function until it ends, or until SIGINT or SIGTERM cancels it.

    Returns:
        The number of the signal, None if there was none.

    Cancelling: the function is cancelled.
    """
    scope = anyio.CancelScope()
    seen: list[int] = []

    async def cancel_on_signal() -> None:
        seen.append(await anext(signals))
        go_below_ctrl_c(seen[0])
        scope.cancel()

    async def cancellable() -> None:
        with scope:
            await function()

    with receive_signals(signal.SIGINT, signal.SIGTERM) as signals:
        await run_beside(cancel_on_signal, cancellable)
    return seen[0] if seen else None
