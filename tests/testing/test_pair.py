"""Tests of `anyws.testing._pair`: a client and a server joined in memory."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from anyws import (
    ClientConnection,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeRejected,
    InvalidHandshake,
    InvalidURI,
    ServerConnection,
)
from anyws.testing import ConnectionPair, FaultStream, connection_pair

from ..raw import LIMIT
from ..scripted import settle, virtual_time

pytestmark = pytest.mark.anyio


async def test_messages_pass_in_both_directions() -> None:
    async with connection_pair() as (client, server):
        assert type(client) is ClientConnection
        assert type(server) is ServerConnection
        await client.send("there")
        assert await server.receive() == "there"
        await server.send(b"and back")
        assert await client.receive() == b"and back"


async def test_both_ends_are_closed_normally_when_the_block_is_left() -> None:
    async with connection_pair() as (client, server):
        pass
    assert (client.close_code, server.close_code) == (1000, 1000)


async def test_what_one_end_has_closed_is_left_as_it_is() -> None:
    async with connection_pair() as (client, server):
        await server.close(4000, "over")
        with pytest.raises(ConnectionClosedError):
            await client.receive()
    assert (client.close_code, client.close_reason) == (4000, "over")


# Options


@virtual_time
async def test_options_are_for_both_ends() -> None:
    async with connection_pair(max_size=10) as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            await sender.send(bytes(10))
            assert await receiver.receive() == bytes(10)
        await client.send(bytes(11))
        with pytest.raises(ConnectionClosedError):
            await server.receive()
        assert client.close_code == 1009


async def test_options_of_one_end_go_before_those_of_both() -> None:
    async with connection_pair(
        max_size=10,
        client={
            "uri": "ws://example.org/chat?room=1",
            "headers": {"X-Test": "1"},
            "subprotocols": ["soap", "wamp"],
            "max_size": 15,
        },
        server={"subprotocols": ["wamp"], "max_size": 20, "server_header": "test"},
    ) as (client, server):
        assert server.request.path == "/chat?room=1"
        assert server.request.headers["Host"] == "example.org"
        assert server.request.headers["X-Test"] == "1"
        assert client.response.headers["Server"] == "test"
        assert client.subprotocol == server.subprotocol == "wamp"
        await client.send(bytes(20))
        assert await server.receive() == bytes(20)
        await server.send(bytes(15))
        assert await client.receive() == bytes(15)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: connection_pair(client={"pong": 1}), TypeError, "unknown option 'pong'"),
        (lambda: connection_pair(ping_interval=0), ValueError, "ping_interval is 0"),
        (lambda: connection_pair(client={"subprotocols": "soap"}), TypeError, "subprotocols"),
        (lambda: connection_pair(client={"uri": "http://a/"}), InvalidURI, "http"),
        (lambda: connection_pair(server={"uri": "ws://a/"}), TypeError, "unknown option 'uri'"),
        (lambda: connection_pair(capacity=0), ValueError, "capacity is 0"),
    ],
)
async def test_option_that_cannot_be_used_is_named_at_once(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


async def test_capacity_makes_a_writer_wait_for_its_reader() -> None:
    sent: list[int] = []

    async def send(client: ClientConnection) -> None:
        for n in range(5):
            await client.send(bytes(1000))
            sent.append(n)

    async with (
        connection_pair(capacity=1000, write_limit=1, max_buffer=1000, max_size=1000) as (
            client,
            server,
        ),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send, client)
        await settle()
        assert 0 < len(sent) < 5
        for _ in range(5):
            await server.receive()


# How the block is left


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        pytest.param(ValueError(), 1011, id="error"),
        pytest.param(ExceptionGroup("several", [ValueError()]), 1011, id="group"),
        pytest.param(KeyboardInterrupt(), 1001, id="ctrl-c"),
        pytest.param(SystemExit(), 1001, id="exit"),
    ],
)
async def test_exception_of_the_body_leaves_as_the_same_object(
    raised: BaseException, code: int
) -> None:
    """R-A3a, R-A3b: identity, cause and context stay; no group is added, removed or changed."""
    cause, context = KeyError("cause"), KeyError("context")
    servers: list[ServerConnection] = []
    parts = raised.exceptions if isinstance(raised, ExceptionGroup) else ()

    async def fail() -> None:
        async with connection_pair() as (_, server):
            servers.append(server)
            try:
                raise context
            except KeyError:
                raise raised from cause

    with pytest.raises(type(raised)) as caught:
        await fail()
    assert caught.value is raised
    assert (raised.__cause__, raised.__context__) == (cause, context)
    assert not hasattr(raised, "__notes__")
    if isinstance(raised, ExceptionGroup):
        assert raised.exceptions is parts
    assert servers[0].close_code == code


async def test_cancelled_body_stays_cancelled_and_both_ends_go_away() -> None:
    """R-A4d: the statement behind the block is not reached."""
    with anyio.CancelScope() as scope:
        async with connection_pair() as (client, server):
            scope.cancel()
            await anyio.sleep_forever()
        pytest.fail("the cancellation was swallowed")
    assert scope.cancelled_caught
    assert (client.close_code, server.close_code) == (1001, 1001)


def stall(stream: FaultStream) -> None:
    stream.stall_reading()
    stream.stall_writing()


def drop(stream: FaultStream) -> None:
    stream.drop()


def stall_both(pair: ConnectionPair) -> None:
    stall(pair.client_stream)
    stall(pair.server_stream)


def stall_client(pair: ConnectionPair) -> None:
    stall(pair.client_stream)


def drop_client(pair: ConnectionPair) -> None:
    pair.client_stream.drop()


@pytest.mark.parametrize("fault", [stall_both, stall_client, drop_client])
@pytest.mark.parametrize("where", ["in the body", "while leaving"])
@virtual_time
async def test_cancelled_block_is_left_in_two_seconds_whatever_the_fault(
    fault: Callable[[ConnectionPair], None], where: str
) -> None:
    pair = connection_pair(close_timeout=100, ping_interval=None)
    with anyio.move_on_after(10) as scope:
        async with pair as (client, server):
            fault(pair)
            if where == "in the body":
                await anyio.sleep_forever()
        pytest.fail("the cancellation was swallowed")
    assert scope.cancelled_caught
    assert anyio.current_time() <= scope.deadline + 2
    assert client.state.value == server.state.value == "closed"


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (stall_both, 3 + 3),
        pytest.param(stall_client, 3, id="stall_client, whose end the server sees"),
        (drop_client, 3 + 3),
    ],
)
@virtual_time
async def test_block_with_a_fault_is_left_when_the_close_timeouts_are_over(
    fault: Callable[[ConnectionPair], None], seconds: float
) -> None:
    start = anyio.current_time()
    pair = connection_pair(close_timeout=3)
    async with pair as (client, server):
        fault(pair)
    assert anyio.current_time() - start == seconds
    assert (client.close_code, server.close_code) == (1006, 1006)


@virtual_time
async def test_ctrl_c_is_not_kept_waiting_for_the_server_s_end() -> None:
    pair = connection_pair(close_timeout=1000)

    async def interrupt() -> None:
        async with pair:
            pair.server_stream.stall_writing()
            raise KeyboardInterrupt

    start = anyio.current_time()
    with pytest.raises(KeyboardInterrupt):
        await interrupt()
    assert anyio.current_time() - start <= 2


# Faults


@pytest.mark.parametrize("split", [1, 2, 3])
async def test_connection_does_not_care_where_its_bytes_are_split(split: int) -> None:
    pair = connection_pair()
    pair.client_stream.split = pair.server_stream.split = split
    async with pair as (client, server):
        for message in ("ünicode", bytes(range(256)) * 2, ""):
            await client.send(message)
            assert await server.receive() == message
            await server.send(message)
            assert await client.receive() == message
    assert (client.close_code, server.close_code) == (1000, 1000)


@virtual_time
async def test_garbage_fails_the_connection() -> None:
    pair = connection_pair()
    async with pair as (client, server):
        pair.server_stream.inject(b"\xff\xff")
        with pytest.raises(ConnectionClosedError) as caught:
            await client.receive()
        assert caught.value.code == 1002
        with pytest.raises(ConnectionClosedError):
            await server.receive()


async def test_reset_ends_both_ends() -> None:
    pair = connection_pair()
    async with pair as (client, server):
        pair.client_stream.reset()
        for connection in (client, server):
            with pytest.raises(ConnectionClosedError) as caught:
                await connection.receive()
            assert (caught.value.code, caught.value.initiator) == (1006, "transport")


@virtual_time
async def test_pulled_cable_is_noticed_by_keepalive_at_both_ends() -> None:
    pair = connection_pair(ping_interval=20, ping_timeout=20)
    async with pair as (client, server):
        start = anyio.current_time()
        pair.client_stream.drop()
        for connection in (client, server):
            with pytest.raises(ConnectionClosedError):
                await connection.receive()
        assert 40 <= anyio.current_time() - start <= 50


@virtual_time
async def test_late_bytes_make_for_latency() -> None:
    pair = connection_pair()
    async with pair as (client, _):
        pair.client_stream.delay = 0.5
        assert await client.ping() == 1.0


# The opening handshake


async def test_refusal_of_the_server_is_raised_when_the_block_is_entered() -> None:
    pair = connection_pair()
    pair.server_stream.inject(b"garbage\r\n\r\n")
    with pytest.raises(HandshakeRejected) as caught:
        async with pair:
            pytest.fail("it was entered")
    assert caught.value.response.status_code == 400


async def test_answer_that_the_client_does_not_take_is_raised_when_the_block_is_entered() -> None:
    pair = connection_pair()
    pair.client_stream.inject(b"garbage\r\n\r\n")
    with pytest.raises(InvalidHandshake):
        async with pair:
            pytest.fail("it was entered")


@virtual_time
async def test_server_that_does_not_answer_is_given_up() -> None:
    pair = connection_pair(client={"open_timeout": 3})
    pair.server_stream.stall_reading()
    start = anyio.current_time()
    with pytest.raises(TimeoutError):
        async with pair:
            pytest.fail("it was entered")
    assert 3 <= anyio.current_time() - start <= 5


async def test_entering_can_be_cancelled() -> None:
    pair = connection_pair()
    pair.server_stream.stall_reading()
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter, pair)
            await settle()
            tasks.cancel_scope.cancel()


async def enter(pair: ConnectionPair) -> None:
    async with pair:
        pytest.fail("it was entered")


async def test_pair_is_for_one_connection_only() -> None:
    pair = connection_pair()
    async with pair as (client, server):
        with pytest.raises(RuntimeError, match="for one connection only"):
            await enter(pair)
        await client.send("x")
        assert await server.receive() == "x"


async def test_messages_that_came_before_the_end_are_received_after_it() -> None:
    async with connection_pair() as (client, server):
        await server.send("last")
        await server.close()
    assert await client.receive() == "last"
    with pytest.raises(ConnectionClosedOK):
        await client.receive()
