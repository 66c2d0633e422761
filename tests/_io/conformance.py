"""The contract of `anyws/_io/transport.py`, as one suite that every driver passes.

A module of a driver wires a transport to a peer, and takes the suite with `check_transport`:

    @check_transport
    async def test_driver_keeps_the_contract(check: Check) -> None:
        async with linked(new_reactor(), wire_sockets) as link:
            await check(link)

The peer is anyio's own stream, or a stream in memory, so nothing of ours is at the other end.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from socket import socket as Socket
from typing import TypeAlias

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute, TLSStream

from anyws._io.bytestream import ByteStreamTransport
from anyws._io.socket_transport import SocketTransport
from anyws._io.tls import TLSTransport
from anyws._io.transport import Reactor, Transport
from anyws.testing import MemoryStream, memory_pair

__all__ = [
    "HUGE",
    "Check",
    "Contexts",
    "Link",
    "Recorder",
    "Wiring",
    "add_tls",
    "check_transport",
    "linked",
    "settle",
    "tcp_pair",
    "wire_memory",
    "wire_sockets",
    "wire_streams",
]

# 32 KiB in the kernel at each end, so that a peer that does not read is felt soon.
KERNEL_BUFFER = 32 * 1024

# 1 MiB: more than any buffer below a transport takes here.
HUGE = bytes(range(256)) * 4096

# Seconds until a check counts as stuck: far above what any takes on a busy machine.
STUCK = 60.0


class Recorder:
    """A receiver that writes down what it is told, and whether that kept to the contract.

    Attributes:
        data: the bytes that were fed.
        feeds: how many times.
        calls: the names of the calls, with repetitions of `feed` left out.
        lost_by: the exception that `lost` was called with.
        problems: breaches of the contract.
        on_feed, on_eof: called in `feed` and `eof`, after they have been noted.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.feeds = 0
        self.calls: list[str] = []
        self.lost_by: Exception | None = None
        self.problems: list[str] = []
        self.on_feed: Callable[[], object] = lambda: None
        self.on_eof: Callable[[], object] = lambda: None
        self._news = anyio.Event()

    @property
    def is_lost(self) -> bool:
        return "lost" in self.calls

    def feed(self, data: bytes) -> None:
        if type(data) is not bytes or not data:
            self.problems.append(f"fed {data!r}")
        if "eof" in self.calls:
            self.problems.append("fed after eof")
        self.data += data
        self.feeds += 1
        self._note("feed")
        self.on_feed()

    def eof(self) -> None:
        if "eof" in self.calls:
            self.problems.append("eof twice")
        self._note("eof")
        self.on_eof()

    def lost(self, exc: Exception | None) -> None:
        self.lost_by = exc
        self._note("lost")

    def drained(self) -> None:
        self._note("drained")

    def _note(self, call: str) -> None:
        if self.is_lost:
            self.problems.append(f"{call} after lost")
        if call != "feed" or self.calls[-1:] != ["feed"]:
            self.calls.append(call)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that is noted makes `condition` true."""
        while not condition():
            await self._news.wait()

    async def until_call(self, name: str) -> None:
        await self.until(lambda: name in self.calls)

    async def until_bytes(self, n: int) -> None:
        await self.until(lambda: len(self.data) >= n)


@dataclass
class Link:
    """A transport under test, what it tells, and its peer.

    Attributes:
        transport: connected, and not started.
        recorder: to start it with.
        peer: the other end, with TLS if the transport has it.
        wire: the other end without TLS.
        cancel_run: cancels `run` and waits for its end.
    """

    transport: Transport
    recorder: Recorder
    peer: ByteStream
    wire: ByteStream
    cancel_run: Callable[[], Awaitable[None]]

    def start(self) -> None:
        self.transport.start(self.recorder)

    def fill(self) -> bytes:
        """Write more than the layers below take; return what was written."""
        self.transport.write(HUGE)
        self.transport.flush()
        assert self.transport.unsent > 0
        return HUGE

    async def reset(self) -> None:
        """End the peer as a crash does."""
        if isinstance(self.wire, MemoryStream):
            self.wire.reset()
        else:
            sock = self.wire.extra(SocketAttribute.raw_socket)
            # Lingering for 0 s: closing sends a reset.
            no_linger = struct.pack("ii", 1, 0)
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, no_linger)
            await anyio.aclose_forcefully(self.wire)

    async def end_peer(self) -> None:
        """Half-close at the peer."""
        stream = self.peer
        while isinstance(stream, TLSStream):
            # anyio's TLS has no half-close, so this says goodbye in its name.
            with suppress(ssl.SSLWantReadError):
                stream.extra(TLSAttribute.ssl_object).unwrap()
            below = stream.transport_stream
            assert isinstance(below, ByteStream)
            await below.send(stream._write_bio.read())
            stream = below
        await stream.send_eof()

    async def peer_receives(self, n: int) -> bytes:
        """Receive exactly so many bytes at the peer."""
        received = bytearray()
        while len(received) < n:
            received += await self.peer.receive(n - len(received))
        return bytes(received)

    async def peer_receives_all(self) -> bytes:
        """Receive at the peer until there is no more, for whatever reason."""
        received = bytearray()
        try:
            while True:
                received += await self.peer.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLZeroReturnError):
            return bytes(received)

    async def peer_sends(self, data: bytes) -> None:
        """Send from the peer, as far as the transport lets it."""
        try:
            await self.peer.send(data)
        except anyio.BrokenResourceError:
            pass


#: Makes a transport on a reactor, and its peer.
Wiring: TypeAlias = Callable[[Reactor], Awaitable[tuple[Transport, ByteStream]]]

#: The contexts of a server and a client.
Contexts: TypeAlias = tuple[ssl.SSLContext, ssl.SSLContext]

Check: TypeAlias = Callable[[Link], Awaitable[None]]


async def settle() -> None:
    """Let everything happen that can happen now, sockets included."""
    for _ in range(20):
        await checkpoint()


def tcp_pair() -> tuple[Socket, Socket]:
    """Return two connected TCP sockets with small buffers."""
    with Socket(stdlib_socket.AF_INET) as listening:
        listening.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, KERNEL_BUFFER)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        ours = Socket(stdlib_socket.AF_INET)
        ours.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, KERNEL_BUFFER)
        ours.connect(listening.getsockname())
        theirs, _ = listening.accept()
    return ours, theirs


async def wire_sockets(reactor: Reactor) -> tuple[Transport, ByteStream]:
    """Wire a `SocketTransport`."""
    ours, theirs = tcp_pair()
    return SocketTransport(reactor, ours), await SocketStream.from_socket(theirs)


async def wire_memory(reactor: Reactor) -> tuple[Transport, ByteStream]:
    """Wire a `ByteStreamTransport` over memory."""
    ours, theirs = memory_pair(KERNEL_BUFFER)
    return ByteStreamTransport(reactor, ours), theirs


async def wire_streams(reactor: Reactor) -> tuple[Transport, ByteStream]:
    """Wire a `ByteStreamTransport` over anyio's stream of a socket."""
    ours, theirs = tcp_pair()
    stream = await SocketStream.from_socket(ours)
    return ByteStreamTransport(reactor, stream), await SocketStream.from_socket(theirs)


@asynccontextmanager
async def linked(
    reactor: Reactor,
    wire: Wiring,
    contexts: Contexts | None = None,
    *,
    is_client: bool = False,
) -> AsyncIterator[Link]:
    """Link a transport and a peer, with TLS if there are contexts.

    `is_client` says which end of the TLS session the transport is. In the end everything is
    closed, and the recorder must have seen no breach of the contract.
    """
    run_scope = anyio.CancelScope()
    run_ended = anyio.Event()

    async def run() -> None:
        with run_scope:
            await transport.run()
        run_ended.set()

    async def cancel_run() -> None:
        run_scope.cancel()
        await run_ended.wait()

    recorder = Recorder()
    with anyio.fail_after(STUCK):
        async with anyio.create_task_group() as tasks:
            if reactor.needs_task:
                tasks.start_soon(reactor.run)
            transport, raw = await wire(reactor)
            tasks.start_soon(run)
            peer = raw
            if contexts is not None:
                transport, peer = await add_tls(transport, raw, contexts, is_client)
                await settle()  # the session tickets are out before anything else happens
            try:
                yield Link(transport, recorder, peer, raw, cancel_run)
            finally:
                transport.abort()
                await anyio.aclose_forcefully(raw)
                await run_ended.wait()
                tasks.cancel_scope.cancel()
    assert recorder.problems == []


async def add_tls(
    inner: Transport, raw: ByteStream, contexts: Contexts, is_client: bool
) -> tuple[TLSTransport, TLSStream]:
    """Do the handshake of TLS at both ends."""
    host = "localhost"
    peers: list[TLSStream] = []

    async def wrap_peer() -> None:
        peers.append(
            await TLSStream.wrap(
                raw,
                server_side=is_client,
                hostname=None if is_client else host,
                ssl_context=contexts[not is_client],
                standard_compatible=False,
            )
        )

    transport = TLSTransport(inner, contexts[is_client], host if is_client else None)
    async with anyio.create_task_group() as shaking:
        shaking.start_soon(wrap_peer)
        shaking.start_soon(transport.handshake)
    return transport, peers[0]


# The contract


async def bytes_arrive_whole_and_in_order_in_both_directions(link: Link) -> None:
    random = Random(6455)
    pieces = [random.randbytes(random.randrange(1, 40_000)) for _ in range(40)]
    whole = b"".join(pieces)

    async def send_from_the_peer() -> None:
        for piece in pieces:
            await link.peer.send(piece)

    link.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_from_the_peer)
        for piece in pieces:
            link.transport.write(piece)
        assert await link.peer_receives(len(whole)) == whole
        await link.recorder.until_bytes(len(whole))
    assert link.recorder.data == whole


async def bytes_that_come_one_at_a_time_arrive(link: Link) -> None:
    link.start()
    if isinstance(link.peer, TLSStream):
        link.peer.transport_stream = _OneByOne(link.wire)
        await link.peer.send(bytes(range(200)))
    else:
        await _OneByOne(link.wire).send(bytes(range(200)))
    await link.recorder.until_bytes(200)
    assert link.recorder.data == bytes(range(200))
    assert link.recorder.feeds > 1 or link.peer is not link.wire


async def several_buffers_of_a_write_arrive_in_order(link: Link) -> None:
    link.start()
    buffers = [b"%03d" % n for n in range(200)]
    link.transport.write(*buffers[:100])
    link.transport.write(*buffers[100:])
    assert await link.peer_receives(600) == b"".join(buffers)


async def writes_are_not_held_back_once_the_task_waits(link: Link) -> None:
    link.start()
    for n in range(10):
        link.transport.write(b"%d" % n)
    assert link.transport.unsent > 0
    assert await link.peer_receives(10) == b"0123456789"
    await settle()
    assert link.transport.unsent == 0


async def writes_from_within_feed_arrive(link: Link) -> None:
    link.recorder.on_feed = lambda: link.transport.write(b"heard ", b"you")
    link.start()
    for _ in range(3):
        await link.peer.send(b"?")
        assert await link.peer_receives(9) == b"heard you"


async def write_takes_everything_though_the_peer_does_not_read(link: Link) -> None:
    link.start()
    whole = link.fill()
    link.transport.write(b"more")
    await settle()
    assert link.transport.unsent > 4
    assert await link.peer_receives(len(whole) + 4) == whole + b"more"
    await settle()
    assert link.transport.unsent == 0


async def drained_is_called_when_unsent_falls_below_low_water(link: Link) -> None:
    calls = link.recorder.calls
    link.transport.set_low_water(1000)
    link.start()
    for n in range(2):
        whole = link.fill()
        await settle()
        assert link.transport.unsent >= 1000
        assert calls == ["drained"] * n
        await link.peer_receives(len(whole))
        await link.recorder.until(lambda: len(calls) == n + 1)  # noqa: B023  # awaited here
        assert link.transport.unsent < 1000
    assert calls == ["drained", "drained"]


async def drained_is_called_for_what_was_written_before_low_water_was_set(link: Link) -> None:
    link.transport.set_low_water(1 << 40)
    link.start()
    whole = link.fill()
    await settle()
    link.transport.set_low_water(1000)
    await link.peer_receives(len(whole))
    await link.recorder.until_call("drained")
    assert link.transport.unsent < 1000


async def drained_is_not_called_if_unsent_was_always_below_low_water(link: Link) -> None:
    link.transport.set_low_water(1000)
    link.start()
    for _ in range(3):
        link.transport.write(b"x" * 100)
        link.transport.write(b"x" * 100)
        await link.peer_receives(200)
    await settle()
    assert link.recorder.calls == []


async def paused_reading_pushes_once_more_at_most(link: Link) -> None:
    link.start()
    await link.peer.send(b"0")
    await link.recorder.until_bytes(1)
    link.transport.pause_reading()
    link.transport.pause_reading()
    for _ in range(9):
        await link.peer.send(b"1")
        await settle()
    assert link.recorder.feeds <= 2
    link.transport.resume_reading()
    link.transport.resume_reading()
    await link.recorder.until_bytes(10)
    assert link.recorder.data == b"0111111111"


async def reading_paused_from_within_feed_pushes_once_more_at_most(link: Link) -> None:
    recorder = link.recorder
    recorder.on_feed = link.transport.pause_reading
    link.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.peer.send, HUGE)
        while len(recorder.data) < len(HUGE):
            feeds = recorder.feeds
            await recorder.until(lambda: recorder.feeds > feeds)  # noqa: B023  # awaited here
            await settle()
            assert recorder.feeds <= feeds + 2
            link.transport.resume_reading()
    assert recorder.data == HUGE


async def receiver_may_be_replaced(link: Link) -> None:
    link.start()
    await link.peer.send(b"first")
    await link.recorder.until_bytes(5)
    other = link.transport.receiver = Recorder()
    await link.peer.send(b"second")
    await other.until_bytes(6)
    link.transport.abort()
    assert link.recorder.calls == ["feed"]
    assert link.recorder.data == b"first"
    assert other.calls == ["feed", "lost"]
    assert other.data == b"second"
    assert other.problems == []


async def half_close_by_the_peer_leaves_writing_open(link: Link) -> None:
    link.start()
    await link.peer.send(b"last")
    await link.end_peer()
    await link.recorder.until_call("eof")
    assert link.recorder.data == b"last"
    # Nothing comes any more, and these do not matter.
    link.transport.pause_reading()
    link.transport.resume_reading()
    whole = link.fill()
    assert await link.peer_receives(len(whole)) == whole
    await settle()
    assert link.recorder.calls[:2] == ["feed", "eof"]
    assert "lost" not in link.recorder.calls


async def half_close_by_us_comes_behind_what_is_written_and_leaves_reading_open(link: Link) -> None:
    link.start()
    whole = link.fill()
    link.transport.write(b"end")
    link.transport.write_eof()
    link.transport.write(b"ignored")
    link.transport.write_eof()
    assert await link.peer_receives_all() == whole + b"end"
    await link.peer.send(b"answer")
    await link.recorder.until_bytes(6)
    assert link.recorder.data == b"answer"
    assert link.transport.unsent == 0
    assert "lost" not in link.recorder.calls


async def half_close_from_within_feed_leaves_reading_open(link: Link) -> None:
    link.recorder.on_feed = link.transport.write_eof
    link.start()
    await link.peer.send(HUGE)
    await link.recorder.until_bytes(len(HUGE))
    assert link.recorder.data == HUGE
    assert await link.peer_receives_all() == b""


async def both_halves_can_be_closed(link: Link) -> None:
    link.start()
    await link.end_peer()
    await link.recorder.until_call("eof")
    link.transport.write(b"bye")
    link.transport.write_eof()
    assert await link.peer_receives_all() == b"bye"
    link.transport.abort()
    assert link.recorder.calls == ["eof", "lost"]
    assert link.recorder.lost_by is None


async def reset_by_the_peer_is_told_once_and_with_its_cause(link: Link) -> None:
    link.start()
    await link.reset()
    await link.recorder.until_call("lost")
    assert isinstance(link.recorder.lost_by, Exception)
    link.transport.write(b"ignored")
    link.transport.flush()
    link.transport.pause_reading()
    link.transport.resume_reading()
    link.transport.write_eof()
    link.transport.abort()
    await settle()
    assert link.transport.unsent == 0
    assert link.recorder.calls == ["lost"]


async def reset_behind_bytes_that_are_unread_is_told(link: Link) -> None:
    link.start()
    link.transport.pause_reading()
    await link.peer.send(HUGE[:10_000])
    await settle()
    await link.reset()
    link.transport.resume_reading()
    # Not every layer can tell a reset from an end here, nor gives out what came before it.
    await link.recorder.until(lambda: not {"lost", "eof"}.isdisjoint(link.recorder.calls))
    assert HUGE.startswith(link.recorder.data)


async def reset_with_bytes_unsent_is_told(link: Link) -> None:
    link.start()
    link.fill()
    await settle()
    await link.reset()
    await link.recorder.until_call("lost")
    assert isinstance(link.recorder.lost_by, Exception)
    assert link.transport.unsent == 0
    assert link.recorder.calls[-1] == "lost"


async def writing_to_a_peer_that_is_gone_is_told_though_reading_is_paused(link: Link) -> None:
    link.start()
    link.transport.pause_reading()
    await link.reset()
    while not link.recorder.is_lost:
        link.transport.write(b"anybody there?")
        link.transport.flush()
        await settle()
    assert isinstance(link.recorder.lost_by, Exception)


async def abort_tells_before_it_returns_and_tells_once(link: Link) -> None:
    link.start()
    link.transport.write(b"x")
    link.transport.write(b"held")
    link.transport.abort()
    assert link.recorder.calls == ["lost"]
    assert link.recorder.lost_by is None
    assert link.transport.unsent == 0
    link.transport.abort()
    link.transport.write(b"ignored")
    link.transport.write_eof()
    link.transport.pause_reading()
    link.transport.resume_reading()
    await settle()
    assert link.transport.unsent == 0
    assert link.recorder.calls == ["lost"]
    assert await link.peer_receives_all() in (b"", b"xheld")


async def abort_drops_what_is_unsent(link: Link) -> None:
    link.start()
    whole = link.fill()
    link.transport.abort()
    assert link.transport.unsent == 0
    received = await link.peer_receives_all()
    assert len(received) < len(whole)
    assert whole.startswith(received)


async def nothing_follows_an_abort_from_within_feed(link: Link) -> None:
    link.recorder.on_feed = link.transport.abort
    link.start()
    await link.peer_sends(HUGE)
    await link.recorder.until_call("lost")
    await settle()
    assert link.recorder.feeds == 1
    assert link.recorder.calls == ["feed", "lost"]


async def nothing_follows_an_abort_from_within_eof(link: Link) -> None:
    link.recorder.on_eof = link.transport.abort
    link.start()
    await link.end_peer()
    await link.recorder.until_call("lost")
    await settle()
    assert link.recorder.calls == ["eof", "lost"]


async def nothing_follows_an_abort_in_the_step_in_which_bytes_came(link: Link) -> None:
    link.start()
    await link.peer.send(b"too late")
    link.fill()
    await link.end_peer()
    link.transport.abort()
    calls = list(link.recorder.calls)
    await settle()
    assert link.recorder.calls == calls
    assert calls[-1] == "lost"


async def cancelling_run_closes_a_transport_that_needs_it(link: Link) -> None:
    link.start()
    await link.cancel_run()
    if link.transport.needs_task:
        assert link.recorder.calls == ["lost"]
        assert link.recorder.lost_by is None
        assert await link.peer_receives_all() == b""
    else:
        # There is nothing to cancel.
        await link.peer.send(b"x")
        await link.recorder.until_bytes(1)


async def addresses_are_known_even_after_a_reset(link: Link) -> None:
    link.start()
    expected = {}
    if not isinstance(link.wire, MemoryStream):
        local = link.wire.extra(SocketAttribute.remote_address)
        remote = link.wire.extra(SocketAttribute.local_address)
        expected = {
            SocketAttribute.family: stdlib_socket.AF_INET,
            SocketAttribute.local_address: local,
            SocketAttribute.local_port: local[1],
            SocketAttribute.remote_address: remote,
            SocketAttribute.remote_port: remote[1],
        }
    assert _addresses(link.transport) == expected
    await link.reset()
    await link.recorder.until_call("lost")
    assert _addresses(link.transport) == expected


async def tls_attributes_are_known_even_after_the_end(link: Link) -> None:
    link.start()
    for _ in range(2):
        attributes = link.transport.attributes
        assert (TLSAttribute.ssl_object in attributes) == isinstance(link.peer, TLSStream)
        if isinstance(link.peer, TLSStream):
            assert attributes[TLSAttribute.tls_version]() == "TLSv1.3"
            assert attributes[TLSAttribute.alpn_protocol]() is None
            other = link.peer.extra(TLSAttribute.server_side)
            assert attributes[TLSAttribute.server_side]() is not other
            assert attributes[TLSAttribute.standard_compatible]() is False
            assert attributes[TLSAttribute.cipher]() == link.peer.extra(TLSAttribute.cipher)
        link.transport.abort()


_CHECKS: list[Check] = [
    bytes_arrive_whole_and_in_order_in_both_directions,
    bytes_that_come_one_at_a_time_arrive,
    several_buffers_of_a_write_arrive_in_order,
    writes_are_not_held_back_once_the_task_waits,
    writes_from_within_feed_arrive,
    write_takes_everything_though_the_peer_does_not_read,
    drained_is_called_when_unsent_falls_below_low_water,
    drained_is_called_for_what_was_written_before_low_water_was_set,
    drained_is_not_called_if_unsent_was_always_below_low_water,
    paused_reading_pushes_once_more_at_most,
    reading_paused_from_within_feed_pushes_once_more_at_most,
    receiver_may_be_replaced,
    half_close_by_the_peer_leaves_writing_open,
    half_close_by_us_comes_behind_what_is_written_and_leaves_reading_open,
    half_close_from_within_feed_leaves_reading_open,
    both_halves_can_be_closed,
    reset_by_the_peer_is_told_once_and_with_its_cause,
    reset_behind_bytes_that_are_unread_is_told,
    reset_with_bytes_unsent_is_told,
    writing_to_a_peer_that_is_gone_is_told_though_reading_is_paused,
    abort_tells_before_it_returns_and_tells_once,
    abort_drops_what_is_unsent,
    nothing_follows_an_abort_from_within_feed,
    nothing_follows_an_abort_from_within_eof,
    nothing_follows_an_abort_in_the_step_in_which_bytes_came,
    cancelling_run_closes_a_transport_that_needs_it,
    addresses_are_known_even_after_a_reset,
    tls_attributes_are_known_even_after_the_end,
]

#: Runs a test once for each part of the contract, which it is given as `check`.
check_transport = pytest.mark.parametrize("check", _CHECKS, ids=lambda check: check.__name__)


class _OneByOne(ByteStream):
    """Passes bytes on one at a time."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def send(self, item: bytes) -> None:
        for n in range(len(item)):
            await self._stream.send(item[n : n + 1])
            await checkpoint()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _addresses(transport: Transport) -> dict[object, object]:
    """Return what a transport says of its addresses."""
    names = (
        SocketAttribute.family,
        SocketAttribute.local_address,
        SocketAttribute.local_port,
        SocketAttribute.remote_address,
        SocketAttribute.remote_port,
    )
    return {name: ask() for name, ask in transport.attributes.items() if name in names}
