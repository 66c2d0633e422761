"""Tests of `anyws._io.reactors`."""

from __future__ import annotations

import asyncio
import select

import pytest
import sniffio

from anyws._io.asyncio_transport import AsyncioEpollReactor, AsyncioReactor
from anyws._io.reactors import new_reactor
from anyws._io.task_reactor import TaskReactor
from anyws._io.trio_transport import TrioReactor

pytestmark = pytest.mark.anyio


async def test_reactor_is_that_of_the_running_loop() -> None:
    wanted = {"asyncio": AsyncioEpollReactor, "trio": TrioReactor}[sniffio.current_async_library()]
    assert type(new_reactor()) is wanted


async def test_loop_that_cannot_watch_sockets_gets_tasks_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sniffio.current_async_library() == "trio":
        monkeypatch.delattr(select, "epoll")
    else:
        # The running loop stands for Windows' default one.
        loop_type = type(asyncio.get_running_loop())
        monkeypatch.setattr(asyncio, "ProactorEventLoop", loop_type, raising=False)
    assert type(new_reactor()) is TaskReactor


async def test_asyncio_watches_each_socket_where_there_is_no_epoll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sniffio.current_async_library() == "trio":
        pytest.skip("of asyncio")
    monkeypatch.delattr(select, "epoll")
    assert type(new_reactor()) is AsyncioReactor
