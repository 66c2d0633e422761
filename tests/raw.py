"""Peers that say over a byte stream whatever a test wants, from the first byte on.

They know just enough of HTTP to check the opening handshake against RFC 6455 §4, and share no code
with `anyws`. Once the connection is open, `scripted.py` reads more strictly.
"""

from __future__ import annotations

import base64
import hashlib
import socket as stdlib_socket
import ssl as stdlib_ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteStream
from anyio.streams.tls import TLSListener, TLSStream

from .scripted import CLOSE, Frame

__all__ = [
    "LIMIT",
    "UPGRADE",
    "Head",
    "RawPeer",
    "closed_port",
    "full_listener",
    "raw_client",
    "raw_server",
    "upgrade_with",
]

#: Seconds for anything that ends at once unless something is wrong.
LIMIT = 10.0

#: A request that opens a connection; the key is that of RFC 6455 §1.3.
UPGRADE = (
    b"GET / HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


def upgrade_with(*fields: str) -> bytes:
    """Return `UPGRADE` with more header fields."""
    return UPGRADE[:-2] + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n"


@dataclass
class Head:
    """The head of a request or a response, and the body of a response."""

    first_line: str
    headers: dict[str, str]  # names in lower case, several values joined
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.first_line.split()[1])

    @property
    def accept(self) -> str:
        """The value of Sec-WebSocket-Accept that answers this request (§4.2.2)."""
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        key = self.headers["sec-websocket-key"]
        return base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()

    def switch(self, *fields: str) -> bytes:
        """Return the response that accepts this request, with more header fields."""
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept}",
            *fields,
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RawPeer:
    """Either end of a connection, before and after the opening handshake.

    Args:
        stream: connected.
        is_client: whether this end is the client, which masks its frames.
    """

    def __init__(self, stream: ByteStream, *, is_client: bool) -> None:
        self.stream = stream
        self._is_client = is_client
        self._buffered = BufferedByteStream(stream)

    async def send(self, *parts: bytes | Frame) -> None:
        """Send bytes and frames in one segment."""
        await self.stream.send(b"".join(map(self._encode, parts)))

    def _encode(self, part: bytes | Frame) -> bytes:
        return part if isinstance(part, bytes) else part.encode(masked=self._is_client)

    async def read_head(self) -> Head:
        raw = (await self._buffered.receive_until(b"\r\n\r\n", 65536)).decode("iso-8859-1")
        first_line, *lines = raw.split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            before = headers.get(name.lower())
            headers[name.lower()] = f"{before}, {value.strip()}" if before else value.strip()
        return Head(first_line, headers)

    async def read_response(self) -> Head:
        """Read a response, with its body if Content-Length tells of one."""
        head = await self.read_head()
        if "content-length" in head.headers:
            head.body = await self._buffered.receive_exactly(int(head.headers["content-length"]))
        return head

    async def accept(self, *fields: str, then: tuple[Frame, ...] = ()) -> Head:
        """Answer an opening handshake, and send `then` in the same segment."""
        request = await self.read_head()
        await self.send(request.switch(*fields), *then)
        return request

    async def upgrade(self, *fields: str, then: tuple[Frame, ...] = ()) -> Head:
        """Do the opening handshake as a client, with `then` in the same segment."""
        await self.send(upgrade_with(*fields), *then)
        return await self.read_response()

    async def read_frame(self) -> Frame:
        first, second = await self._buffered.receive_exactly(2)
        assert bool(second & 0x80) is not self._is_client, "masked against the rule"
        n = second & 0x7F
        assert n < 126, "a short frame is all that these tests expect"
        mask = b"" if self._is_client else await self._buffered.receive_exactly(4)
        payload = await self._buffered.receive_exactly(n) if n else b""
        if mask:
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        return Frame(first & 0x0F, payload, fin=bool(first & 0x80))

    async def read_close(self) -> int:
        """Read up to a Close frame, and return its code."""
        while (frame := await self.read_frame()).opcode != CLOSE:
            pass
        return int.from_bytes(frame.payload[:2], "big")

    async def answer_close(self) -> int:
        """Read up to a Close frame, answer it, and return its code."""
        code = await self.read_close()
        await self.send(Frame(CLOSE, code.to_bytes(2, "big")))
        return code

    async def read_rest(self) -> bytes:
        """Read until the other end ends or breaks the stream."""
        data = bytearray()
        try:
            while True:
                data += await self._buffered.receive()
        except _GONE:
            return bytes(data)


Script = Callable[[RawPeer], Awaitable[object]]


@asynccontextmanager
async def raw_server(
    script: Script, ssl: stdlib_ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Run `script` for each connection to the port that this yields, then close it.

    Leaving the block waits for the scripts, so that all they check counts.
    """
    busy: set[RawPeer] = set()
    idle = anyio.Event()

    async def run(stream: ByteStream) -> None:
        peer = RawPeer(stream, is_client=False)
        busy.add(peer)
        try:
            async with stream:
                await script(peer)
        finally:
            busy.discard(peer)
            if not busy:
                idle.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    serving = listener if ssl is None else TLSListener(listener, ssl, standard_compatible=False)
    async with serving, anyio.create_task_group() as tasks:
        tasks.start_soon(serving.serve, run)
        yield port
        if busy:
            with anyio.fail_after(LIMIT):
                await idle.wait()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def raw_client(port: int, ssl: stdlib_ssl.SSLContext | None = None) -> AsyncIterator[RawPeer]:
    """Connect to a port of this machine."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        if ssl is None:
            yield RawPeer(stream, is_client=True)
            return
        async with await TLSStream.wrap(
            stream, hostname="127.0.0.1", ssl_context=ssl, standard_compatible=False
        ) as secure:
            yield RawPeer(secure, is_client=True)


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 that refuses connections, and is nobody else's meanwhile."""
    with stdlib_socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextmanager
def full_listener(path: str) -> Iterator[None]:
    """Listen on a Unix socket with a full backlog, where connecting takes for ever."""
    family = stdlib_socket.AF_UNIX
    waiting: list[stdlib_socket.socket] = []
    with stdlib_socket.socket(family) as sock:
        sock.bind(path)
        sock.listen(0)
        try:
            with suppress(BlockingIOError):
                while True:
                    waiting.append(stdlib_socket.socket(family))
                    waiting[-1].setblocking(False)
                    waiting[-1].connect(path)
            yield
        finally:
            for client in waiting:
                client.close()
