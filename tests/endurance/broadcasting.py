"""A group of which some members do not read: the others get everything, whatever the policy."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import anyio
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from anyws import Broadcaster, Data, Member, QueueFull, ServerConnection, serve
from anyws.testing import RawPeer

from ..support import SocketStream
from .figures import Figures
from .measure import take_footprint, without_collector

__all__ = ["broadcasting"]

Slow = Literal["close", "drop_oldest", "drop_newest", "block"]

# Of ten connections in a row, one does not read until everything was published.
_STALLED_OF = 10

# So many that a stalled peer's buffers, and its queue, are full long before the last one.
_MESSAGES = 400
_SIZE = 256

_MAX_QUEUE = 64
_KEYS = 8
_WRITE_LIMIT = 16 << 10

# Bytes: Linux takes this as a wish, and grants a little more.
_SMALL_BUFFER = 4096

# At once: less than the backlog of the listener, since connecting blocks.
_CONNECTING = 50

# Seconds until a peer that does not get its messages counts as stuck, and until anything else does.
_PATIENCE = 60.0
_LIMIT = 300.0


def _message(number: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(_SIZE - 4)


# What each message is on the wire (RFC 6455 §5.2).
_FRAMES = [b"\x82\x7e" + _SIZE.to_bytes(2, "big") + _message(n) for n in range(_MESSAGES)]
_FRAME_SIZE = len(_FRAMES[0])
_WHOLE = b"".join(_FRAMES)


@dataclass(frozen=True, slots=True)
class Policy:
    """A group to try, and what a stalled peer gets in the end."""

    new: Callable[[], Broadcaster]
    check: Callable[[Peer, Member], None]


class Peer:
    """A client that reads all that comes, once it may.

    Attributes:
        in_order: bytes that came as if every message did, in order.
        got: what came from the first byte on that does not fit, and of a stalled one all.
    """

    def __init__(self, name: str, *, stalled: bool) -> None:
        self.name = name
        self.stalled = stalled
        self.in_order = 0
        self.got = bytearray()
        self.may_read = anyio.Event()
        self._stream: SocketStream | None = None

    async def connect(self, port: int) -> None:
        sock = socket.socket()
        if self.stalled:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        sock.connect(("127.0.0.1", port))
        self._stream = SocketStream(sock)
        peer = RawPeer(self._stream, is_client=True)
        assert (await peer.upgrade(target=f"/{self.name}")).status == 101

    async def read(self) -> None:
        assert self._stream is not None
        await self.may_read.wait()
        try:
            while True:
                self._take(await self._stream.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            await self._stream.aclose()

    def _take(self, data: bytes) -> None:
        end = self.in_order + len(data)
        if self.stalled or self.got or data != _WHOLE[self.in_order : end]:
            self.got += data
        else:
            # Not kept: what the process takes in memory is to be the server's.
            self.in_order = end

    async def drop(self) -> None:
        assert self._stream is not None
        await self._stream.aclose()

    def numbers(self) -> list[int]:
        """Return which messages came; they must be whole ones, and no other bytes but a Close."""
        count = len(self.got) // _FRAME_SIZE
        frames = [self.got[n * _FRAME_SIZE : (n + 1) * _FRAME_SIZE] for n in range(count)]
        numbers = [int.from_bytes(frame[4:8], "big") for frame in frames]
        assert b"".join(_FRAMES[n] for n in numbers) == b"".join(frames)
        return numbers

    @property
    def tail(self) -> bytes:
        """What came behind the last whole message."""
        return bytes(self.got[len(self.got) // _FRAME_SIZE * _FRAME_SIZE :])


def _check_closed(peer: Peer, member: Member) -> None:
    numbers = peer.numbers()
    assert numbers == list(range(len(numbers))), numbers
    assert peer.tail[:1] == b"\x88", "a Close frame"
    assert peer.tail[2:4] == (1013).to_bytes(2, "big")
    assert member.dropped == _MAX_QUEUE + 1, member.dropped


def _check_oldest_dropped(peer: Peer, member: Member) -> None:
    numbers = peer.numbers()
    assert numbers == sorted(set(numbers)), numbers
    assert numbers[-_MAX_QUEUE:] == list(range(_MESSAGES - _MAX_QUEUE, _MESSAGES)), numbers
    assert member.dropped == _MESSAGES - len(numbers)


def _check_newest_dropped(peer: Peer, member: Member) -> None:
    numbers = peer.numbers()
    # The kernel may take a few more now and then, though nobody reads.
    assert numbers == sorted(set(numbers)), numbers
    assert numbers[:_MAX_QUEUE] == list(range(_MAX_QUEUE)), numbers
    assert member.dropped == _MESSAGES - len(numbers)


def _check_all(peer: Peer, member: Member) -> None:
    if peer.stalled:
        assert peer.got == _WHOLE
    else:
        assert not peer.got, f"{peer.in_order} bytes, then {peer.got[:20]!r}"
        assert peer.in_order == len(_WHOLE)
    assert member.dropped == 0


def _check_newest_of_each_key(peer: Peer, member: Member) -> None:
    numbers = peer.numbers()
    for key in range(_KEYS):
        of_key = [number for number in numbers if number % _KEYS == key]
        assert of_key == sorted(set(of_key)), of_key
    assert sorted(numbers[-_KEYS:]) == list(range(_MESSAGES - _KEYS, _MESSAGES)), numbers
    assert member.dropped == 0


def _key(message: Data) -> int:
    assert isinstance(message, bytes)
    return int.from_bytes(message[:4], "big") % _KEYS


_POLICIES = {
    "close": Policy(lambda: Broadcaster(_MAX_QUEUE), _check_closed),
    "drop_oldest": Policy(lambda: Broadcaster(_MAX_QUEUE, "drop_oldest"), _check_oldest_dropped),
    "drop_newest": Policy(lambda: Broadcaster(_MAX_QUEUE, "drop_newest"), _check_newest_dropped),
    "block": Policy(lambda: Broadcaster(_MAX_QUEUE, "block"), _check_all),
    "coalesce": Policy(
        lambda: Broadcaster(_MAX_QUEUE, "block", coalesce=_key), _check_newest_of_each_key
    ),
}


class _Members:
    """The handlers of a server whose connections are all in one group."""

    def __init__(self, group: Broadcaster, connections: int) -> None:
        self.by_name: dict[str, Member] = {}
        self.all_there = anyio.Event()
        self._group = group
        self._expected = connections

    async def handle(self, ws: ServerConnection) -> None:
        name = ws.request.path[1:]
        if name.startswith("stalled"):
            sock = ws.extra(SocketAttribute.raw_socket)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
        async with self._group.member(ws) as member:
            self.by_name[name] = member
            if len(self.by_name) == self._expected:
                self.all_there.set()
            await ws.wait_closed()


async def broadcasting(connections: int) -> Figures:
    """Publish to a group of which a tenth does not read, with each policy (R-B4a, R-B4b).

    Fails if one of the others does not get every message in order, if a member holds more than its
    queue and `write_limit`, if what was dropped and what arrived is not all there was, or if the
    policy was not followed. How long `publish` takes is told, and not judged: machines differ.
    """
    figures: Figures = {"members": connections, "stalled": len(range(0, connections, _STALLED_OF))}
    with anyio.fail_after(_LIMIT):
        for name, policy in _POLICIES.items():
            figures[name] = await _try(policy, connections)
    return figures


async def _try(policy: Policy, connections: int) -> str:
    group = policy.new()
    members = _Members(group, connections)
    peers = [
        Peer(f"{'stalled' if stalled else 'reads'}{n}", stalled=stalled)
        for n in range(connections)
        for stalled in (n % _STALLED_OF == 0,)
    ]
    logger = logging.Logger("endurance")
    logger.disabled = True
    times = _Times()
    async with (
        serve(
            members.handle,
            "127.0.0.1",
            write_limit=_WRITE_LIMIT,
            ping_interval=None,
            close_timeout=_LIMIT,
            logger=logger,
        ) as server,
        anyio.create_task_group() as tasks,
    ):
        await _connect(peers, server.port)
        await members.all_there.wait()
        for peer in peers:
            tasks.start_soon(peer.read)
            if not peer.stalled:
                peer.may_read.set()
        before = await take_footprint()
        with without_collector():  # which would look at the peers too, in the time of `publish`
            published = await _publish(group, times)
        grown = await take_footprint() - before
        for member in members.by_name.values():
            assert member.queued <= _MAX_QUEUE
            unsent = member.connection._transport.unsent
            assert unsent < _WRITE_LIMIT + 2 * _FRAME_SIZE, unsent
        for peer in peers:
            peer.may_read.set()
        for number in range(published, _MESSAGES):
            await group.send(_message(number))
        for peer in peers:
            await _wait_until_served(peer, members.by_name[peer.name], policy)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for peer in peers:
                await peer.drop()
    assert group.dropped == sum(member.dropped for member in members.by_name.values())
    return (
        f"publish takes {times}; {published} published before anybody had to wait, "
        f"{group.dropped} dropped, {grown.resident_kib} KiB more"
    )


async def _connect(peers: list[Peer], port: int) -> None:
    places = anyio.CapacityLimiter(_CONNECTING)

    async def connect(peer: Peer) -> None:
        async with places:
            await peer.connect(port)

    async with anyio.create_task_group() as tasks:
        for peer in peers:
            tasks.start_soon(connect, peer)


class _Times:
    """How long calls took: by the clock, and of the processor, which others may need too."""

    def __init__(self) -> None:
        self._clock: list[float] = []
        self._processor: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        clock, processor = time.perf_counter(), time.thread_time()
        yield
        self._clock.append(1000 * (time.perf_counter() - clock))
        self._processor.append(1000 * (time.thread_time() - processor))

    def __str__(self) -> str:
        half = sorted(self._clock)[len(self._clock) // 2]
        return f"{half:.2f} ms, {max(self._clock):.2f} at most (cpu {max(self._processor):.2f})"


async def _publish(group: Broadcaster, times: _Times) -> int:
    """Publish as many messages as can be without waiting; return how many."""
    for number in range(_MESSAGES):
        message = _message(number)
        try:
            with times.one():
                group.publish(message)
        except QueueFull:
            return number
        await checkpoint()
    return _MESSAGES


async def _wait_until_served(peer: Peer, member: Member, policy: Policy) -> None:
    """Wait until a peer has got all that it is to get; fail if it gets anything else."""
    check = policy.check if peer.stalled else _check_all
    with anyio.move_on_after(_PATIENCE):
        while not _holds(check, peer, member):
            await checkpoint()
    check(peer, member)


def _holds(check: Callable[[Peer, Member], None], peer: Peer, member: Member) -> bool:
    try:
        check(peer, member)
    except AssertionError:
        return False
    return True
