"""Picks the reactor for the loop that is running."""

from __future__ import annotations

import asyncio
import select

from anyio.lowlevel import current_token

from .transport import Reactor

__all__ = ["new_reactor"]


def new_reactor() -> Reactor:
    """Return a reactor for the running event loop."""
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        if not _is_proactor(loop):
            from .asyncio_transport import AsyncioReactor

            return AsyncioReactor()
    elif hasattr(select, "epoll"):
        # Imported here: trio is optional.
        from .trio_transport import TrioReactor

        return TrioReactor()
    from .task_reactor import TaskReactor

    return TaskReactor()


def _is_proactor(loop: asyncio.AbstractEventLoop) -> bool:
    """Say whether the loop is Windows' default one, which has no `add_reader`."""
    proactor = getattr(asyncio, "ProactorEventLoop", None)
    return proactor is not None and isinstance(loop, proactor)
