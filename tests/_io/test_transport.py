"""Tests of `anyws._io.transport`: what all transports have in common, the holding of writes."""

from __future__ import annotations

from itertools import chain

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws._io.reactors import new_reactor
from anyws._io.task_reactor import TaskReactor
from anyws._io.transport import HOLD_AT_MOST, WRITES_A_TURN, Receiver, Transport

from .conformance import settle
from .reactor_conformance import running

pytestmark = pytest.mark.anyio


class Layer(Transport):
    """A transport whose layer below takes everything and writes down what it was given."""

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.pushed: list[list[bytes]] = []

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def push(self, buffers: tuple[bytes, ...]) -> None:
        self.pushed.append(list(buffers))

    def write_eof(self) -> None: ...

    def abort(self) -> None: ...


def started() -> Layer:
    transport = Layer(new_reactor())
    transport.start(transport.receiver)
    return transport


async def test_what_is_written_while_the_reactor_calls_back_leaves_when_it_has() -> None:
    async with running(new_reactor()) as reactor:
        transports = [Layer(reactor), Layer(reactor)]
        for transport in transports:
            transport.start(transport.receiver)
        deferred: list[Transport] = []
        reactor.deferred = deferred
        for transport in transports:
            transport.write(b"1")
            transport.write(b"2")
            transport.flush_soon()
        assert deferred == transports
        assert [transport.pushed for transport in transports] == [[], []]
        transports[0].flush()
        assert transports[0].pushed == [[b"12"]], "somebody needed to know what is unsent"
        transports[1].write(bytes(HOLD_AT_MOST))
        assert len(transports[1].pushed) == 1, "it is too much to be held"
        reactor.deferred = None
        transports[1].write(b"3")
        for each in deferred:
            each.end_step()
        assert transports[1].pushed[1:] == [[b"3"]]
        assert [transport.unsent for transport in transports] == [0, 0]


async def test_first_write_of_a_step_is_pushed_at_once_and_the_others_together() -> None:
    async with running(new_reactor()) as reactor:
        transport = Layer(reactor)
        transport.start(transport.receiver)
        transport.write(b"1", b"2")
        assert transport.pushed == [[b"1", b"2"]]
        transport.write(b"3")
        transport.write(b"4", b"5")
        assert (transport.pushed, transport.unsent) == ([[b"1", b"2"]], 3)
        transport.flush()
        assert (transport.pushed, transport.unsent) == ([[b"1", b"2"], [b"345"]], 0)
        transport.write(b"6")
        assert transport.pushed[2:] == [[b"6"]]
        await settle()
        assert transport.pushed[3:] == []


async def test_held_writes_are_pushed_at_the_end_of_the_step() -> None:
    async with running(new_reactor()) as reactor:
        transport = Layer(reactor)
        transport.start(transport.receiver)
        for _ in range(2):
            for n in range(5):
                transport.write(b"%d" % n)
            await settle()
        assert transport.pushed == [[b"0"], [b"1234"]] * 2


async def test_64_kib_are_held_at_most() -> None:
    transport = started()
    piece = bytes(1024)
    transport.write(piece)
    for n in range(1, HOLD_AT_MOST // 1024):
        transport.write(piece)
        assert transport.unsent == n * 1024
    transport.write(piece)
    assert transport.unsent == 0
    assert transport.pushed == [[piece], [piece * 64]]
    transport.write(piece)
    assert transport.unsent == 1024


async def test_large_buffers_are_not_copied() -> None:
    transport = started()
    small, large = b"1", bytes(2 * HOLD_AT_MOST)
    transport.write(small)
    transport.write(small)
    transport.write(large)
    assert transport.pushed == [[small], [small, large]]
    assert transport.pushed[1][1] is large


async def test_flush_pushes_nothing_if_nothing_is_held() -> None:
    transport = started()
    transport.flush()
    transport.write(b"1")
    transport.flush()
    assert transport.pushed == [[b"1"]]


async def test_transport_tells_nobody_until_it_is_started() -> None:
    transport = Layer(new_reactor())
    transport.receiver.feed(b"1")
    transport.receiver.drained()
    transport.receiver.eof()
    transport.receiver.lost(None)


async def test_transport_needs_no_task_and_knows_no_attributes_unless_it_says_so() -> None:
    transport = started()
    assert not transport.needs_task
    await transport.run()
    assert transport.attributes == {}


async def test_low_water_is_64_kib_unless_it_is_set() -> None:
    transport = started()
    assert transport.low_water == 64 * 1024
    transport.set_low_water(1)
    assert transport.low_water == 1


async def test_task_is_woken_later_where_the_loop_cannot_do_it_now() -> None:
    waiter = TaskReactor().new_waiter()
    log: list[str] = []

    async def wait() -> None:
        await waiter.wait()
        log.append("woken")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        waiter.wake_now()
        assert log == []
    assert log == ["woken"]


async def test_first_write_of_a_step_by_whoever_waits_elsewhere_leaves_at_once() -> None:
    async with running(new_reactor()) as reactor:
        transports = [Layer(reactor) for _ in range(3)]
        for transport in transports:
            transport.start(transport.receiver)
        for _ in range(3):
            for transport in transports:
                transport.write_now((b"1",))
                assert transport.pushed.pop() == [b"1"]
                transport.write_now((b"2",))
                transport.write(b"3", b"4")
                transport.write_now((b"5",))
                assert transport.pushed == []
            await settle()
            for transport in transports:
                assert transport.pushed.pop() == [b"2345"]
                # This step is left without a flush, as by a task that waits for another.
                transport.write(b"6")
                assert transport.pushed.pop() == [b"6"]


async def test_what_is_written_now_while_the_reactor_calls_back_leaves_when_it_has() -> None:
    async with running(new_reactor()) as reactor:
        transport = Layer(reactor)
        transport.start(transport.receiver)
        reactor.deferred = []
        transport.write_now((b"1", b"2"))
        assert (transport.pushed, reactor.deferred) == ([], [transport])
        reactor.deferred = None
        transport.end_step()
        assert transport.pushed == [[b"1", b"2"]], "one write is passed on as it is"


@pytest.mark.parametrize("deferred", [False, True], ids=["by a task", "in a callback"])
async def test_many_transports_are_written_to_in_turns_with_others(deferred: bool) -> None:
    async with running(new_reactor()) as reactor:
        n = 2 * WRITES_A_TURN + 1
        transports = [Layer(reactor) for _ in range(n)]
        written: list[Transport] = []
        reactor.deferred = written if deferred else None
        for transport in transports:
            transport.start(transport.receiver)
            transport.write_now((b"1",))
        reactor.deferred = None
        reactor.end_steps(written)

        def done() -> list[bool]:
            return [bool(transport.pushed) for transport in transports]

        assert done() == [True] * WRITES_A_TURN + [False] * (n - WRITES_A_TURN)
        for transport in transports:
            transport.write(b"2")
        turns = 0
        while not all(done()):
            await checkpoint()
            turns += 1
        assert turns > 1
        await settle()
        sent = [b"".join(chain(*transport.pushed)) for transport in transports]
        assert set(sent) == {b"12"}
