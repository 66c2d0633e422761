"""Tests of `anyws._io.trio_transport`."""

from __future__ import annotations

import gc
import signal
from collections.abc import AsyncGenerator, Iterator
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from anyws._io.trio_transport import TrioReactor, TrioTimer, shared_reactor

from .reactor_conformance import ReactorCheck, check_reactor, running, socket_pair


@pytest.mark.trio
@check_reactor
async def test_contract_of_a_reactor_is_kept(check: ReactorCheck) -> None:
    async with running(TrioReactor()) as reactor:
        await check(reactor)


@pytest.fixture
async def reactor() -> TrioReactor:
    """Return a reactor."""
    return TrioReactor()


@pytest.mark.trio
async def test_timers_fire_when_they_are_due(
    reactor: TrioReactor, autojump_clock: MockClock
) -> None:
    fired: list[float] = []
    began = reactor.clock()
    for seconds in (3600, 1, 80_000, 0):
        reactor.call_later(seconds, lambda: fired.append(reactor.clock() - began))
    await trio.sleep(86_000)
    assert fired == pytest.approx([0, 1, 3600, 80_000])


@pytest.mark.trio
async def test_timer_that_is_set_while_the_reactor_sleeps_shortens_its_sleep(
    reactor: TrioReactor, autojump_clock: MockClock
) -> None:
    fired: list[float] = []
    began = reactor.clock()
    for seconds in (1000, 10, 100):
        reactor.call_later(seconds, lambda: fired.append(reactor.clock() - began))
        await wait_all_tasks_blocked()
    await trio.sleep(50)
    assert fired == pytest.approx([10])
    await trio.sleep(1000)
    assert fired == pytest.approx([10, 100, 1000])


@pytest.mark.trio
async def test_timers_are_set_and_cancelled_from_within_timers(
    reactor: TrioReactor, autojump_clock: MockClock
) -> None:
    fired: list[str] = []

    def fire() -> None:
        fired.append("first")
        cancelled.cancel()
        reactor.call_later(5, lambda: fired.append("third"))

    reactor.call_later(1, fire)
    cancelled = reactor.call_later(2, lambda: fired.append("cancelled"))
    reactor.call_later(3, lambda: fired.append("second"))
    await trio.sleep(10)
    assert fired == ["first", "second", "third"]


@pytest.mark.trio
async def test_cancelled_timers_do_not_pile_up_and_live_ones_stay(
    reactor: TrioReactor, autojump_clock: MockClock
) -> None:
    fired: list[int] = []
    for n in range(200):
        reactor.call_later(10_000 - n, partial(fired.append, n))
    for _ in range(10_000):
        reactor.call_later(5_000, lambda: fired.append(-1)).cancel()
    # As many dead ones as there are live ones, and the one that shows it.
    assert _count_timers() <= 200 + 200 + 1
    await trio.sleep(20_000)
    assert fired == list(reversed(range(200)))
    assert _count_timers() == 0


# The task


@pytest.mark.trio
async def test_task_lasts_as_long_as_there_are_sockets(reactor: TrioReactor) -> None:
    with socket_pair() as (ours, theirs):
        for _ in range(2):
            assert not _has_task()
            reactor.add_reader(ours, lambda: None)
            reactor.add_reader(theirs, lambda: None)
            assert _has_task()
            await wait_all_tasks_blocked()
            reactor.remove_reader(theirs)
            await wait_all_tasks_blocked()
            assert _has_task()
            reactor.remove_reader(ours)
            await wait_all_tasks_blocked()
            assert not _has_task()


@pytest.mark.trio
async def test_task_lasts_as_long_as_there_are_timers(
    reactor: TrioReactor, autojump_clock: MockClock
) -> None:
    reactor.call_later(1, lambda: None)
    cancelled = reactor.call_later(3600, lambda: None)
    await trio.sleep(10)
    assert _has_task()
    cancelled.cancel()
    cancelled.cancel()
    await wait_all_tasks_blocked()
    assert not _has_task()
    reactor.call_later(1, lambda: None)
    await trio.sleep(0.5)
    assert _has_task()
    await trio.sleep(1)
    assert not _has_task()


@pytest.mark.trio
async def test_task_goes_on_for_a_socket_that_comes_as_it_is_about_to_end(
    reactor: TrioReactor,
) -> None:
    received: list[bytes] = []
    done = trio.Event()

    def read() -> None:
        received.append(ours.recv(100))
        done.set()

    with socket_pair() as (ours, theirs):
        reactor.add_reader(theirs, lambda: None)
        await wait_all_tasks_blocked()
        reactor.remove_reader(theirs)
        reactor.add_reader(ours, read)
        theirs.send(b"x")
        await done.wait()
        reactor.remove_reader(ours)
    assert received == [b"x"]


@pytest.mark.trio
async def test_timer_may_be_the_first_and_a_socket_come_later(reactor: TrioReactor) -> None:
    done = trio.Event()
    timer = reactor.call_later(3600, lambda: None)
    await wait_all_tasks_blocked()
    with socket_pair() as (ours, theirs):
        reactor.add_reader(ours, done.set)
        theirs.send(b"x")
        await done.wait()
        reactor.remove_reader(ours)
    timer.cancel()


def test_run_ends_though_sockets_and_timers_are_left() -> None:
    called: list[str] = []

    async def main() -> None:
        reactor = shared_reactor()
        reactors.append(reactor)
        reactor.add_reader(ours, lambda: called.append("reader"))
        reactor.call_later(3600, lambda: called.append("timer"))
        await wait_all_tasks_blocked()
        # Comes late: async generators are closed when system tasks have ended.
        late.append(use_late(reactor))
        await anext(late[0])

    async def use_late(reactor: TrioReactor) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            reactor.add_writer(ours, lambda: called.append("writer"))
            reactor.remove_writer(ours)
            reactor.remove_reader(ours)
            reactor.call_later(0, lambda: called.append("timer")).cancel()
            called.append("late")

    reactors: list[TrioReactor] = []
    late: list[AsyncGenerator[None, None]] = []
    with socket_pair() as (ours, theirs):
        trio.run(main)
        theirs.send(b"x")
        reactors[0].add_reader(theirs, lambda: None)
        reactors[0].remove_reader(theirs)
    assert called == ["late"]


def test_all_in_a_run_share_one_reactor() -> None:
    async def main() -> TrioReactor:
        reactor = shared_reactor()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check_sameness, reactor)
        return reactor

    async def check_sameness(reactor: TrioReactor) -> None:
        assert shared_reactor() is reactor

    assert trio.run(main) is not trio.run(main)


@pytest.mark.trio
async def test_callback_that_fails_is_logged_and_others_are_called(
    reactor: TrioReactor,
    caplog: pytest.LogCaptureFixture,
    failures_of_callbacks: list[BaseException | None],
) -> None:
    error = LookupError("not to be expected")
    done = trio.Event()

    def fail() -> None:
        reactor.remove_reader(ours)
        raise error

    with socket_pair() as (ours, theirs):
        reactor.add_reader(ours, fail)
        reactor.add_reader(theirs, done.set)
        theirs.send(b"x")
        ours.send(b"x")
        await done.wait()
        reactor.remove_reader(theirs)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("anyws", "ERROR")
    assert failures_of_callbacks == [error]
    failures_of_callbacks.clear()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """See to it that SIGINT is not ignored, as it is in the background of a shell."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("source", ["socket", "timer"])
def test_keyboard_interrupt_is_not_raised_amid_a_callback(source: str) -> None:
    log: list[str] = []

    def callback() -> None:
        log.append("began")
        signal.raise_signal(signal.SIGINT)
        log.append("ended")

    async def main() -> None:
        with socket_pair() as (ours, theirs):

            def read() -> None:
                ours.recv(100)
                callback()

            reactor = TrioReactor()
            reactor.add_reader(ours, read)
            try:
                if source == "socket":
                    theirs.send(b"x")
                else:
                    reactor.call_later(0, callback)
                await trio.sleep_forever()
            except KeyboardInterrupt:
                log.append("interrupted")
            reactor.remove_reader(ours)

    trio.run(main)
    assert log == ["began", "ended", "interrupted"]


def _has_task() -> bool:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return any(
        task.name == "anyws reactor" for nursery in root.child_nurseries for task in _tasks(nursery)
    )


def _tasks(nursery: trio.Nursery) -> Iterator[trio.lowlevel.Task]:
    for task in nursery.child_tasks:
        yield task
        for inner in task.child_nurseries:
            yield from _tasks(inner)


def _count_timers() -> int:
    return sum(isinstance(thing, TrioTimer) for thing in gc.get_objects())
