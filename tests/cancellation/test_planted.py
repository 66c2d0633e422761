"""The sweep finds what it is made for: toys with one bug each, and what is said about them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from anyws import Connection
from anyws.testing import TEXT, Frame, MemoryStream, RawPeer, memory_pair

from ..conftest import UVLOOP_MISSING
from ..scripted import settle
from .sweep import Kind, Run, Scenario, Violation, beside, check, sweep
from .witness import Witness, joined

on_every_loop = pytest.mark.parametrize(
    "loop",
    [
        "asyncio",
        pytest.param(
            "uvloop", marks=pytest.mark.skipif(UVLOOP_MISSING, reason="uvloop is not installed")
        ),
        "trio",
    ],
)
on_asyncio = pytest.mark.parametrize("loop", ["asyncio"])


def violations_of(
    run: Callable[[Run], Awaitable[None]], loop: str, kind: Kind = Kind.SCOPE
) -> list[Violation]:
    scenario = Scenario("planted", run, is_virtual=True, patience=0.05)
    tallies = sweep(scenario, loop, kind).values()
    return [violation for tally in tallies for violation in tally.violations]


# A frame that is written in two steps


class Toy:
    """Sends text messages, as a server does."""

    def __init__(self, stream: MemoryStream, *, shielded: bool) -> None:
        self._stream = stream
        self._shielded = shielded

    async def send(self, text: str) -> None:
        """Send a message: the header, then the payload."""
        frame = Frame(TEXT, text.encode()).encode()
        with anyio.CancelScope(shield=self._shielded):
            await self._stream.send(frame[:2])
            await self._stream.send(frame[2:])


async def send_in_two_steps(run: Run, *, shielded: bool = False) -> None:
    ours, theirs = memory_pair()
    witness = Witness(RawPeer(theirs, is_client=True), "client")
    async with beside(witness.run):
        outcome = await run.operate("send", partial(Toy(ours, shielded=shielded).send, "hello"))
        await ours.aclose()
    check(witness.messages, ["hello"] if outcome.returned else [], "messages on the wire")


@on_every_loop
def test_a_torn_frame_is_found_and_placed(loop: str) -> None:
    """A message of two writes: cancelled in the second one, its header is on the wire."""
    found = violations_of(send_in_two_steps, loop)
    assert [violation.point for violation in found] == [2]
    assert "expected whole frames, but the stream ended after" in found[0].message
    assert "anyws/testing/_memory.py" in found[0].where
    assert str(found[0]).startswith(f"planted, {loop}, scope, point 2, at anyws/")


@on_every_loop
def test_a_shield_helps_against_the_scope(loop: str) -> None:
    assert not violations_of(partial(send_in_two_steps, shielded=True), loop)


@on_asyncio
def test_a_shield_does_not_help_against_the_task(loop: str) -> None:
    found = violations_of(partial(send_in_two_steps, shielded=True), loop, Kind.NATIVE)
    assert [violation.point for violation in found] == [2]


# Cancellations that do not arrive


async def swallow(run: Run) -> None:
    async def wait() -> None:
        try:
            await checkpoint()
        except BaseException:
            pass

    await run.operate("wait", wait)


@on_every_loop
@pytest.mark.parametrize("kind", [Kind.SCOPE, Kind.BEFORE])
def test_a_swallowed_cancellation_is_found(loop: str, kind: Kind) -> None:
    found = violations_of(swallow, loop, kind)
    assert [violation.message for violation in found] == ["it swallowed the cancellation"]


@on_asyncio
@pytest.mark.parametrize("kind", [Kind.NATIVE, Kind.NATIVE_WOKEN])
def test_a_swallowed_cancellation_of_the_task_is_found(loop: str, kind: Kind) -> None:
    found = violations_of(swallow, loop, kind)
    assert [violation.message for violation in found] == ["it swallowed the cancellation"]


@on_every_loop
def test_a_cancellation_swallowed_while_others_work_is_found(loop: str) -> None:
    """One suspension, and many turns of the loop."""

    async def swallow_any(run: Run) -> None:
        worked = anyio.Event()

        async def wait() -> None:
            try:
                await worked.wait()
            except BaseException:
                pass

        async def work() -> None:
            await settle()
            worked.set()

        async with beside(work):
            await run.operate("wait", wait)

    found = violations_of(swallow_any, loop, Kind.SCOPE_TURN)
    assert [violation.point for violation in found] == [1, 2, 3, 4, 5], "five are enough"
    assert {violation.message for violation in found} == {"it swallowed the cancellation"}


@on_every_loop
def test_a_cancellation_that_comes_out_as_something_else_is_found(loop: str) -> None:
    async def replace(run: Run) -> None:
        async def wait() -> None:
            try:
                await checkpoint()
            except BaseException:
                raise OSError("broken") from None

        await run.operate("wait", wait)

    assert [violation.message for violation in violations_of(replace, loop)] == [
        "it raised OSError('broken')"
    ]


@on_every_loop
def test_a_cancellation_in_a_group_is_found(loop: str) -> None:
    async def wrap(run: Run) -> None:
        async def wait() -> None:
            try:
                await checkpoint()
            except BaseException as exc:
                raise BaseExceptionGroup("several", [exc]) from None

        await run.operate("wait", wait)

    found = violations_of(wrap, loop)
    assert len(found) == 1
    assert "came out in a group" in found[0].message


@pytest.mark.parametrize("loop", ["trio"])
def test_an_end_that_takes_too_long_is_found(loop: str) -> None:
    """In virtual seconds, so that they can be counted."""

    async def linger(run: Run) -> None:
        async def wait() -> None:
            try:
                await checkpoint()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1.5)

        await run.operate("wait", wait)

    found = violations_of(linger, loop)
    assert found
    assert "it took 1.5 s to end once cancelled, limit 1.0 s" in found[0].message


# What is left behind


@on_every_loop
def test_a_leaked_waiter_is_found(loop: str) -> None:
    """As `Connection.wait_closed`, without its `finally`."""

    async def wait_closed(ws: Connection) -> None:
        waiter = ws._reactor.new_waiter()
        ws._end_waiters += (waiter,)
        await waiter.wait()
        ws._end_waiters = ()

    async def leak(run: Run) -> None:
        async with (
            joined(run, "memory", "client") as (ws, witness),
            beside(partial(witness.close, 1000)),
        ):
            await run.operate("wait_closed", partial(wait_closed, ws))

    found = violations_of(leak, loop)
    assert [violation.point for violation in found] == [1]
    assert found[0].message.startswith("left behind: _end_waiters of <ClientConnection closed")


@on_every_loop
def test_a_leaked_task_is_found(loop: str) -> None:
    async def leak(run: Run) -> None:
        async def work() -> None:
            stop = _spawn(anyio.sleep_forever)
            await checkpoint()
            stop()

        await run.operate("work", work)

    found = violations_of(leak, loop)
    assert [violation.point for violation in found] == [1]
    assert found[0].message.startswith("left behind: the task ")
    assert "sleep_forever" in found[0].message


def _spawn(function: Callable[[], Awaitable[None]]) -> Callable[[], object]:
    """Start a task that is nobody's child, and return what stops it."""
    scope = anyio.CancelScope()

    async def call() -> None:
        with scope:
            await function()

    call.__qualname__ = f"task of {function.__name__}"
    if trio.lowlevel.in_trio_run():
        trio.lowlevel.spawn_system_task(call)
        return scope.cancel
    return asyncio.get_running_loop().create_task(call()).cancel  # which holds the task


@on_every_loop
def test_a_leaked_socket_is_found(loop: str) -> None:
    leaked: list[socket.socket] = []

    async def leak(run: Run) -> None:
        async def work() -> None:
            leaked.append(socket.socket())
            await checkpoint()
            leaked.pop().close()

        await run.operate("work", work)

    found = violations_of(leak, loop)
    for sock in leaked:
        sock.close()
    assert [violation.point for violation in found] == [1]
    assert found[0].message.startswith("left behind: 1 of the files")


@on_asyncio
def test_a_leaked_timer_is_found(loop: str) -> None:
    async def leak(run: Run) -> None:
        async def work() -> None:
            timer = asyncio.get_running_loop().call_later(1000, print)
            await checkpoint()
            timer.cancel()

        await run.operate("work", work)

    found = violations_of(leak, loop)
    assert [violation.point for violation in found] == [1]
    assert "1 of the timers" in found[0].message


# Wake-ups


async def hand_over(run: Run) -> None:
    """An item is handed to a waiting task directly, and is nowhere else then."""
    handed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    queue = ["item"]

    async def receive() -> str:
        return await handed

    async def put() -> None:
        await settle()
        if not handed.done():
            handed.set_result(queue.pop())

    async with beside(put):
        outcome = await run.operate("receive", receive)
    check(queue, [] if outcome.returned else ["item"], "the queue")


@on_asyncio
def test_an_item_lost_between_wake_up_and_cancellation_is_found(loop: str) -> None:
    """The task is cancelled when the item has been handed to it, and it has yet to run."""
    assert not violations_of(hand_over, loop, Kind.NATIVE)
    found = violations_of(hand_over, loop, Kind.NATIVE_WOKEN)
    assert [violation.message for violation in found] == ["the queue: [], expected ['item']"]
