"""Tests of `anyws._io.trio_transport`."""

from __future__ import annotations

import gc
import signal
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from anyws._io.trio_transport import TrioReactor, TrioTimer

from .conformance import settle
from .reactor_conformance import ReactorCheck, check_reactor, running, socket_pair


@pytest.mark.trio
@check_reactor
async def test_contract_of_a_reactor_is_kept(check: ReactorCheck) -> None:
    async with running(TrioReactor()) as reactor:
        await check(reactor)


@pytest.fixture
async def reactor(nursery: trio.Nursery) -> TrioReactor:
    """Return a reactor that runs."""
    reactor = TrioReactor()
    nursery.start_soon(reactor.run)
    await wait_all_tasks_blocked()
    return reactor


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


@pytest.mark.trio
async def test_sockets_are_served_that_were_added_before_the_reactor_ran(
    nursery: trio.Nursery,
) -> None:
    with socket_pair() as (ours, theirs):
        reactor = TrioReactor()
        received: list[bytes] = []
        done = trio.Event()

        def read() -> None:
            received.append(ours.recv(100))
            done.set()

        reactor.add_reader(ours, read)
        theirs.send(b"early")
        nursery.start_soon(reactor.run)
        await done.wait()
        reactor.remove_reader(ours)
        assert received == [b"early"]


@pytest.mark.trio
async def test_sockets_may_come_and_go_once_the_reactor_has_ended() -> None:
    reactor = TrioReactor()
    with socket_pair() as (ours, theirs):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            reactor.add_reader(ours, lambda: None)
            await settle()
            nursery.cancel_scope.cancel()
        reactor.add_writer(ours, lambda: None)
        reactor.remove_writer(ours)
        reactor.remove_reader(ours)
        reactor.add_reader(theirs, lambda: None)
        reactor.remove_reader(theirs)


@pytest.mark.trio
async def test_reactor_ends_though_it_never_had_a_socket() -> None:
    reactor = TrioReactor()
    with trio.move_on_after(0) as scope:
        await reactor.run()
    assert scope.cancelled_caught
    with socket_pair() as (ours, _):
        reactor.add_reader(ours, lambda: None)
        reactor.remove_reader(ours)


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

            async with trio.open_nursery() as nursery:
                reactor = TrioReactor()
                nursery.start_soon(reactor.run)
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
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert log == ["began", "ended", "interrupted"]


def _count_timers() -> int:
    return sum(isinstance(thing, TrioTimer) for thing in gc.get_objects())
