"""Every way in which a connection ends (RFC 6455 §7), and what is said about it."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream

from anyws import (
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    LocalProtocolError,
    RemoteProtocolError,
    State,
    WebSocketError,
)
from anyws.testing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    MemoryStream,
    RawPeer,
    close_frame,
)

from .memory import traced
from .scripted import MEMORY, TIMELESS, Carrier, Role, both_roles, settle, virtual_time
from .support import SocketStream

pytestmark = pytest.mark.anyio


async def receive_for_ever(ws: Connection) -> None:
    """Receive until that raises."""
    while True:
        await ws.receive()


# The closing handshake


@both_roles
async def test_close_is_a_handshake(role: Role, carrier: Carrier) -> None:
    """§7.1.2."""
    async with carrier.scripted(role) as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.answer_close)
        await ws.close(4321, "until later")
        assert ws.state is State.CLOSED
        assert (ws.close_code, ws.close_reason) == (4321, "until later")


@both_roles
@pytest.mark.parametrize(
    ("code", "reason"),
    [(None, ""), (1000, ""), (1001, "going"), (1011, "é" * 61), (3000, ""), (4999, "x" * 123)],
)
async def test_close_of_the_peer_is_echoed(
    role: Role, code: int | None, reason: str, carrier: Carrier
) -> None:
    """§5.5.1: the same code; an empty Close is answered by an empty one (§7.1.5)."""
    async with carrier.scripted(role) as (ws, peer):
        await peer.send(close_frame(code, reason))
        assert (await peer.receive_close())[0] == code
        await peer.drop()
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (1005 if code is None else code, reason)


async def test_both_sides_close_at_once(carrier: Carrier) -> None:
    async with carrier.pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(client.close, 4001)
        tasks.start_soon(server.close, 4002)
        await client.wait_closed()
        await server.wait_closed()
        assert {client.close_code, server.close_code} <= {4001, 4002}


async def test_server_ends_the_byte_stream_first(carrier: Carrier) -> None:
    """R-A4f, §7.1.1: also while the client has not ended its side."""
    async with carrier.scripted("server") as (ws, peer):
        await peer.send(close_frame(1000))
        assert await peer.receive_close() == (1000, "")
        assert await peer.receive_rest() == []
        await peer.drop()
        await ws.wait_closed()
        assert ws.close_code == 1000


@virtual_time
async def test_client_waits_for_the_server_to_end_the_byte_stream() -> None:
    """R-A4f, §7.1.1."""
    async with TIMELESS.scripted("client", close_timeout=5) as (ws, peer):
        await peer.send(close_frame(1000))
        assert await peer.receive_close() == (1000, "")
        start = anyio.current_time()
        with anyio.move_on_after(4):
            assert await peer.receive_rest() == []
        assert anyio.current_time() - start == 4
        assert ws.state is State.CLOSING
        await peer.drop()
        await ws.wait_closed()
        assert anyio.current_time() - start == 4


@virtual_time
async def test_server_gives_a_client_that_keeps_its_side_open_one_second() -> None:
    """R-A4a, §7.1.1: some clients never close the byte stream."""
    async with TIMELESS.scripted("server", close_timeout=5) as (ws, peer):
        start = anyio.current_time()
        await peer.send(close_frame(1000))
        assert await peer.receive_rest() == [close_frame(1000)]
        await ws.wait_closed()
        assert anyio.current_time() - start == 1
        assert ws.close_code == 1000


@both_roles
async def test_peer_that_ends_its_side_behind_its_close_gets_what_was_queued(role: Role) -> None:
    """The send rule: the peer may have said all, and still be reading."""
    async with MEMORY.scripted(role, capacity=1000) as (ws, peer):
        await ws.send(bytes(10_000))
        await peer.send(close_frame(1000))
        await peer.stream.send_eof()
        await settle()
        assert await peer.receive() == Frame(BINARY, bytes(10_000))
        assert await peer.receive() == close_frame(1000)


@virtual_time
async def test_answer_that_leaves_a_turn_later_holds_nothing_up() -> None:
    """The peer's Close frame and the end of its bytes come together; a byte stream sends later."""
    async with TIMELESS.scripted("client") as (ws, peer):
        start = anyio.current_time()
        await peer.send(close_frame(1002))
        await peer.stream.send_eof()
        await ws.wait_closed()
        assert anyio.current_time() - start < 0.1
        assert await peer.receive_close() == (1002, "")


@virtual_time
async def test_peer_that_ends_its_side_and_does_not_read_is_given_close_timeout() -> None:
    """R-A4a."""
    async with TIMELESS.scripted("server", capacity=1000, close_timeout=5) as (ws, peer):
        start = anyio.current_time()
        await ws.send(bytes(10_000))
        await peer.send(close_frame(1000))
        await peer.stream.send_eof()
        await ws.wait_closed()
        assert anyio.current_time() - start == 5


@both_roles
async def test_invalid_code_is_rejected_while_closing_too(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await peer.send(close_frame(1000))
        await peer.answer_close()
        with pytest.raises(LocalProtocolError, match="close code 999 may not be sent"):
            await ws.close(999)


@both_roles
async def test_close_behind_many_frames_that_were_held_back_is_seen(role: Role) -> None:
    """They are taken in steps, although nothing more arrives."""
    async with MEMORY.scripted(role, max_size=10) as (ws, peer):
        await peer.send(Frame(BINARY, bytes(11)), *[Frame(PONG)] * 5000, close_frame(1000))
        await settle()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.close)
            assert await peer.receive_close() == (1000, "")
            await peer.drop()
        assert ws.close_code == 1000


@both_roles
async def test_data_that_comes_after_our_close_is_dropped(role: Role, carrier: Carrier) -> None:
    """R-A4b."""
    async with carrier.scripted(role) as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(ws.close)
        assert await peer.receive_close() == (1000, "")
        await peer.send(
            *[Frame(TEXT, b"dropped")] * 100,
            Frame(TEXT, b"\xff"),
            Frame(BINARY, bytes(2 << 20)),
            Frame(BINARY, fin=False),
            Frame(PING),
            Frame(CONTINUATION),
            close_frame(1000),
        )
        await peer.drop()
        await ws.wait_closed()
        assert ws.close_code == 1000
        with pytest.raises(ConnectionClosedOK):
            await ws.receive()


@both_roles
async def test_messages_sent_before_the_close_arrive_before_it(
    role: Role, carrier: Carrier
) -> None:
    """Whichever side closes: what `send` has taken goes out whole."""
    async with carrier.scripted(role, capacity=1000) as (ws, peer):
        await ws.send(bytes(1 << 20))
        await peer.send(close_frame(1000))
        assert await peer.receive() == Frame(BINARY, bytes(1 << 20))
        assert await peer.receive_close() == (1000, "")
        await peer.drop()
        await ws.wait_closed()
        assert ws.close_code == 1000


# Codes and reasons


@pytest.mark.parametrize(
    "code", [-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65536]
)
async def test_code_out_of_range_is_rejected_and_nothing_sent(code: int) -> None:
    """R-B1, §7.4."""
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(LocalProtocolError, match=f"close code {code} may not be sent"):
            await ws.close(code)
        assert ws.state is State.OPEN
        assert await peer.round_trip() == []


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4999])
async def test_code_in_range_is_sent(code: int) -> None:
    """R-B1, §7.4."""
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(ws.close, code, "é" * 61)
        assert await peer.answer_close() == (code, "é" * 61)


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        ("x" * 124, "close reason is 124 bytes, limit 123"),
        ("é" * 62, "close reason is 124 bytes, limit 123"),
        ("\ud800", "close reason cannot be encoded as UTF-8"),
    ],
)
async def test_reason_that_does_not_fit_is_rejected_and_nothing_sent(
    reason: str, problem: str
) -> None:
    """R-B1, §5.5."""
    async with MEMORY.scripted("client") as (ws, peer):
        with pytest.raises(LocalProtocolError, match=problem):
            await ws.close(1000, reason)
        assert ws.state is State.OPEN
        assert await peer.round_trip() == []


# Idempotent, from any task


@both_roles
async def test_close_from_several_tasks_closes_once(role: Role, carrier: Carrier) -> None:
    """R-A4e: also while another task receives."""
    async with carrier.scripted(role) as (ws, peer):

        async def receive() -> None:
            with pytest.raises(ConnectionClosed):
                await ws.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await settle()
            tasks.start_soon(ws.close, 4000, "first")
            await settle()
            for call in (ws.close, ws.aclose, ws.send_eof, ws.wait_closed, ws.aclose):
                tasks.start_soon(call)
            await settle()
            assert await peer.receive_close() == (4000, "first")
            await peer.send(close_frame(4000, "first"))
            if role == "server":
                assert await peer.receive_rest() == []
            await peer.drop()
        for call in (ws.close, ws.aclose, ws.send_eof, ws.wait_closed):
            await call()
        assert ws.close_code == 4000


async def test_block_of_the_connection_closes_it() -> None:
    """It is an `anyio.abc.AsyncResource`."""
    async with MEMORY.scripted("client") as (ws, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.answer_close)
        async with ws:
            pass
        assert ws.close_code == 1000


@both_roles
async def test_send_eof_closes_and_receiving_goes_on(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await ws.send_eof()
        assert ws.state is State.CLOSING
        await ws.send_eof()
        assert await peer.receive_close() == (1000, "")
        await peer.send(Frame(TEXT, b"on its way"), close_frame(1000))
        await peer.drop()
        assert [message async for message in ws] == ["on its way"]


async def test_send_eof_does_not_forestall_a_violation() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(PING), Frame(TEXT, b"unread"), Frame(3))
        assert await peer.receive() == Frame(PONG)
        await ws.send_eof()
        assert ws.state is State.OPEN
        assert await ws.receive() == "unread"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.answer_close)
            with pytest.raises(ConnectionClosedError):
                await ws.receive()


async def test_send_eof_works_while_a_large_message_waits() -> None:
    async with MEMORY.scripted("client", max_size=10) as (ws, peer):
        await peer.send(Frame(PING), Frame(TEXT, bytes(11)), close_frame(1000))
        assert await peer.receive() == Frame(PONG)
        await ws.send_eof()
        assert await peer.receive_close() == (1000, "")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.drop)
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.receive()
        assert isinstance(caught.value.__cause__, RemoteProtocolError)


async def test_iteration_does_not_end_as_if_all_had_come_if_a_message_was_dropped() -> None:
    """§7.1.7: too large a message after our Close frame and before the peer's, of code 1000."""
    async with MEMORY.scripted("client", max_size=10) as (ws, peer):
        await ws.send_eof()
        assert await peer.receive_close() == (1000, "")
        await peer.send(Frame(TEXT, b"first"), Frame(TEXT, bytes(11)), close_frame(1000))
        await peer.drop()
        messages: list[str | bytes] = []

        async def iterate() -> None:
            async for message in ws:
                messages.append(message)

        with pytest.raises(ConnectionClosedError) as caught:
            await iterate()
        assert messages == ["first"]
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        assert caught.value.code == 1000


async def test_close_frame_behind_what_is_streamed_after_the_end_changes_nothing() -> None:
    """The message was too large to be received whole, and what follows it was not looked at."""
    async with MEMORY.scripted("client", max_size=10) as (ws, peer):
        await peer.send(Frame(PING), Frame(BINARY, bytes(11)), close_frame(1000))
        assert await peer.receive() == Frame(PONG)
        await reset(ws, peer)
        await ws.pong()
        await ws.wait_closed()
        ended = ws.stats
        with anyio.fail_after(5):
            async with ws.receive_stream() as chunks:
                assert [chunk async for chunk in chunks] == [bytes(11)]
            assert ws.state is State.CLOSED
            await ws.close()
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
        assert ws.close_code == 1006
        assert ws.stats == replace(ended, received_messages=1)


async def test_second_large_message_that_is_streamed_after_the_end_changes_nothing() -> None:
    async with MEMORY.scripted("client", max_size=10) as (ws, peer):
        await peer.send(Frame(PING), Frame(BINARY, bytes(11)), Frame(BINARY, bytes(12)))
        assert await peer.receive() == Frame(PONG)
        await reset(ws, peer)
        await ws.pong()
        await ws.wait_closed()
        ended = ws.stats
        for n in (11, 12):
            async with ws.receive_stream() as chunks:
                assert [chunk async for chunk in chunks] == [bytes(n)]
        assert ws.state is State.CLOSED
        assert ws.stats == replace(ended, received_messages=2)


async def test_cancelled_wait_closed_changes_nothing() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with anyio.move_on_after(0):
            await ws.wait_closed()
        assert ws.state is State.OPEN
        assert await peer.round_trip() == []


async def test_cancelled_close_goes_on_in_the_background() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        with anyio.move_on_after(0):
            await ws.close()
        assert ws.state is State.CLOSING
        await peer.answer_close()
        await ws.wait_closed()
        assert ws.close_code == 1000


@both_roles
async def test_cancelled_aclose_ends_at_once(role: Role, carrier: Carrier) -> None:
    """R-A4c, R-A4d: the Close frame goes out if it can, and the cancellation is not swallowed."""
    async with carrier.scripted(role) as (ws, peer):
        with anyio.move_on_after(0) as scope:
            await ws.aclose()
        assert scope.cancelled_caught
        assert ws.state is State.CLOSED
        frames = await peer.receive_rest()
        assert frames in ([], [close_frame(1000)])
        if carrier.name != "memory":
            assert frames


# One deadline


async def do_nothing(ws: Connection, peer: RawPeer) -> None:
    """The peer is silent."""


async def fill_send_buffer(ws: Connection, peer: RawPeer) -> None:
    """The peer does not read."""
    await ws.send(bytes(1 << 20))


async def leave_messages_unread(ws: Connection, peer: RawPeer) -> None:
    """More has come than the inbox holds, and the peer goes on sending."""
    with anyio.move_on_after(1):
        while True:
            await peer.send(*[Frame(BINARY, bytes(1000))] * 100)


async def begin_message(ws: Connection, peer: RawPeer) -> None:
    """A fragmented message is under way."""
    await ws.send_stream().write(b"begun")


async def receive_half(ws: Connection, peer: RawPeer) -> None:
    """A message of the peer's is under way."""
    await peer.send(Frame(BINARY, b"begun", fin=False), Frame(PING))


async def meet_large_message(ws: Connection, peer: RawPeer) -> None:
    """A message above the limit waits."""
    await peer.stream.send(peer.encode(Frame(BINARY, bytes(2 << 20)))[:1000])
    await settle()


situations = pytest.mark.parametrize(
    "prepare",
    [
        do_nothing,
        fill_send_buffer,
        leave_messages_unread,
        begin_message,
        receive_half,
        meet_large_message,
    ],
)


@both_roles
@situations
@pytest.mark.parametrize("how", ["close", "aclose", "send_eof"])
@virtual_time
async def test_closing_takes_no_longer_than_close_timeout(
    role: Role, prepare: Callable[[Connection, RawPeer], Awaitable[None]], how: str
) -> None:
    """R-A4a."""
    async with TIMELESS.scripted(role, capacity=50_000, close_timeout=7) as (ws, peer):
        await prepare(ws, peer)
        start = anyio.current_time()
        if how == "send_eof":
            await ws.send_eof()
            await ws.wait_closed()
        else:
            await (ws.close() if how == "close" else ws.aclose())
        assert anyio.current_time() - start == pytest.approx(7)
        assert ws.state is State.CLOSED
        assert ws.close_code == 1006
        with pytest.raises(ConnectionClosedError) as caught:
            await receive_for_ever(ws)
        closed = caught.value
        assert isinstance(closed.__cause__, TimeoutError)
        assert str(closed.__cause__) == "the closing handshake took more than 7 s"
        assert closed.initiator == "local"
        assert closed.sent == (1000, "")


@both_roles
@virtual_time
async def test_deadline_is_one_for_all_phases(role: Role) -> None:
    """R-A4a: not a sum: here the peer answers late, and never ends the bytes."""
    async with (
        TIMELESS.scripted(role, close_timeout=7) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        start = anyio.current_time()
        tasks.start_soon(ws.close)
        await peer.receive_close()
        await anyio.sleep(6)
        await peer.send(close_frame(1000))
        await ws.wait_closed()
        assert anyio.current_time() - start == pytest.approx(7)
        assert ws.close_code == 1000


@both_roles
@virtual_time
async def test_failing_the_connection_has_a_deadline_too(role: Role) -> None:
    async with TIMELESS.scripted(role, close_timeout=7) as (ws, peer):
        start = anyio.current_time()
        await peer.send(Frame(3))
        with pytest.raises(ConnectionClosedError) as closed:
            await ws.receive()
        assert anyio.current_time() - start == pytest.approx(7)
        assert isinstance(closed.value.__cause__, RemoteProtocolError)


@both_roles
async def test_failed_connection_ends_by_itself_and_keeps_nothing_of_what_comes(role: Role) -> None:
    """R-C2: aiohttp #13655, on every loop: nobody receives, and the peer goes on sending."""

    async def send_on() -> None:
        while True:
            await peer.send(data)

    async with MEMORY.scripted(role, capacity=1 << 16, close_timeout=0.2) as (ws, peer):
        await peer.send(Frame(3))
        data = peer.encode(Frame(BINARY, bytes(50_000)))
        with traced() as peak:
            with pytest.raises(anyio.BrokenResourceError):
                await send_on()
            assert peak() < 1 << 20
        await ws.wait_closed()
        assert ws.stats.unread_bytes == 0
        with pytest.raises(ConnectionClosedError, match="unknown opcode 3"):
            await ws.receive()


@both_roles
async def test_close_timeout_holds_on_every_loop(role: Role, carrier: Carrier) -> None:
    """R-A4a."""
    async with carrier.scripted(role, capacity=1000, close_timeout=0.05) as (ws, _):
        await ws.send(bytes(8 << 20))
        await ws.close()
        assert ws.close_code == 1006


async def test_close_timeout_of_zero_waits_for_nothing() -> None:
    async with MEMORY.scripted("client", close_timeout=0) as (ws, _):
        await ws.close()
        assert ws.state is State.CLOSED


async def close_with_unread_messages(closer: Role, carrier: Carrier, n: int) -> float:
    """Close while so many messages wait, and more are on their way; return the seconds it took."""
    async with carrier.pair(capacity=1 << 17) as ends, anyio.create_task_group() as tasks:
        ours, theirs = ends if closer == "client" else ends[::-1]
        sent = 0

        async def send() -> None:
            nonlocal sent
            try:
                while True:
                    await theirs.send(b"unread")
                    sent += 1
            except ConnectionClosedOK:
                pass

        tasks.start_soon(send)
        while sent < n:
            await checkpoint()
        began = anyio.current_time()
        await ours.close()
        await theirs.wait_closed()
        seconds = anyio.current_time() - began
        assert ours.close_code == theirs.close_code == 1000
    return seconds


@pytest.mark.parametrize("closer", ["client", "server"])
async def test_close_with_10000_unread_messages_is_clean_and_quick(
    closer: Role, carrier: Carrier
) -> None:
    """R-A4b: code 1000 on both sides, in under a second."""
    assert await close_with_unread_messages(closer, carrier, 10_000) < 1


# What is said about it


Fault = Callable[[Connection, RawPeer], Awaitable[object]]


async def close_locally(ws: Connection, peer: RawPeer) -> None:
    """This side closes, the peer answers."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.answer_close)
        await ws.close(1000, "done")


async def close_locally_with_error(ws: Connection, peer: RawPeer) -> None:
    """This side closes with an error."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.answer_close)
        await ws.close(4000)


async def close_remotely(ws: Connection, peer: RawPeer) -> None:
    """The peer closes."""
    await peer.send(close_frame(1001, "bye"))
    await peer.answer_close()


async def close_remotely_with_error(ws: Connection, peer: RawPeer) -> None:
    """The peer closes with an error."""
    await peer.send(close_frame(1011, "oops"))
    await peer.answer_close()


async def close_remotely_without_code(ws: Connection, peer: RawPeer) -> None:
    """The peer closes with an empty Close frame."""
    await peer.send(close_frame())
    await peer.answer_close()


async def close_otherwise(ws: Connection, peer: RawPeer) -> None:
    """This side closes normally, the peer answers with an error of its own."""
    await ws.send_eof()
    await peer.receive_close()
    await peer.send(close_frame(1011))
    await peer.drop()


async def drop(ws: Connection, peer: RawPeer) -> None:
    """The byte stream ends."""
    await peer.drop()


async def drop_inside_a_frame(ws: Connection, peer: RawPeer) -> None:
    """The byte stream ends inside a frame."""
    await peer.stream.send(peer.encode(Frame(TEXT, bytes(100)))[:50])
    await peer.drop()


async def drop_unanswered(ws: Connection, peer: RawPeer) -> None:
    """The byte stream ends after our Close frame."""
    await ws.send_eof()
    await peer.receive_close()
    await peer.drop()


async def reset(ws: Connection, peer: RawPeer) -> None:
    """The byte stream breaks."""
    stream: ByteStream = peer.stream
    if isinstance(stream, TLSStream):
        assert isinstance(stream.transport_stream, SocketStream)
        stream = stream.transport_stream
    assert isinstance(stream, SocketStream | MemoryStream)
    stream.reset()


async def reset_while_sending(ws: Connection, peer: RawPeer) -> None:
    """The byte stream breaks under a full buffer."""
    await ws.send(bytes(8 << 20))
    await reset(ws, peer)


async def violate(ws: Connection, peer: RawPeer) -> None:
    """The peer breaks the protocol."""
    await peer.send(Frame(3))
    await peer.answer_close()


async def violate_and_leave(ws: Connection, peer: RawPeer) -> None:
    """The peer breaks the protocol and is gone."""
    await peer.send(Frame(3))
    await peer.drop()


async def abort(ws: Connection, peer: RawPeer) -> None:
    """This side is cancelled while it closes."""
    await anyio.aclose_forcefully(ws)


async def abandon_message(ws: Connection, peer: RawPeer) -> None:
    """This side abandons a message."""
    with pytest.raises(TypeError):
        await ws.send(["x", b"y"])
    await peer.receive()
    await peer.answer_close()


@dataclass(frozen=True)
class Ending:
    """What a `ConnectionClosed` has to say."""

    fault: Fault
    ok: bool
    sent: int | None
    received: int | None
    initiator: str
    cause: type[Exception] | tuple[type[Exception], ...] | None = None


BROKEN = (OSError, anyio.BrokenResourceError, EOFError, ssl.SSLError)

ENDINGS = [
    Ending(close_locally, True, 1000, 1000, "local"),
    Ending(close_locally_with_error, False, 4000, 4000, "local"),
    Ending(close_remotely, True, 1001, 1001, "remote"),
    Ending(close_remotely_with_error, False, 1011, 1011, "remote"),
    Ending(close_remotely_without_code, True, 1005, 1005, "remote"),
    Ending(close_otherwise, False, 1000, 1011, "local"),
    Ending(drop, False, None, None, "transport", EOFError),
    Ending(drop_inside_a_frame, False, None, None, "transport", EOFError),
    Ending(drop_unanswered, False, 1000, None, "local", EOFError),
    Ending(reset, False, None, None, "transport", BROKEN),
    Ending(reset_while_sending, False, None, None, "transport", BROKEN),
    Ending(violate, False, 1002, None, "local", RemoteProtocolError),
    Ending(violate_and_leave, False, 1002, None, "local", RemoteProtocolError),
    Ending(abort, False, 1000, None, "local"),
    Ending(abandon_message, False, 1011, 1011, "local", LocalProtocolError),
]


@both_roles
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.fault.__name__)
async def test_end_is_told_honestly_and_alike_by_every_call(
    role: Role, ending: Ending, carrier: Carrier
) -> None:
    """R-B1: sent, received, initiator, cause; no other type of exception from any call."""
    async with carrier.scripted(role, capacity=1 << 16) as (ws, peer):
        await ending.fault(ws, peer)
        await ws.wait_closed()

        async def fragmented() -> None:
            async with ws.send_stream() as writer:
                await writer.write(b"x")

        async def stream() -> None:
            # What came of a message may be had; that it is not the whole is said then.
            async with ws.receive_stream() as chunks:
                [chunk async for chunk in chunks]

        calls: list[Callable[[], Awaitable[object]]] = [
            ws.receive,
            ws.receive_text,
            ws.receive_bytes,
            lambda: ws.send("x"),
            lambda: ws.send(["x"]),
            ws.ping,
            ws.pong,
            fragmented,
            stream,
        ]
        for call in calls:
            with pytest.raises(ConnectionClosed) as caught:
                await call()
            closed = caught.value
            assert type(closed) is (ConnectionClosedOK if ending.ok else ConnectionClosedError)
            assert isinstance(closed, anyio.EndOfStream) is ending.ok
            assert isinstance(closed, anyio.BrokenResourceError) is not ending.ok
            assert (closed.sent and closed.sent.code) == ending.sent
            assert (closed.received and closed.received.code) == ending.received
            assert closed.initiator == ending.initiator
            assert closed.code == ws.close_code == (ending.received or 1006)
            assert closed.reason == ws.close_reason
            if ending.cause is None:
                assert closed.__cause__ is None
            else:
                assert isinstance(closed.__cause__, ending.cause)
        for call in (ws.close, ws.aclose, ws.send_eof, ws.wait_closed):
            await call()


@both_roles
@pytest.mark.parametrize(
    "ending",
    [ending for ending in ENDINGS if ending.fault not in (abandon_message, reset_while_sending)],
    ids=lambda ending: ending.fault.__name__,
)
async def test_calls_that_wait_end_with_the_connection(role: Role, ending: Ending) -> None:
    """R-B1: nothing but exceptions of ours comes out of them, and none waits for ever."""
    async with MEMORY.scripted(role, capacity=1 << 16) as (ws, peer):
        raised: list[BaseException] = []

        async def call(function: Callable[[], Awaitable[object]]) -> None:
            try:
                await function()
            except BaseException as exc:
                raised.append(exc)

        async with anyio.create_task_group() as tasks:
            for function in (ws.receive, ws.ping, ws.wait_closed):
                tasks.start_soon(call, function)
            await settle()
            assert (await peer.receive()).opcode == PING
            await ending.fault(ws, peer)
        assert len(raised) == 2
        assert all(isinstance(exc, WebSocketError) for exc in raised)
        assert len({str(exc) for exc in raised}) == 1


async def test_garbage_in_tls_is_a_broken_connection(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    """R-B1: an error of `ssl` is the cause, never what is raised."""
    async with Carrier("tls", server_ssl, client_ssl).scripted("client") as (ws, peer):
        assert isinstance(peer.stream, TLSStream)
        await peer.stream.transport_stream.send(b"this is no TLS record at all")
        with pytest.raises(ConnectionClosedError) as closed:
            await ws.receive()
        assert isinstance(closed.value.__cause__, ssl.SSLError)
        assert closed.value.initiator == "transport"


@both_roles
async def test_violation_while_closing_is_the_cause(role: Role) -> None:
    async with MEMORY.scripted(role) as (ws, peer):
        await ws.send_eof()
        await peer.receive_close()
        await peer.send(Frame(TEXT, b"last"), Frame(3))
        await peer.drop()
        assert await ws.receive() == "last"
        with pytest.raises(ConnectionClosedError) as closed:
            await ws.receive()
        assert closed.value.sent == (1000, "")
        assert isinstance(closed.value.__cause__, RemoteProtocolError)


async def test_large_message_that_was_not_read_does_not_hide_the_end(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    """R-B1: over TLS, where the end may come in the same read."""
    async with Carrier("tls", server_ssl, client_ssl).scripted("client", max_size=10) as (ws, peer):
        await peer.send(Frame(BINARY, bytes(11)))
        await peer.drop()
        await ws.close()
        with pytest.raises(ConnectionClosedError) as closed:
            await ws.receive()
        assert closed.value.__cause__ is not None


async def test_reason_of_a_failure_is_cut_to_what_fits() -> None:
    """§5.5: 123 bytes, and no torn character."""
    async with MEMORY.scripted("client") as (ws, peer):
        ws._fail(1011, "é" * 100, ValueError("a cause"))
        assert await peer.answer_close() == (1011, "é" * 61)
        await ws.wait_closed()


async def test_close_frame_is_the_last(carrier: Carrier) -> None:
    """§5.5.1: nothing follows it, whatever is called."""
    async with carrier.scripted("server") as (ws, peer):
        await ws.send_eof()
        for call in (lambda: ws.send("x"), ws.ping, ws.pong, ws.close, ws.send_eof):
            with anyio.move_on_after(0):
                await call()
        await peer.send(Frame(PING), close_frame(1000))
        frames = await peer.receive_rest()
        assert [frame.opcode for frame in frames] == [CLOSE]


@both_roles
async def test_the_end_is_seen_without_receiving(role: Role, carrier: Carrier) -> None:
    """R-A10b: `wait_closed` is enough; what came before can still be received."""
    async with carrier.scripted(role) as (ws, peer), anyio.create_task_group() as tasks:
        waited: list[str] = []

        async def wait() -> None:
            await ws.wait_closed()
            waited.append(ws.state.value)

        for _ in range(3):
            tasks.start_soon(wait)
        await peer.send(Frame(TEXT, b"1"), Frame(TEXT, b"2"), close_frame(4000, "enough"))
        assert await peer.receive_close() == (4000, "enough")
        await peer.drop()
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (4000, "enough")
        assert [await ws.receive(), await ws.receive()] == ["1", "2"]
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
    assert waited == ["closed"] * 3
