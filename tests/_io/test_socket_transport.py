"""Tests of `anyws._io.socket_transport` on the reactor of each loop, and of TLS over it."""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket as Socket

import pytest
from anyio.abc import SocketAttribute

from anyws._io import socket_transport
from anyws._io.reactors import new_reactor
from anyws._io.socket_transport import SocketTransport
from anyws._io.transport import HOLD_AT_MOST, READ_SIZE, Reactor

from .conformance import (
    HUGE,
    Check,
    Recorder,
    check_transport,
    linked,
    settle,
    tcp_pair,
    wire_sockets,
)
from .reactor_conformance import drain, fill, running, socket_pair

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def paired(
    kind: int = stdlib_socket.SOCK_STREAM,
) -> AsyncIterator[tuple[SocketTransport, Recorder, Socket, Socket]]:
    """Give a transport that is started, its recorder, its socket and its peer's."""
    async with running(new_reactor()) as reactor:
        with socket_pair(kind) as (ours, theirs):
            transport = SocketTransport(reactor, ours)
            recorder = Recorder()
            transport.start(recorder)
            try:
                yield transport, recorder, ours, theirs
            finally:
                transport.abort()
    assert recorder.problems == []


@check_transport
async def test_contract_of_a_transport_is_kept(check: Check) -> None:
    async with linked(new_reactor(), wire_sockets) as link:
        await check(link)


@check_transport
async def test_contract_of_a_transport_is_kept_under_tls(
    check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire_sockets, (server_ssl, client_ssl)) as link:
        await check(link)


# Writing


async def test_writes_of_one_step_leave_in_two_calls() -> None:
    # Sockets of this kind keep apart what was sent by different calls.
    async with paired(stdlib_socket.SOCK_SEQPACKET) as (transport, _, _, theirs):
        transport.write(b"1", b"2")
        assert theirs.recv(100) == b"12"
        for n in range(3, 10):
            transport.write(b"%d" % n)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
        transport.flush()
        assert theirs.recv(100) == b"3456789"
        transport.write(b"next step")
        assert theirs.recv(100) == b"next step"


async def test_writes_that_are_held_leave_when_the_step_ends() -> None:
    async with paired(stdlib_socket.SOCK_SEQPACKET) as (transport, _, _, theirs):
        for n in range(5):
            transport.write(b"%d" % n)
        await settle()
        assert theirs.recv(100) == b"0"
        assert theirs.recv(100) == b"1234"


async def test_64_kib_leave_though_the_step_goes_on() -> None:
    async with paired(stdlib_socket.SOCK_SEQPACKET) as (transport, _, _, theirs):
        transport.write(b"1")
        for _ in range(HOLD_AT_MOST // 1024):
            transport.write(bytes(1024))
        assert theirs.recv(100) == b"1"
        assert theirs.recv(2 * HOLD_AT_MOST) == bytes(HOLD_AT_MOST)


@pytest.mark.parametrize("has_sendmsg", [True, False], ids=["sendmsg", "send"])
async def test_many_buffers_leave_in_order(
    has_sendmsg: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows has no `sendmsg`.
    monkeypatch.setattr(socket_transport, "_HAS_SENDMSG", has_sendmsg)
    buffers = [bytes([n % 256]) * (n % 997) for n in range(1000)]
    whole = b"".join(buffers)
    received = bytearray()
    async with paired() as (transport, recorder, _, theirs):
        transport.write(*buffers)
        transport.write(b"end")
        while len(received) < len(whole) + 3:
            received += drain(theirs)
            await settle()
        assert transport.unsent == 0
        assert recorder.calls == ["drained"]
    assert received == whole + b"end"


class Place:
    """A receiver with a place of its own for some bytes."""

    def __init__(self, transport: SocketTransport, size: int) -> None:
        self.transport = transport
        self.place = bytearray(size)
        self.filled_bytes = 0

    def room(self) -> memoryview | None:
        if self.filled_bytes == len(self.place):
            return None
        return memoryview(self.place)[self.filled_bytes :]

    def filled(self, n: int) -> None:
        self.filled_bytes += n


async def test_bytes_are_read_to_the_place_that_is_given() -> None:
    async with paired() as (transport, recorder, _, theirs):
        place = Place(transport, 1000)
        transport.direct = place
        for _ in range(2):
            theirs.sendall(b"x" * 400)
            await settle()
        assert (place.filled_bytes, recorder.calls) == (800, [])
        theirs.sendall(b"x" * 200 + b"rest")
        await recorder.until_bytes(4)
        assert place.place == b"x" * 1000
        assert recorder.data == b"rest", "there was no room any more"


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_end_is_told_to_the_receiver_though_bytes_go_elsewhere(how: str) -> None:
    async with paired() as (transport, recorder, _, theirs):
        transport.direct = Place(transport, 1000)
        if how == "reset":
            transport.write(b"unread")
        theirs.close()
        await recorder.until_call("eof" if how == "end" else "lost")


async def test_last_bytes_and_the_end_are_one_segment_on_the_wire() -> None:
    ours, theirs = tcp_pair()
    with theirs:
        async with running(new_reactor()) as reactor:
            transport = SocketTransport(reactor, ours)
            transport.start(Recorder())
            transport.write(b"first")
            transport.write(b"last")
            transport.write_eof()
            theirs.setblocking(True)
            received = b""
            while piece := theirs.recv(100):
                received += piece
            assert received == b"firstlast"
            transport.abort()


async def test_write_is_kept_while_the_kernel_takes_nothing() -> None:
    async with paired() as (transport, recorder, ours, theirs):
        filled = fill(ours)
        transport.write(b"kept")
        assert transport.unsent == 4
        await settle()
        assert transport.unsent == 4
        received = bytearray()
        while len(received) < filled + 4:
            received += drain(theirs)
            await settle()
        assert received.endswith(b"kept")
        assert transport.unsent == 0
        assert recorder.calls == []


async def test_drained_is_not_called_after_a_large_write_that_the_kernel_took() -> None:
    async with paired() as (transport, recorder, ours, theirs):
        transport.set_low_water(1000)
        transport.write(bytes(2000), bytes(2000))
        assert transport.unsent == 0
        fill(ours)
        transport.flush()
        transport.write(b"x" * 500)
        assert transport.unsent == 500
        while transport.unsent:
            drain(theirs)
            await settle()
        assert recorder.calls == []


async def test_small_tcp_segments_are_not_delayed() -> None:
    ours, theirs = tcp_pair()
    with theirs:
        transport = SocketTransport(new_reactor(), ours)
        option = ours.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)
        transport.abort()
    assert option != 0


# Callbacks in vain


async def test_nothing_happens_if_the_bytes_are_gone_when_they_are_to_be_read() -> None:
    async with paired() as (transport, recorder, ours, theirs):
        with _Before(transport.reactor, lambda: ours.recv(100)) as ready:
            await settle()
            ready()
            theirs.send(b"stolen")
            await settle()
        theirs.send(b"left")
        await recorder.until_bytes(4)
        assert recorder.data == b"left"


async def test_nothing_happens_if_the_room_is_gone_when_it_is_to_be_used() -> None:
    async with paired() as (transport, recorder, ours, theirs):
        fill(ours)
        transport.write(b"kept")
        with _Before(transport.reactor, lambda: fill(ours)) as ready:
            await settle()
            ready()
            drain(theirs)
            await settle()
        assert transport.unsent == 4
        while transport.unsent:
            drain(theirs)
            await settle()
        assert recorder.calls == []


# Ends


@pytest.mark.parametrize("waiting", [False, True], ids=["nothing unsent", "bytes unsent"])
async def test_last_bytes_of_the_peer_are_read_though_a_write_has_failed(waiting: bool) -> None:
    last = HUGE[: 2 * READ_SIZE]
    async with paired() as (transport, recorder, _, theirs):
        if waiting:
            transport.write(HUGE)
        else:
            transport.write(b"unread")
        transport.flush()
        theirs.send(last)
        theirs.close()
        if not waiting:
            # Each fails in another way.
            for _ in range(3):
                transport.write(b"x")
                transport.flush()
        await recorder.until_call("lost")
        assert recorder.data == last
        assert isinstance(recorder.lost_by, OSError)
        assert transport.unsent == 0


async def test_end_comes_at_once_if_reading_is_paused_when_a_write_fails() -> None:
    async with paired() as (transport, recorder, _, theirs):
        transport.pause_reading()
        theirs.send(b"unread")
        theirs.close()
        transport.write(b"x")
        assert recorder.calls == []
        await recorder.until_call("lost")
        assert recorder.calls == ["lost"]
        assert isinstance(recorder.lost_by, BrokenPipeError)


async def test_end_comes_at_once_if_reading_is_paused_after_a_write_has_failed() -> None:
    async with paired() as (transport, recorder, _, theirs):
        recorder.on_feed = transport.pause_reading
        theirs.send(HUGE[: 2 * READ_SIZE])
        theirs.close()
        transport.write(b"x")
        await recorder.until_call("lost")
        assert recorder.calls == ["feed", "lost"]
        assert recorder.feeds == 1
        assert isinstance(recorder.lost_by, BrokenPipeError)


async def test_write_that_fails_after_the_end_of_reading_is_told() -> None:
    async with paired() as (transport, recorder, _, theirs):
        theirs.shutdown(stdlib_socket.SHUT_WR)
        await recorder.until_call("eof")
        theirs.close()
        transport.write(b"x")
        await recorder.until_call("lost")
        assert recorder.calls == ["eof", "lost"]
        assert isinstance(recorder.lost_by, BrokenPipeError)


async def test_write_that_fails_is_told_by_nothing_but_an_abort_in_the_same_step() -> None:
    async with paired() as (transport, recorder, _, theirs):
        theirs.close()
        transport.write(b"x")
        transport.abort()
        await settle()
        assert recorder.calls == ["lost"]


async def test_half_close_of_a_socket_that_is_gone_is_told_by_reading() -> None:
    ours, theirs = tcp_pair()
    async with running(new_reactor()) as reactor:
        transport = SocketTransport(reactor, ours)
        recorder = Recorder()
        # A second shutdown of a socket that is not connected any more fails.
        ours.shutdown(stdlib_socket.SHUT_WR)
        theirs.close()
        transport.write_eof()
        transport.start(recorder)
        await recorder.until_call("eof")
        transport.write_eof()
        transport.abort()
    assert recorder.calls == ["eof", "lost"]


async def test_socket_that_was_reset_before_it_is_served_has_no_remote_address() -> None:
    ours, theirs = tcp_pair()
    theirs.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0" + b"\0\0\0\0")
    theirs.close()
    async with running(new_reactor()) as reactor:
        transport = SocketTransport(reactor, ours)
        assert SocketAttribute.local_address in transport.attributes
        assert SocketAttribute.remote_address not in transport.attributes
        recorder = Recorder()
        transport.start(recorder)
        await recorder.until_call("lost")
        assert isinstance(recorder.lost_by, ConnectionResetError)


# Attributes


async def test_raw_socket_is_known_until_the_transport_is_closed() -> None:
    async with paired() as (transport, _, ours, _):
        assert transport.attributes[SocketAttribute.raw_socket]() is ours
        transport.abort()
        assert SocketAttribute.raw_socket not in transport.attributes


async def test_addresses_of_a_unix_socket_are_paths_and_there_are_no_ports(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Socket(stdlib_socket.AF_UNIX) as listening, Socket(stdlib_socket.AF_UNIX) as ours:
        listening.bind(path)
        listening.listen()
        ours.connect(path)
        transport = SocketTransport(new_reactor(), ours)
        known = {name: ask() for name, ask in transport.attributes.items()}
        transport.abort()
    assert known == {
        SocketAttribute.family: stdlib_socket.AF_UNIX,
        SocketAttribute.raw_socket: ours,
        SocketAttribute.local_address: "",
        SocketAttribute.remote_address: path,
    }


async def test_addresses_of_an_ipv6_socket_are_hosts_and_ports() -> None:
    with stdlib_socket.create_server(("::1", 0), family=stdlib_socket.AF_INET6) as listening:
        where = listening.getsockname()
        ours = stdlib_socket.create_connection(where[:2])
        transport = SocketTransport(new_reactor(), ours)
        transport.abort()
    attributes = transport.attributes
    assert attributes[SocketAttribute.remote_address]() == ("::1", where[1])
    assert attributes[SocketAttribute.remote_port]() == where[1]
    assert attributes[SocketAttribute.family]() == stdlib_socket.AF_INET6


class _Before:
    """Runs an action ahead of the callbacks of sockets that become ready after `ready()`."""

    def __init__(self, reactor: Reactor, action: Callable[[], object]) -> None:
        self._reactor = reactor
        self._action = action
        self._ours, self._theirs = stdlib_socket.socketpair()
        self._done = False

    def __enter__(self) -> Callable[[], object]:
        self._reactor.add_reader(self._ours, self._act)
        return lambda: self._theirs.send(b"x")

    def _act(self) -> None:
        self._ours.recv(100)
        self._done = True
        with suppress(BlockingIOError):
            self._action()

    def __exit__(self, *exc_info: object) -> None:
        self._reactor.remove_reader(self._ours)
        self._ours.close()
        self._theirs.close()
        assert self._done
