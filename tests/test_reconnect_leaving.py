"""`reconnect`: how loop and block are left, by whom, and what is left behind then: nothing."""

from __future__ import annotations

import asyncio
import gc
import socket as stdlib_socket
import struct
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from random import Random

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from anyws import (
    ClientConnection,
    ConcurrencyError,
    ConnectionClosed,
    HandshakeRejected,
    Reconnecting,
    Retry,
    Server,
    ServerConnection,
    State,
    reconnect,
    serve,
)
from anyws.testing import RawPeer

from .network import (
    AT_ONCE,
    TIMELESS,
    URI,
    Script,
    Visit,
    ignore,
    live,
    network,
    open_and_ignore,
    refusing,
    use,
)
from .raw import LIMIT, raw_server
from .scripted import settle, virtual_time

pytestmark = pytest.mark.anyio

#: Long enough to be interrupted, with the seed that `wait_long` sets.
LONG = Retry(initial_delay=100)


def wait_long(attempts: Reconnecting) -> Reconnecting:
    """Let the first delay be one of 24 seconds."""
    attempts._random.seed(3)
    return attempts


async def receive_on(attempts: Reconnecting) -> None:
    """Receive from one connection after another, for ever."""
    async for ws in attempts:
        async for _ in ws:
            pass


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


# Leaving the block

WayOut = Callable[[Reconnecting], Awaitable[None]]


async def by_break(attempts: Reconnecting) -> None:
    async with attempts:
        async for ws in attempts:
            await ws.receive()
            break


async def by_return(attempts: Reconnecting) -> None:
    async with attempts:
        async for ws in attempts:
            await ws.receive()
            return


async def by_exception(attempts: Reconnecting) -> None:
    try:
        async with attempts:
            async for ws in attempts:
                await ws.receive()
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass


async def by_ctrl_c(attempts: Reconnecting) -> None:
    try:
        async with attempts:
            async for ws in attempts:
                await ws.receive()
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass


async def by_cancellation(attempts: Reconnecting) -> None:
    with anyio.CancelScope() as scope:
        async with attempts:
            async for ws in attempts:
                await ws.receive()
                scope.cancel()
                await anyio.sleep_forever()
        pytest.fail("the cancellation was swallowed")


async def by_aclosing_the_connection(attempts: Reconnecting) -> None:
    async with attempts:
        async for ws in attempts:
            async with aclosing(ws):
                await ws.receive()
            assert ws.state is State.CLOSED
            break


async def by_aclosing_the_loop(attempts: Reconnecting) -> None:
    async with attempts:
        async with aclosing(attempts):
            async for ws in attempts:
                await ws.receive()
                break
        assert ws.state is State.CLOSED


on_every_way_out = pytest.mark.parametrize(
    ("leave_block", "code"),
    [
        (by_break, 1000),
        (by_return, 1000),
        (by_exception, 1011),
        (by_ctrl_c, 1001),
        (by_cancellation, 1001),
        (by_aclosing_the_connection, 1000),
        (by_aclosing_the_loop, 1000),
    ],
)


@on_every_way_out
@pytest.mark.usefixtures("no_gc")
async def test_stream_is_closed_before_the_next_statement(leave_block: WayOut, code: int) -> None:
    """R-A6b: without a garbage collection; after an attempt that failed."""
    async with network(refusing(503), live) as net:
        await leave_block(net.reconnect(retry=AT_ONCE))
        assert net.is_closed
        assert net.codes == [code]


@on_every_way_out
@pytest.mark.usefixtures("no_gc")
async def test_socket_is_closed_before_the_next_statement(leave_block: WayOut, code: int) -> None:
    """R-A6b: the peer has seen the Close frame, and the socket is no more."""
    codes: list[int | None] = []
    sockets = []

    async def script(peer: RawPeer) -> None:
        await live(Visit(peer.stream, codes))

    async def note(ws: ClientConnection) -> None:
        sockets.append(ws.extra(SocketAttribute.raw_socket))

    async with raw_server(script) as port:
        await leave_block(reconnect(f"ws://127.0.0.1:{port}/", on_connect=note))
        assert [sock.fileno() for sock in sockets] == [-1]
        assert codes == [code]


@pytest.mark.parametrize(
    "raised", [ValueError("in the body"), ExceptionGroup("of the user", [ValueError()])]
)
async def test_an_exception_of_the_body_leaves_as_the_same_object(raised: Exception) -> None:
    """R-A6b, R-A3a, R-A3b"""
    cause, context = KeyError("cause"), KeyError("context")

    async def fail(attempts: Reconnecting) -> None:
        async with attempts:
            async for _ in attempts:
                try:
                    raise context
                except KeyError:
                    raise raised from cause

    async with network(live) as net:
        with pytest.raises(type(raised)) as caught:
            await fail(net.reconnect())
    assert caught.value is raised
    assert raised.__cause__ is cause
    assert raised.__context__ is context
    assert not hasattr(raised, "__notes__")


@pytest.mark.parametrize(("cancelled", "seconds"), [(True, 1), (False, 5)])
@virtual_time
async def test_leaving_takes_a_bounded_time_if_the_peer_is_silent(
    cancelled: bool, seconds: float
) -> None:
    """R-A4a, R-A4c: one second when cancelled, else `close_timeout`."""
    async with network(open_and_ignore, limit=TIMELESS) as net:
        with anyio.CancelScope() as scope:
            async with net.reconnect() as attempts:
                await anext(attempts)
                began = anyio.current_time()
                if cancelled:
                    scope.cancel()
        assert anyio.current_time() - began == pytest.approx(seconds)
        assert net.is_closed


@pytest.mark.parametrize("script", [live, ignore, OSError()])
@virtual_time
async def test_cancelling_the_block_takes_no_time_if_the_peer_answers(
    script: Script | Exception,
) -> None:
    """R-A4d: while the loop is in its body, connects, or waits."""
    async with network(script, limit=TIMELESS) as net:
        began = anyio.current_time()
        with anyio.move_on_after(5) as scope:
            async with wait_long(net.reconnect(retry=LONG, open_timeout=None)) as attempts:
                await receive_on(attempts)
            pytest.fail("the cancellation was swallowed")
        assert scope.cancelled_caught
        assert net.is_closed
        assert anyio.current_time() - began == pytest.approx(5)


async def test_connection_is_usable_in_a_shield_after_a_cancellation() -> None:
    """As in the block of `connect`: nothing is closed behind the body's back."""
    async with network(live) as net:
        with anyio.CancelScope() as scope:
            async with net.reconnect() as attempts:
                ws = await anext(attempts)
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    await settle()
                    assert ws.state is State.OPEN
                    assert await ws.receive() == "hello"
        assert net.is_closed


@pytest.mark.usefixtures("no_gc")
async def test_nothing_is_left_for_the_garbage_collector() -> None:
    """An exception holds on to frames, and these to what is in them."""

    async def live_and_die() -> weakref.ref[Reconnecting]:
        async with (
            network(refusing(503), live, refusing(401)) as net,
            net.reconnect(retry=AT_ONCE) as attempts,
        ):
            await use(attempts)
            with pytest.raises(HandshakeRejected):
                await use(attempts)
        return weakref.ref(attempts)

    reference = await live_and_die()
    assert reference() is None


# Leaving the loop


async def test_another_loop_goes_on_after_a_break() -> None:
    """It closes the connection that was left open, and opens a new one."""
    async with network(live, live) as net, net.reconnect(retry=AT_ONCE) as attempts:
        first = await use(attempts)
        second = await use(attempts)
        assert [ws.state for ws in (first, second)] == [State.CLOSED, State.OPEN]
    assert net.codes == [1000, 1000]


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        pytest.param(live, [1000, 1000], id="in-the-body"),
        pytest.param(ignore, [1000], id="connecting"),
        pytest.param(OSError(), [1000], id="waiting"),
    ],
)
@virtual_time
async def test_the_loop_alone_may_be_cancelled(
    script: Script | Exception, codes: list[int]
) -> None:
    """R-A6b: the block goes on, and so may another loop. On trio, which minds how scopes nest."""
    async with network(script, live, limit=TIMELESS) as net:
        async with wait_long(net.reconnect(retry=LONG, open_timeout=None)) as attempts:
            with anyio.move_on_after(5) as scope:
                await receive_on(attempts)
            assert scope.cancelled_caught
            assert net.is_closed is (script is not live)
            await use(attempts)
        assert net.is_closed
        assert net.codes == codes


@pytest.mark.parametrize("script", [live, ignore, OSError()])
async def test_a_cancellation_of_the_loop_is_delivered(script: Script | Exception) -> None:
    """On every loop; R-A4d."""
    async with network(script) as net, anyio.create_task_group() as tasks:
        async with wait_long(net.reconnect(retry=LONG)) as attempts:
            with anyio.CancelScope() as scope:
                tasks.start_soon(cancel_soon, scope)
                await receive_on(attempts)
            assert scope.cancelled_caught
            assert net.is_closed is (script is not live)
        assert net.is_closed


async def cancel_soon(scope: anyio.CancelScope) -> None:
    await settle()
    scope.cancel()


async def test_a_cancellation_while_the_last_connection_closes_is_delivered() -> None:
    """On every loop; R-A4d."""
    scope = anyio.CancelScope()

    async def answer_late(visit: Visit) -> None:
        await visit.open()
        frame = await visit.take_close()
        await cancel_soon(scope)
        await visit.send(frame)

    async with network(answer_late) as net, net.reconnect() as attempts:
        await anext(attempts)
        with scope:
            await receive_on(attempts)
        assert scope.cancelled_caught
        assert net.is_closed
        assert net.codes == [1000]


@virtual_time
async def test_cancelling_while_the_last_connection_closes_cuts_that_short() -> None:
    """R-A4c: to one second; its end counts all the same."""
    async with (
        network(open_and_ignore, live, limit=TIMELESS) as net,
        net.reconnect(retry=AT_ONCE) as attempts,
    ):
        ws = await anext(attempts)
        began = anyio.current_time()
        with anyio.move_on_after(2) as scope:
            await anext(attempts)
        assert scope.cancelled_caught
        assert anyio.current_time() - began == pytest.approx(3)
        assert ws.state is State.CLOSED
        assert net.is_closed
        await use(attempts)
        assert attempts.attempt == 2


async def test_cancelling_while_the_connection_is_prepared_closes_it_with_1001() -> None:
    async def wait(_: ClientConnection) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    async with network(live) as net, net.reconnect(on_connect=wait) as attempts:
        with anyio.CancelScope() as scope:
            await anext(attempts)
        assert scope.cancelled_caught
        assert net.is_closed
        assert net.codes == [1001]


def test_a_task_of_asyncio_may_be_cancelled_in_its_turn() -> None:
    """As by `asyncio.timeout`, which knows no scopes."""

    async def main() -> None:
        async with network(ignore, live) as net, net.reconnect(retry=AT_ONCE) as attempts:
            turn = asyncio.ensure_future(anext(attempts))
            await settle()
            assert len(net.dialled) == 1
            turn.cancel()
            with pytest.raises(asyncio.CancelledError):
                await turn
            assert net.is_closed
            await use(attempts)
        assert net.codes == [1000]

    asyncio.run(main())


# Several tasks


async def test_one_task_at_a_time_waits_for_a_connection() -> None:
    async with network(ignore) as net, anyio.create_task_group() as tasks:
        async with net.reconnect() as attempts:
            tasks.start_soon(receive_on, attempts)
            await settle()
            with pytest.raises(ConcurrencyError, match="another task is waiting"):
                await anext(attempts)
            await settle()
            assert not net.is_closed  # the first one waits on
        assert net.is_closed


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param([live], id="in-the-body"),
        pytest.param([ignore], id="connecting"),
        pytest.param([OSError()], id="waiting"),
        pytest.param([], id="not-yet-begun"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
@virtual_time
async def test_closing_ends_the_loop_of_another_task(
    plan: list[Script | Exception], inside: bool
) -> None:
    """By `aclose`, or by leaving the block."""
    ended = []

    async def loop(attempts: Reconnecting) -> None:
        if not plan:
            await anyio.sleep(6)
        await receive_on(attempts)
        ended.append(anyio.current_time() - began)

    async with network(*plan, limit=TIMELESS) as net, anyio.create_task_group() as tasks:
        began = anyio.current_time()
        async with wait_long(net.reconnect(retry=LONG, open_timeout=None)) as attempts:
            tasks.start_soon(loop, attempts)
            await anyio.sleep(5)
            if inside:
                await attempts.aclose()
                assert net.is_closed
                await attempts.aclose()
        assert net.is_closed
    assert ended == [pytest.approx(5 if plan else 6)]


@virtual_time
async def test_closing_cuts_a_closing_handshake_of_another_task_short() -> None:
    """R-A4c: to one second, as when it is cancelled."""
    async with (
        network(open_and_ignore, limit=TIMELESS) as net,
        anyio.create_task_group() as tasks,
    ):
        async with net.reconnect(close_timeout=100) as attempts:
            await anext(attempts)
            began = anyio.current_time()
            tasks.start_soon(receive_on, attempts)
            await anyio.sleep(10)
        assert anyio.current_time() - began == pytest.approx(11)
        assert net.is_closed


async def test_a_cancelled_block_waits_until_another_task_has_closed() -> None:
    """R-A6b: nothing is open once the block is left, whoever is at it."""
    codes: list[int | None] = []
    sockets = []
    opened = anyio.Event()

    async def script(peer: RawPeer) -> None:
        await live(Visit(peer.stream, codes))

    async def prepare(ws: ClientConnection) -> None:
        sockets.append(ws.extra(SocketAttribute.raw_socket))
        opened.set()
        await anyio.sleep_forever()

    async with raw_server(script) as port, anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with reconnect(f"ws://127.0.0.1:{port}/", on_connect=prepare) as attempts:
                tasks.start_soon(receive_on, attempts)
                await opened.wait()
                scope.cancel()
                await anyio.sleep_forever()
        assert [sock.fileno() for sock in sockets] == [-1]
        assert codes == [1001]


@virtual_time
async def test_preparing_the_connection_may_close_for_good() -> None:
    """Without waiting for itself."""

    async def give_up(_: ClientConnection) -> None:
        await attempts.aclose()

    async with (
        network(live, limit=TIMELESS) as net,
        net.reconnect(on_connect=give_up) as attempts,
    ):
        assert [ws async for ws in attempts] == []
        assert net.is_closed
        assert anyio.current_time() == net.dialled[0]


# Before and after


async def test_nothing_is_opened_before_the_block_is_entered() -> None:
    with pytest.raises(RuntimeError, match=r"use `async with reconnect\(...\) as attempts`"):
        await anext(reconnect(URI))


async def test_iteration_ends_once_the_block_is_left() -> None:
    async with network() as net:
        async with net.reconnect() as attempts:
            pass
        assert [ws async for ws in attempts] == []


async def test_an_object_serves_one_block() -> None:
    attempts = reconnect(URI)
    async with attempts:
        with pytest.raises(RuntimeError, match="for one block only"):
            await attempts.__aenter__()
    with pytest.raises(RuntimeError, match="for one block only"):
        await attempts.__aenter__()


# A server that comes and goes


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port that nobody is given by chance while no server listens on it.

    On Linux, the socket that holds it does not keep off who asks for this very port.
    """
    with stdlib_socket.socket() as sock:
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        if sys.platform != "linux":
            sock.close()
        yield port


class Feed:
    """A handler that counts, on and on, whoever listens."""

    def __init__(self) -> None:
        self.number = 0

    async def __call__(self, ws: ServerConnection) -> None:
        while True:
            await ws.send(str(self.number))
            self.number += 1
            await checkpoint()

    async def reach(self, number: int) -> None:
        while self.number < number:
            await checkpoint()


End = Callable[[Server, anyio.CancelScope], Awaitable[None]]


async def by_cancelling(_: Server, scope: anyio.CancelScope) -> None:
    scope.cancel()
    await checkpoint()


async def by_shutdown(server: Server, _: anyio.CancelScope) -> None:
    await server.shutdown(grace=0, code=1012)


async def by_resets(server: Server, scope: anyio.CancelScope) -> None:
    for ws in server.connections:
        sock = ws.extra(SocketAttribute.raw_socket)
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(ws)
    await by_cancelling(server, scope)


async def come_and_go(feed: Feed, port: int, times: int) -> None:
    """Serve for a while, a number of times, and then say goodbye to whoever comes."""
    chance = Random(20_2611)
    ends: list[End] = [by_cancelling, by_shutdown, by_resets]
    for _ in range(times):
        with anyio.CancelScope() as scope:
            async with serve(feed, "127.0.0.1", port) as server:
                if chance.random() < 0.8:
                    await feed.reach(feed.number + chance.randrange(40))
                for _ in range(chance.randrange(40)):
                    await checkpoint()
                await chance.choice(ends)(server, scope)
        for _ in range(chance.randrange(40)):
            await checkpoint()
    async with serve(say_goodbye, "127.0.0.1", port) as server:
        await server.wait_closed()


async def say_goodbye(ws: ServerConnection) -> None:
    await ws.send("goodbye")
    await ws.wait_closed()


async def test_server_that_dies_twenty_times_is_found_again_each_time() -> None:
    """R-A6b: whatever it was at, and each socket is closed before the next attempt."""
    sockets: list[stdlib_socket.socket] = []
    numbers: list[int] = []

    async def uri() -> str:
        assert {sock.fileno() for sock in sockets} <= {-1}
        return f"ws://127.0.0.1:{port}/"

    async def note(ws: ClientConnection) -> None:
        sockets.append(ws.extra(SocketAttribute.raw_socket))

    async def follow(attempts: Reconnecting) -> None:
        async for ws in attempts:
            try:
                async for message in ws:
                    if message == "goodbye":
                        return
                    numbers.append(int(message))
            except ConnectionClosed:
                continue

    retry = Retry(initial_delay=0.001, max_delay=0.005)
    with anyio.fail_after(6 * LIMIT), reserved_port() as port:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(come_and_go, Feed(), port, 20)
            async with reconnect(uri, retry=retry, on_connect=note) as attempts:
                await follow(attempts)
            assert {sock.fileno() for sock in sockets} == {-1}
            tasks.cancel_scope.cancel()
    assert numbers == sorted(set(numbers))
    assert len(sockets) > 10
