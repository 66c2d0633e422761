"""Picks the reactor for the loop that is running, and prepares trio for our functions."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, TypeVar

from anyio.lowlevel import current_token

from .transport import Reactor

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["interrupted", "new_reactor", "uninterrupted"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., object])

# Functions that trio has not been told of, and whether it is to protect them: trio is imported only
# by those who use it.
_protected: dict[FunctionType, bool] = {}


def uninterrupted(function: AnyFunction) -> AnyFunction:
    """Let Ctrl+C on trio come when this function waits, and not amid it or what it calls.

    trio raises KeyboardInterrupt wherever a task happens to be. An `__aexit__` that is cut short
    before it has closed its task group brings down the loop. asyncio cancels the main task.
    """
    assert isinstance(function, FunctionType)
    _protected[function] = True
    return function


def interrupted(function: AnyFunction) -> AnyFunction:
    """Let Ctrl+C come anywhere in this function, an uninterrupted one's way to the user's code."""
    assert isinstance(function, FunctionType)
    _protected[function] = False
    return function


def new_reactor() -> Reactor:
    """Return a reactor for the running event loop: the one that all share, where it can be."""
    loop = current_token().native_token
    # Not imported here: it takes 10 ms, and a program on trio has no use for it.
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(loop, asyncio.AbstractEventLoop):
        if not _is_proactor(loop):
            from .asyncio_transport import AsyncioReactor, shared_reactor

            return shared_reactor(loop) if hasattr(select, "epoll") else AsyncioReactor()
    else:
        _tell_trio()
        if hasattr(select, "epoll"):
            # Imported here: trio is optional.
            from . import trio_transport

            return trio_transport.shared_reactor()
    from .task_reactor import TaskReactor

    return TaskReactor()


def _tell_trio() -> None:
    import trio

    while _protected:
        function, protected = _protected.popitem()
        if protected:
            trio.lowlevel.enable_ki_protection(function)
        else:
            trio.lowlevel.disable_ki_protection(function)


def _is_proactor(loop: AbstractEventLoop) -> bool:
    """Say whether the loop is Windows' default one, which has no `add_reader`."""
    import asyncio

    proactor = getattr(asyncio, "ProactorEventLoop", None)
    return proactor is not None and isinstance(loop, proactor)
