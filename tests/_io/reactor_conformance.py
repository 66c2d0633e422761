"""The contract of `Reactor` and `Waiter` in `anyws/_io/transport.py`, which every reactor keeps."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from socket import socket as Socket
from typing import Any, TypeAlias

import anyio
import pytest

from anyws._io.transport import Reactor, Waiter

from .conformance import STUCK, settle

__all__ = ["ReactorCheck", "check_reactor", "drain", "fill", "running", "socket_pair"]

ReactorCheck: TypeAlias = Callable[[Reactor], Awaitable[None]]


@asynccontextmanager
async def running(reactor: Reactor) -> AsyncIterator[Reactor]:
    """Run a reactor as long as the block lasts."""
    with anyio.fail_after(STUCK):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reactor.run)
            yield reactor
            tasks.cancel_scope.cancel()


@contextmanager
def socket_pair(kind: int = stdlib_socket.SOCK_STREAM) -> Iterator[tuple[Socket, Socket]]:
    """Give two connected, non-blocking Unix sockets."""
    ours, theirs = stdlib_socket.socketpair(stdlib_socket.AF_UNIX, kind)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def fill(sock: Socket) -> int:
    """Send until the kernel takes no more; return how much it took."""
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += sock.send(bytes(65536))
    return filled


def drain(sock: Socket) -> bytes:
    """Receive all that has come."""
    drained = bytearray()
    with suppress(BlockingIOError):
        while piece := sock.recv(65536):
            drained += piece
    return bytes(drained)


class _Log:
    """What callbacks have written down, and a way to wait for it."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self._news = anyio.Event()

    def add(self, line: object) -> None:
        self.lines.append(line)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until(self, n: int) -> None:
        while len(self.lines) < n:
            await self._news.wait()


# Sockets


async def reader_is_called_whenever_its_socket_is_readable_until_removed(reactor: Reactor) -> None:
    log = _Log()
    with socket_pair() as (ours, theirs):
        reactor.add_reader(ours, lambda: log.add(ours.recv(100)))
        await settle()
        assert log.lines == []
        for n in range(1, 4):
            theirs.send(b"%d" % n)
            await log.until(n)
        reactor.remove_reader(ours)
        theirs.send(b"4")
        await settle()
        assert log.lines == [b"1", b"2", b"3"]


async def reader_is_called_at_the_end_of_the_stream(reactor: Reactor) -> None:
    log = _Log()
    with socket_pair() as (ours, theirs):
        reactor.add_reader(ours, lambda: log.add(ours.recv(100)))
        theirs.close()
        await log.until(1)
        assert set(log.lines) == {b""}
        reactor.remove_reader(ours)


async def reader_is_called_again_while_bytes_are_left(reactor: Reactor) -> None:
    log = _Log()
    with socket_pair() as (ours, theirs):
        theirs.send(b"123")
        reactor.add_reader(ours, lambda: log.add(ours.recv(1)))
        await log.until(3)
        reactor.remove_reader(ours)
        assert log.lines == [b"1", b"2", b"3"]


async def writer_is_called_whenever_its_socket_is_writable_until_removed(reactor: Reactor) -> None:
    log = _Log()
    with socket_pair() as (ours, theirs):
        fill(ours)
        reactor.add_writer(ours, lambda: log.add("writable"))
        await settle()
        assert log.lines == []
        drain(theirs)
        await log.until(2)
        reactor.remove_writer(ours)
        calls = len(log.lines)
        await settle()
        assert len(log.lines) == calls


async def reader_and_writer_of_a_socket_do_not_disturb_each_other(reactor: Reactor) -> None:
    log = _Log()
    with socket_pair() as (ours, theirs):
        fill(ours)

        def write() -> None:
            log.add("write")
            reactor.remove_writer(ours)

        reactor.add_reader(ours, lambda: log.add(ours.recv(100)))
        reactor.add_writer(ours, write)
        theirs.send(b"first")
        await log.until(1)
        reactor.remove_reader(ours)
        await settle()
        drain(theirs)
        await log.until(2)
        theirs.send(b"second")
        reactor.add_writer(ours, write)
        await log.until(3)
        reactor.add_reader(ours, lambda: log.add(ours.recv(100)))
        await log.until(4)
        reactor.remove_reader(ours)
        assert log.lines == [b"first", "write", "write", b"second"]


async def reader_may_be_removed_and_added_again_in_one_step(reactor: Reactor) -> None:
    log = _Log()
    with socket_pair() as (ours, theirs):
        reactor.add_reader(ours, lambda: log.add("old"))
        await settle()
        for _ in range(3):
            reactor.remove_reader(ours)
            reactor.add_reader(ours, lambda: log.add(ours.recv(100)))
        theirs.send(b"1")
        await log.until(1)
        reactor.remove_reader(ours)
        assert log.lines == [b"1"]


async def reader_may_be_removed_from_within_itself(reactor: Reactor) -> None:
    log = _Log()
    with socket_pair() as (ours, theirs):

        def read() -> None:
            log.add("once")
            reactor.remove_reader(ours)

        reactor.add_reader(ours, read)
        theirs.send(b"1")
        await log.until(1)
        await settle()
        assert log.lines == ["once"]


async def callback_may_close_the_other_sockets_that_are_ready(reactor: Reactor) -> None:
    log = _Log()
    with ExitStack() as stack:
        pairs = [stack.enter_context(socket_pair()) for _ in range(10)]

        def close_all() -> None:
            log.add("closed")
            for ours, _ in pairs:
                reactor.remove_reader(ours)
                ours.close()

        for ours, theirs in pairs:
            reactor.add_reader(ours, close_all)
            theirs.send(b"1")
        await log.until(1)
        await settle()
        assert log.lines == ["closed"]


async def new_socket_may_have_the_number_of_one_closed_in_the_same_step(reactor: Reactor) -> None:
    log = _Log()
    with ExitStack() as stack:
        olds = [stack.enter_context(socket_pair()) for _ in range(4)]
        news: list[tuple[Socket, Socket]] = []

        def read(sock: Socket) -> None:
            # What the old socket was ready for may be taken for the new one's.
            with suppress(BlockingIOError):
                log.add(sock.recv(100))

        def replace() -> None:
            numbers = set()
            for ours, theirs in olds:
                numbers.add(ours.fileno())
                reactor.remove_reader(ours)
                ours.close()
                theirs.close()
            for _ in olds:
                ours, theirs = stack.enter_context(socket_pair())
                news.append((ours, theirs))
                reactor.add_reader(ours, partial(read, ours))
            assert numbers & {ours.fileno() for ours, _ in news}

        for ours, theirs in olds:
            reactor.add_reader(ours, replace)
            theirs.send(b"old")
        await settle()
        assert log.lines == []
        for _, theirs in news:
            theirs.send(b"new")
        await log.until(4)
        for ours, _ in news:
            reactor.remove_reader(ours)
        assert log.lines == [b"new"] * 4


# Timers


async def call_soon_calls_once_and_not_at_once(reactor: Reactor) -> None:
    log = _Log()
    reactor.call_soon(lambda: log.add("called"))
    assert log.lines == []
    await log.until(1)
    await settle()
    assert log.lines == ["called"]


async def timers_are_called_once_and_not_before_they_are_due(reactor: Reactor) -> None:
    log = _Log()
    # uvloop counts whole milliseconds, from the beginning of the loop's turn.
    began = reactor.clock()
    await settle()

    def note(seconds: float) -> None:
        early = reactor.clock() - began < seconds - 0.002
        log.add((seconds, "early" if early else "due"))

    for seconds in (0.03, 0.01, 0.02, 0):
        reactor.call_later(seconds, partial(note, seconds))
    assert log.lines == []
    await log.until(4)
    await settle()
    # Those that are due in one turn may come in any order.
    assert sorted(log.lines) == [(0, "due"), (0.01, "due"), (0.02, "due"), (0.03, "due")]


async def earlier_timer_may_be_set_while_a_later_one_runs(reactor: Reactor) -> None:
    log = _Log()
    late = reactor.call_later(3600, lambda: log.add("late"))
    await settle()

    def set_another() -> None:
        reactor.call_later(0.001, lambda: log.add("early"))

    reactor.call_later(0.001, set_another)
    await log.until(1)
    late.cancel()
    assert log.lines == ["early"]


async def cancelled_timer_is_not_called(reactor: Reactor) -> None:
    log = _Log()
    far = reactor.call_later(3600, lambda: log.add("cancelled"))
    await settle()
    near = reactor.call_later(0.001, lambda: log.add("cancelled"))
    for timer in (far, near):
        timer.cancel()
        timer.cancel()
    last = reactor.call_later(0.005, lambda: log.add("last"))
    await log.until(1)
    last.cancel()
    assert log.lines == ["last"]


# Tasks


async def waiter_parks_until_it_is_woken(reactor: Reactor) -> None:
    log = _Log()
    waiter = reactor.new_waiter()

    async def wait() -> None:
        for n in range(3):
            await waiter.wait()
            log.add(n)

    waiter.wake()  # nobody is there, and it is not remembered
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        for n in range(3):
            assert len(log.lines) == n
            waiter.wake()
            waiter.wake()
            assert len(log.lines) == n
            await settle()
    assert log.lines == [0, 1, 2]


async def waiter_may_be_woken_from_a_callback_at_once(reactor: Reactor) -> None:
    log = _Log()
    waiter = reactor.new_waiter()

    async def wait() -> None:
        await waiter.wait()
        log.add("woken")

    waiter.wake_now()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        reactor.call_soon(waiter.wake_now)
        await log.until(1)


async def cancelled_waiter_is_free_at_once(reactor: Reactor) -> None:
    waiter = reactor.new_waiter()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as inner:
                inner.cancel()
                await waiter.wait()
            assert inner.cancelled_caught
            tasks.start_soon(_wake_in_a_while, waiter)
            await waiter.wait()
    assert not scope.cancelled_caught


async def waiter_may_be_taken_over_before_the_task_that_was_woken_runs(reactor: Reactor) -> None:
    waiter = reactor.new_waiter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_wait_at, waiter)
        await settle()
        tasks.start_soon(_wake_in_a_while, waiter)
        waiter.wake()
        await waiter.wait()


async def waiter_may_be_taken_over_before_the_task_that_was_cancelled_runs(
    reactor: Reactor,
) -> None:
    waiter = reactor.new_waiter()
    scope = anyio.CancelScope()

    async def wait() -> None:
        with scope:
            await waiter.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        tasks.start_soon(_wake_in_a_while, waiter)
        scope.cancel()
        await waiter.wait()
    assert scope.cancelled_caught


async def woken_task_that_is_cancelled_then_leaves_its_waiter_in_order(reactor: Reactor) -> None:
    waiter = reactor.new_waiter()
    scope = anyio.CancelScope()

    async def wait() -> None:
        with scope:
            await waiter.wait()
            await waiter.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        waiter.wake()
        scope.cancel()
        await settle()
        tasks.start_soon(_wake_in_a_while, waiter)
        await waiter.wait()
    assert scope.cancelled_caught


async def checkpoint_lets_others_run_and_notices_a_cancellation(reactor: Reactor) -> None:
    log = _Log()

    async def run() -> None:
        log.add("ran")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not log.lines:
            await reactor.checkpoint()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await reactor.checkpoint()
    assert scope.cancelled_caught


_CHECKS: list[ReactorCheck] = [
    reader_is_called_whenever_its_socket_is_readable_until_removed,
    reader_is_called_at_the_end_of_the_stream,
    reader_is_called_again_while_bytes_are_left,
    writer_is_called_whenever_its_socket_is_writable_until_removed,
    reader_and_writer_of_a_socket_do_not_disturb_each_other,
    reader_may_be_removed_and_added_again_in_one_step,
    reader_may_be_removed_from_within_itself,
    callback_may_close_the_other_sockets_that_are_ready,
    new_socket_may_have_the_number_of_one_closed_in_the_same_step,
    call_soon_calls_once_and_not_at_once,
    timers_are_called_once_and_not_before_they_are_due,
    earlier_timer_may_be_set_while_a_later_one_runs,
    cancelled_timer_is_not_called,
    waiter_parks_until_it_is_woken,
    waiter_may_be_woken_from_a_callback_at_once,
    cancelled_waiter_is_free_at_once,
    waiter_may_be_taken_over_before_the_task_that_was_woken_runs,
    waiter_may_be_taken_over_before_the_task_that_was_cancelled_runs,
    woken_task_that_is_cancelled_then_leaves_its_waiter_in_order,
    checkpoint_lets_others_run_and_notices_a_cancellation,
]

#: Runs a test once for each part of the contract, which it is given as `check`.
check_reactor = pytest.mark.parametrize("check", _CHECKS, ids=lambda check: check.__name__)


async def _wait_at(waiter: Waiter) -> None:
    await waiter.wait()


async def _wake_in_a_while(waiter: Waiter) -> None:
    await settle()
    waiter.wake()
