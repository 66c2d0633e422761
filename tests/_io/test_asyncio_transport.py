"""Tests of `anyws._io.asyncio_transport`, on asyncio and uvloop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from socket import socket as Socket
from weakref import ref

import anyio
import pytest

from anyws._io.asyncio_transport import (
    AsyncioEpollReactor,
    AsyncioReactor,
    AsyncioWaiter,
    shared_reactor,
)
from anyws._io.transport import Waiter

from ..conftest import UVLOOP_MISSING
from .conformance import STUCK, settle
from .network import open_files
from .reactor_conformance import ReactorCheck, check_reactor, running, socket_pair

pytestmark = pytest.mark.anyio


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="asyncio"),
        pytest.param(
            True,
            id="uvloop",
            marks=pytest.mark.skipif(UVLOOP_MISSING, reason="uvloop is not installed"),
        ),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run the tests of this module on asyncio and uvloop only."""
    return "asyncio", {"use_uvloop": request.param}


@check_reactor
async def test_contract_of_a_reactor_is_kept(check: ReactorCheck) -> None:
    async with running(AsyncioReactor()) as reactor:
        await check(reactor)


@check_reactor
async def test_contract_is_kept_with_an_epoll_set(check: ReactorCheck) -> None:
    async with running(AsyncioEpollReactor()) as reactor:
        await check(reactor)


async def test_epoll_set_is_gone_with_its_last_socket() -> None:
    with socket_pair() as (ours, theirs):
        before = open_files()
        reactor = AsyncioEpollReactor()
        for add, remove in (
            (reactor.add_reader, reactor.remove_reader),
            (reactor.add_writer, reactor.remove_writer),
        ):
            add(ours, lambda: None)
            add(theirs, lambda: None)
            assert open_files() == before + 1
            remove(ours)
            assert open_files() == before + 1
            remove(theirs)
            assert open_files() == before


async def test_reactor_is_shared_by_all_of_a_loop_and_goes_with_the_last() -> None:
    loop = asyncio.get_running_loop()
    reactor = shared_reactor(loop)
    assert shared_reactor(loop) is reactor
    reference = ref(reactor)
    del reactor
    assert reference() is None


async def test_what_is_called_late_for_a_set_that_is_gone_does_nothing() -> None:
    with socket_pair() as (ours, _):
        reactor = AsyncioEpollReactor()
        called = asyncio.Event()
        # Behind it in the queue of the loop, whichever has its turn first.
        reactor.add_writer(ours, called.set)
        dispatch = reactor._dispatch
        reactor.remove_writer(ours)
        dispatch()
        await settle()
        assert not called.is_set()


async def test_task_woken_from_a_callback_runs_before_wake_now_returns() -> None:
    log: list[str] = []
    variable: ContextVar[str] = ContextVar("variable")
    waiter = AsyncioReactor().new_waiter()

    async def wait() -> None:
        variable.set("of the task")
        await waiter.wait()
        log.append(f"task, with the variable {variable.get()}")

    def wake() -> None:
        variable.set("of the callback")
        waiter.wake_now()
        log.append("callback")

    task = asyncio.create_task(wait())
    await settle()
    asyncio.get_running_loop().call_soon(wake)
    await task
    assert log == ["task, with the variable of the task", "callback"]


async def test_task_woken_from_a_task_runs_later() -> None:
    log: list[str] = []
    waiter = AsyncioReactor().new_waiter()

    async def wait() -> None:
        await waiter.wait()
        log.append("woken")

    task = asyncio.create_task(wait())
    await settle()
    waiter.wake_now()
    log.append("waker")
    await task
    assert log == ["waker", "woken"]


async def test_waiter_calls_back_in_the_context_of_the_caller_if_none_is_given() -> None:
    called = asyncio.Event()
    waiter = AsyncioWaiter(asyncio.get_running_loop())
    waiter.add_done_callback(lambda _: called.set())
    asyncio.get_running_loop().call_soon(waiter.wake_now)
    await called.wait()


@pytest.mark.parametrize("message", [(), ("why",)], ids=["no message", "message"])
async def test_task_is_cancelled_where_it_is_parked(message: tuple[str, ...]) -> None:
    waiter = AsyncioReactor().new_waiter()
    task = asyncio.create_task(_wait(waiter))
    await settle()
    task.cancel(*message)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == message


async def test_anyio_sees_that_a_parked_task_is_blocked() -> None:
    waiter = AsyncioReactor().new_waiter()
    task = asyncio.create_task(_wait(waiter))
    await anyio.wait_all_tasks_blocked()
    waiter.wake()
    await task


async def test_task_that_was_woken_can_still_be_cancelled() -> None:
    waiter = AsyncioReactor().new_waiter()
    task = asyncio.create_task(_wait(waiter))
    await settle()
    waiter.wake()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_socket_that_has_failed_is_read_to_the_end() -> None:
    with socket_pair() as (ours, theirs):
        _fail(ours, theirs, bytes(range(100)))
        reactor = AsyncioReactor()
        received = bytearray()
        ended = asyncio.Event()

        def read() -> None:
            piece = b""
            with suppress(ConnectionResetError):
                piece = ours.recv(10)
            received.extend(piece)
            if not piece:
                reactor.remove_reader(ours)
                ended.set()

        reactor.add_reader(ours, read)
        async with asyncio.timeout(STUCK):
            await ended.wait()
        assert received == bytes(range(100))


async def test_reader_of_a_socket_that_has_failed_may_be_removed() -> None:
    with socket_pair() as (ours, theirs):
        _fail(ours, theirs, bytes(range(100)))
        reactor = AsyncioReactor()
        received: list[bytes] = []

        def read() -> None:
            received.append(ours.recv(10))
            reactor.call_soon(lambda: reactor.remove_reader(ours))

        reactor.add_reader(ours, read)
        await settle()
        assert received == [bytes(range(10))]


def _fail(ours: Socket, theirs: Socket, last: bytes) -> None:
    """Have the peer leave as a crash does: after `last`, and with something unread."""
    ours.send(b"unread")
    theirs.send(last)
    theirs.close()


async def _wait(waiter: Waiter) -> None:
    await waiter.wait()
