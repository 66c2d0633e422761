"""The load generator: plain non-blocking sockets, prebuilt frames, replies counted by length.

It must be cheap, or it would be what is measured: it never looks into a reply, except into
the first one of every connection, which must be exactly the message that was sent. Of compressed
replies it reads the headers.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter_ns, sleep
from typing import Final

from tests.bench import secure
from tests.bench.compressed import FrameCounter, check_agreement, decode_first
from tests.bench.samples import Latencies, Sample
from tests.bench.wire import (
    SEC_WEBSOCKET_ACCEPT,
    Exchange,
    encode_close,
    encode_request,
)

HOST: Final = "127.0.0.1"
REPLY_TIMEOUT: Final = 20.0
CLOSE_TIMEOUT: Final = 5.0
BUFFER_SIZE: Final = 2 * 1024 * 1024
# A loopback address has 28,000 free ports on most systems, and some of them rest a minute.
CONNECTIONS_PER_ADDRESS: Final = 5000


class LoadError(Exception):
    """The server did not do what the load needs; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes: a port of this machine, and what is spoken there."""

    port: int
    websocket: bool
    tls: ssl.SSLContext | None = None
    compress: bool = False


class Channel:
    """One connection: its socket, what it has not sent yet, and what it waits for."""

    __slots__ = ("frames", "next", "received", "sent_at", "socket", "unsent")

    def __init__(self, connected: socket.socket, frames: FrameCounter | None) -> None:
        self.socket = connected

        # Sending
        self.unsent = memoryview(b"")
        self.next = 0  # which message it is its turn to send
        self.sent_at: deque[tuple[int, int]] = deque()  # when, and how many messages

        # Receiving
        self.frames = frames  # what counts replies, unless their length does
        self.received = 0  # bytes of the reply that is not complete yet


class Supply:
    """The messages of an exchange, joined so that `depth` of them in a row are one slice."""

    def __init__(self, exchange: Exchange, depth: int) -> None:
        frames = (exchange.sent, *exchange.others)
        self._count = len(frames)
        row = [frames[n % self._count] for n in range(self._count + depth - 1)]
        self._row = b"".join(row)
        self._starts = [0, *accumulate(map(len, row))]

    def take(self, channel: Channel, count: int) -> bytes:
        """Return the next messages of that connection, at most `depth` of them."""
        first = channel.next
        channel.next = (first + count) % self._count
        return self._row[self._starts[first] : self._starts[first + count]]


class Load:
    """A set of open connections to one server, each with its share of messages in flight."""

    def __init__(self, target: Target, exchange: Exchange) -> None:
        self.target = target
        self.exchange = exchange
        self.channels: dict[int, Channel] = {}
        self.poller = select.epoll()
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self.in_flight = 0
        self.send_some = _send_some if target.tls is None else _send_records
        self.receive_some = _receive_some if target.tls is None else _receive_records

    def open(self, connections: int) -> None:
        """Open that many connections more and check that each one echoes.

        Raises:
            LoadError: the handshake fails or the echo differs from what was sent.
        """
        for _ in range(connections):
            place = len(self.channels) // CONNECTIONS_PER_ADDRESS
            connected = open_connection(self.target, source=f"127.0.0.{1 + place}")
            connected.sendall(self.exchange.sent)
            check_first_reply(connected, self.exchange)
            self.add(connected)

    def join(self, connections: int) -> None:
        """Open that many connections, and check that all of them get what one of them sends.

        Raises:
            LoadError: the handshake fails, or one of them gets something else.
        """
        joined = []
        for _ in range(connections):
            joined.append(open_connection(self.target))
            joined[-1].sendall(self.exchange.sent)
            check_reply(joined[-1], self.exchange.expected)
        joined[0].sendall(self.exchange.sent)
        for connected in joined:
            check_reply(connected, self.exchange.expected)
            self.add(connected)

    def add(self, connected: socket.socket) -> None:
        """Take a connection on which nothing is in flight."""
        connected.setblocking(False)
        frames = FrameCounter() if self.exchange.compressed else None
        self.channels[connected.fileno()] = Channel(connected, frames)
        self.poller.register(connected, select.EPOLLIN)

    def close(self) -> None:
        """Close all connections cleanly; one that the server does not close is just dropped."""
        self.poller.close()
        connections = [channel.socket for channel in self.channels.values()]
        for connected in connections:
            try:
                connected.settimeout(CLOSE_TIMEOUT)
                request_close(connected, websocket=self.target.websocket)
            except OSError:
                pass
        for connected in connections:
            try:
                wait_for_end(connected)
            except (OSError, LoadError):
                pass
            finally:
                connected.close()
        self.channels.clear()

    def run(self, seconds: float, *, depth: int) -> Sample:
        """Keep `depth` messages in flight on each connection, then wait for the last reply.

        Raises:
            LoadError: the server closed a connection or does not reply.
        """
        latencies = Latencies()
        supply = Supply(self.exchange, depth)
        started = perf_counter_ns()
        deadline = started + int(seconds * 1e9)
        for channel in self.channels.values():
            self._send(channel, supply.take(channel, depth), depth, started)
        while self.in_flight:
            events = self.poller.poll(REPLY_TIMEOUT)
            if not events:
                raise LoadError(f"no reply for {REPLY_TIMEOUT:g} s, {self.in_flight} outstanding")
            for fd, event in events:
                channel = self.channels[fd]
                if event & select.EPOLLOUT:
                    self._flush(channel)
                if event & ~select.EPOLLOUT:
                    replies = self._receive(channel)
                    if replies:
                        now = perf_counter_ns()
                        self._record(latencies, channel, replies, now)
                        if now < deadline:
                            self._send(channel, supply.take(channel, replies), replies, now)
        return latencies.sample(started)

    def run_fan(self, seconds: float) -> Sample:
        """Send to all connections, by way of the first, whenever all have got what came before.

        The latency is that of the last one to get it.

        Raises:
            LoadError: the server closed a connection, or one of them gets nothing.
        """
        latencies = Latencies()
        first, *_ = self.channels.values()
        size = len(self.exchange.expected)
        started = now = perf_counter_ns()
        deadline = started + int(seconds * 1e9)
        while now < deadline:
            first.socket.sendall(self.exchange.sent)
            left = size * len(self.channels)
            while left:
                events = self.poller.poll(REPLY_TIMEOUT)
                if not events:
                    raise LoadError(f"nothing for {REPLY_TIMEOUT:g} s, {left} bytes outstanding")
                for fd, _ in events:
                    left -= self.receive_some(self.channels[fd].socket, self.buffer)
            before, now = now, perf_counter_ns()
            latencies.values.append(now - before)
            latencies.weights.append(len(self.channels))
        return latencies.sample(started)

    def run_paced(self, seconds: float, *, rate: float) -> Sample:
        """Send `rate` messages per second, at even times, to one connection after the other.

        A connection that still waits for its reply when its turn comes again has two in flight.

        Raises:
            LoadError: the server closed a connection or does not reply.
        """
        latencies = Latencies()
        channels = list(self.channels.values())
        interval = int(1e9 / rate)
        started = perf_counter_ns()
        for n in range(max(1, int(seconds * rate))):
            due = started + n * interval
            now = perf_counter_ns()
            if now < due:
                sleep((due - now) / 1e9)
            self._send(channels[n % len(channels)], self.exchange.sent, 1, perf_counter_ns())
            self._take_replies(latencies, 0)
        while self.in_flight:
            if not self._take_replies(latencies, REPLY_TIMEOUT):
                raise LoadError(f"no reply for {REPLY_TIMEOUT:g} s, {self.in_flight} outstanding")
        return latencies.sample(started)

    def _take_replies(self, latencies: Latencies, timeout: float) -> bool:
        """Take what has come; return whether anything had."""
        events = self.poller.poll(timeout)
        for fd, event in events:
            channel = self.channels[fd]
            if event & select.EPOLLOUT:
                self._flush(channel)
            if event & ~select.EPOLLOUT:
                self._record(latencies, channel, self._receive(channel), perf_counter_ns())
        return bool(events)

    def _record(self, latencies: Latencies, channel: Channel, replies: int, now: int) -> None:
        """Match replies with the oldest messages; they come back in the order they were sent."""
        self.in_flight -= replies
        while replies:
            sent_at, count = channel.sent_at.popleft()
            if count > replies:
                channel.sent_at.appendleft((sent_at, count - replies))
                count = replies
            replies -= count
            latencies.values.append(now - sent_at)
            latencies.weights.append(count)

    def _send(self, channel: Channel, frames: bytes, count: int, now: int) -> None:
        channel.sent_at.append((now, count))
        self.in_flight += count
        if channel.unsent:
            channel.unsent = memoryview(bytes(channel.unsent) + frames)
            return
        sent = self.send_some(channel.socket, frames)
        if sent != len(frames):
            channel.unsent = memoryview(frames)[sent:]
            self.poller.modify(channel.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, channel: Channel) -> None:
        channel.unsent = channel.unsent[self.send_some(channel.socket, channel.unsent) :]
        if not channel.unsent:
            self.poller.modify(channel.socket.fileno(), select.EPOLLIN)

    def _receive(self, channel: Channel) -> int:
        """Return the number of replies that one read completes."""
        size = self.receive_some(channel.socket, self.buffer)
        if channel.frames is not None:
            try:
                return channel.frames.count(self.buffer[:size])
            except ValueError as error:
                raise LoadError(str(error)) from error
        replies, channel.received = divmod(channel.received + size, len(self.exchange.expected))
        return replies


def _send_some(connected: socket.socket, frames: bytes | memoryview) -> int:
    """Hand the kernel what it takes; return the number of bytes."""
    try:
        return connected.send(frames)
    except BlockingIOError:
        return 0


def _receive_some(connected: socket.socket, buffer: memoryview) -> int:
    """Read once; return the number of bytes."""
    size = connected.recv_into(buffer)
    if size == 0:
        raise LoadError("the server closed a connection")
    return size


def _send_records(connected: socket.socket, frames: bytes | memoryview) -> int:
    """Do as `_send_some` over TLS, which sends a record of 16 KiB at a time."""
    rest = memoryview(frames)
    try:
        while rest:
            rest = rest[connected.send(rest) :]
    except ssl.SSLWantWriteError:
        pass
    return len(frames) - len(rest)


def _receive_records(connected: socket.socket, buffer: memoryview) -> int:
    """Read over TLS until nothing is left: epoll does not tell of what was decrypted already."""
    total = 0
    try:
        while True:
            total += _receive_some(connected, buffer)
    except ssl.SSLWantReadError:
        return total


def shake(target: Target, seconds: float, exchange: Exchange | None = None) -> Sample:
    """Open connections one after another, closing each; the latency is that of the opening.

    With an `exchange`, each sends that message and waits for its reply before it closes.

    Raises:
        LoadError: the handshake fails, or the server does not end the connection.
    """
    latencies = Latencies()
    started = now = perf_counter_ns()
    deadline = started + int(seconds * 1e9)
    while now < deadline:
        with open_connection(target) as connected:
            latencies.values.append(perf_counter_ns() - now)
            latencies.weights.append(1)
            if exchange is not None:
                connected.sendall(exchange.sent)
                check_first_reply(connected, exchange)
            request_close(connected, websocket=target.websocket)
            wait_for_end(connected)
        now = perf_counter_ns()
    return latencies.sample(started)


def open_connection(target: Target, *, source: str = HOST) -> socket.socket:
    """Connect and do the opening handshake; a bare server echoes the request instead.

    Raises:
        LoadError: the reply is not what it must be.
    """
    # Without a source the kernel knows where the connection goes when it picks a port, and has more
    # of them to pick from.
    address = None if source == HOST else (source, 0)
    connected = socket.create_connection((HOST, target.port), REPLY_TIMEOUT, address)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.tls is not None:
        connected = target.tls.wrap_socket(connected, server_hostname=secure.NAME)
    request = encode_request(target.port, compress=target.compress)
    connected.sendall(request)
    if target.websocket:
        check_response(connected, compress=target.compress)
    else:
        check_reply(connected, request)
    return connected


def check_response(connected: socket.socket, *, compress: bool) -> None:
    """Read the response to an opening handshake, which must accept it (RFC 6455 §4.2.2).

    Raises:
        LoadError: it does not, or not the offer to compress if there was one, or more bytes follow.
    """
    response = b""
    while b"\r\n\r\n" not in response:
        chunk = connected.recv(65536)
        if not chunk:
            raise LoadError(f"the server closed during the opening handshake: {response[:200]!r}")
        response += chunk
    accepted = response.startswith(b"HTTP/1.1 101") and SEC_WEBSOCKET_ACCEPT in response
    if not accepted or not response.endswith(b"\r\n\r\n"):
        raise LoadError(f"the opening handshake was answered with {response[:200]!r}")
    if compress:
        try:
            check_agreement(response)
        except ValueError as error:
            raise LoadError(str(error)) from error


def check_first_reply(connected: socket.socket, exchange: Exchange) -> None:
    """Read the reply to the first message, and nothing else.

    Raises:
        LoadError: something else was received.
    """
    if not exchange.compressed:
        check_reply(connected, exchange.expected)
        return
    try:
        text = decode_first(_receive_frame(connected))
    except ValueError as error:
        raise LoadError(str(error)) from error
    if text != exchange.expected:
        raise LoadError(f"the reply is {text[:40]!r}, not {exchange.expected[:40]!r}")


def check_reply(connected: socket.socket, expected: bytes) -> None:
    """Read exactly `expected`.

    Raises:
        LoadError: something else was received.
    """
    received = bytearray()
    while len(received) < len(expected):
        chunk = connected.recv(len(expected) - len(received))
        if not chunk:
            raise LoadError(f"the server closed after {len(received)} bytes of a reply")
        received += chunk
    if received != expected:
        raise LoadError(f"the reply starts with {bytes(received[:20])!r}, not {expected[:20]!r}")


def request_close(connected: socket.socket, *, websocket: bool) -> None:
    """Ask for the end: a Close frame, or the end of the stream for a bare server."""
    if websocket:
        connected.sendall(encode_close())
    else:
        connected.shutdown(socket.SHUT_WR)


def wait_for_end(connected: socket.socket) -> None:
    """Read until the server has closed the connection, as it must do first (§7.1.1).

    Raises:
        LoadError: it did not within the timeout.
    """
    connected.settimeout(CLOSE_TIMEOUT)
    try:
        while connected.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError as error:
        raise LoadError(f"the server did not close within {CLOSE_TIMEOUT:g} s") from error


def _receive_frame(connected: socket.socket) -> bytes:
    """Return the one frame that comes."""
    frames = FrameCounter()
    received = b""
    while True:
        chunk = connected.recv(65536)
        if not chunk:
            raise LoadError(f"the server closed after {len(received)} bytes of a reply")
        received += chunk
        if frames.count(chunk):
            return received
