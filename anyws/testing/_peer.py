"""A peer that says exactly what it is told, and takes nothing but what RFC 6455 allows.

Like `_frames.py` and `_head.py`, it shares no code with the implementation in `anyws`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import anyio
from anyio.abc import ByteStream

from ._frames import CLOSE, PING, PONG, SHOWN, Frame, FrameReader, close_frame, shorten
from ._head import END_OF_HEAD, UPGRADE, Head, check_request, check_response, parse_head

__all__ = ["RawPeer"]

# How the other end can stop.
_ENDED = (anyio.EndOfStream, anyio.BrokenResourceError)


class RawPeer:
    """The other end of a connection under test, either side, at the level of bytes and frames.

    It sends exactly what it is told, legal or not, masked as its side has to. What it reads must
    follow RFC 6455 §5 to the letter, or else `AssertionError` says what came instead. It answers
    nothing by itself, neither a Ping nor a Close frame, and takes no part in the opening handshake
    unless asked to.

    Cancelling: nothing that came is lost; of what was being sent, a part may have gone.
    Concurrency: one task may read while another sends.

    Args:
        stream: connected; one end of a `memory_pair` or any other. It is an attribute, too.
        is_client: whether this peer is the client.
        reserved: the reserved bits that the other end may set in the first frame of a message
            (§5.2), 4 for permessage-deflate for instance.

    Attributes:
        ready: an event, set once `shake_hands` is done.
    """

    def __init__(self, stream: ByteStream, *, is_client: bool, reserved: int = 0) -> None:
        self.stream = stream
        self.ready: anyio.Event = anyio.Event()
        self._is_client = is_client
        self._reader = FrameReader(masked=not is_client, reserved=reserved)
        self._unread = self._reader.begun

    # Bytes and frames

    def encode(self, *parts: bytes | Frame) -> bytes:
        """Return bytes as they are, and frames as this side has to send them, in one piece.

        A client masks each frame with a random key of its own (§5.3).
        """
        return b"".join(
            part if isinstance(part, bytes) else part.encode(self._new_mask()) for part in parts
        )

    async def send(self, *parts: bytes | Frame) -> None:
        """Send bytes and frames in one write.

        Raises:
            BrokenResourceError: the other end is gone.
        """
        await self.stream.send(self.encode(*parts))

    async def expect(self, *parts: bytes | Frame) -> None:
        """Receive exactly these bytes and frames, in this order; what follows stays unread.

        Bytes are not looked at as frames.

        Raises:
            AssertionError: something else came, or the stream ended.
        """
        for part in parts:
            if isinstance(part, bytes):
                await self._expect_bytes(part)
            else:
                frame = await self._receive_expecting(repr(part))
                if frame != part:
                    where = _where(part.payload, frame.payload)
                    raise AssertionError(f"expected {part!r}, received {frame!r}{where}")

    async def expect_end(self) -> None:
        """Expect the other end to end or break the stream, without another byte.

        Raises:
            AssertionError: bytes came.
        """
        try:
            while not self._unread:
                self._unread += await self.stream.receive()
        except _ENDED:
            return
        raise AssertionError(
            f"expected the end of the stream, received {shorten(bytes(self._unread))}"
        )

    async def read_rest(self) -> bytes:
        """Read bytes until the other end ends or breaks the stream."""
        try:
            while True:
                self._unread += await self.stream.receive()
        except _ENDED:
            return self._take(len(self._unread))

    async def drop(self) -> None:
        """Close the stream without a word, as `anyio.aclose_forcefully` does."""
        await anyio.aclose_forcefully(self.stream)

    # The opening handshake (§4)

    async def shake_hands(self, *fields: str) -> None:
        """Do this side's part of the opening handshake, and set `ready`.

        Args:
            fields: more header fields, as whole lines.

        Raises:
            AssertionError: the other end's part breaks RFC 6455 §4.
        """
        if self._is_client:
            check_response(await self.upgrade(*fields))
        else:
            request = await self.read_head()
            check_request(request)
            await self.send(request.switch(*fields))
        self.ready.set()

    async def upgrade(
        self, *fields: str, target: str = "/", then: Sequence[bytes | Frame] = ()
    ) -> Head:
        """Ask to open a connection, as a client, and return the answer, whatever it is.

        Args:
            fields: more header fields, as whole lines.
            target: the path, and the query if any.
            then: sent in the same write, before there is an answer.

        Raises:
            AssertionError: the stream ended before the answer did.
        """
        request = UPGRADE[:-2].replace(b"/", target.encode(), 1)
        more = "".join(f"{field}\r\n" for field in fields).encode()
        await self.send(request, more, b"\r\n", *then)
        return await self.read_response()

    async def accept(self, *fields: str, then: Sequence[bytes | Frame] = ()) -> Head:
        """Accept a connection, as a server, and return the request, which is not checked.

        Args:
            fields: more header fields, as whole lines.
            then: sent in the same write.

        Raises:
            AssertionError: the stream ended before the request did.
            KeyError: the request has no Sec-WebSocket-Key.
        """
        request = await self.read_head()
        await self.send(request.switch(*fields), *then)
        return request

    async def read_head(self) -> Head:
        """Read the head of a request or a response, up to its empty line.

        Raises:
            AssertionError: the stream ended before.
        """
        while END_OF_HEAD not in self._unread:
            await self._read_expecting("the head of an HTTP message")
        return parse_head(self._take(self._unread.index(END_OF_HEAD) + len(END_OF_HEAD)))

    async def read_response(self) -> Head:
        """Read a response, with its body if Content-Length tells of one.

        Raises:
            AssertionError: the stream ended before.
        """
        head = await self.read_head()
        n = int(head.headers.get("content-length", "0"))
        while len(self._unread) < n:
            await self._read_expecting(f"a body of {n} bytes")
        head.body = self._take(n)
        return head

    # Frames (§5)

    async def receive(self) -> Frame:
        """Receive the next frame.

        Raises:
            EndOfStream, BrokenResourceError: the stream ended or broke.
            AssertionError: what came is not a frame that the other end may send.
        """
        while (frame := self._reader.next_frame()) is None:
            self._unread += await self.stream.receive()
        return frame

    async def receive_close(self) -> tuple[int | None, str]:
        """Receive a Close frame, which must be next, and return code and reason.

        The code is None if the frame is empty.

        Raises:
            AssertionError: another frame came, or the stream ended.
        """
        return _parse_close(await self._receive_expecting("a Close frame"))

    async def receive_to_close(self) -> list[Frame]:
        """Receive frames up to a Close frame, the last of those that are returned.

        Raises:
            AssertionError: the stream ended before.
        """
        frames = [await self._receive_expecting("a Close frame")]
        while frames[-1].opcode != CLOSE:
            frames.append(await self._receive_expecting("a Close frame"))
        return frames

    async def receive_rest(self) -> list[Frame]:
        """Receive frames until the other end ends or breaks the stream.

        Raises:
            AssertionError: it did so inside a frame.
        """
        frames: list[Frame] = []
        try:
            while True:
                frames.append(await self.receive())
        except _ENDED as exc:
            if self._unread:
                raise AssertionError(f"expected whole frames, but {self._how(exc)}") from exc
            return frames

    async def round_trip(self) -> list[Frame]:
        """Send a Ping and receive frames up to its Pong; return those that came before it.

        All that was sent before has been taken note of by then.

        Raises:
            AssertionError: the stream ended before.
        """
        token = os.urandom(4)
        await self.send(Frame(PING, token))
        frames = []
        while (frame := await self._receive_expecting("a Pong")) != Frame(PONG, token):
            frames.append(frame)
        return frames

    async def answer_close(self) -> tuple[int | None, str]:
        """Receive a Close frame, which must be next, echo it (§5.5.1), and close the stream.

        Raises:
            AssertionError: another frame came, or the stream ended.
        """
        code, reason = await self.receive_close()
        await self.send(close_frame(code, reason))
        await self.drop()
        return code, reason

    # What they are made of

    def _new_mask(self) -> bytes | None:
        return os.urandom(4) if self._is_client else None

    def _take(self, n: int) -> bytes:
        data = bytes(self._unread[:n])
        del self._unread[:n]
        return data

    async def _read_expecting(self, expected: str) -> None:
        """Read what is there; fail if that is the end."""
        try:
            self._unread += await self.stream.receive()
        except _ENDED as exc:
            raise AssertionError(f"expected {expected}, but {self._how(exc)}") from exc

    async def _receive_expecting(self, expected: str) -> Frame:
        """Receive a frame; fail if it is the end that comes."""
        try:
            return await self.receive()
        except _ENDED as exc:
            raise AssertionError(f"expected {expected}, but {self._how(exc)}") from exc

    async def _expect_bytes(self, expected: bytes) -> None:
        while len(self._unread) < len(expected) and expected.startswith(self._unread):
            await self._read_expecting(shorten(expected))
        if self._unread.startswith(expected):
            self._take(len(expected))
            return
        seen = bytes(self._unread[: len(expected)])
        where = _where(expected, seen)
        raise AssertionError(f"expected {shorten(expected)}, received {shorten(seen)}{where}")

    def _how(self, exc: Exception) -> str:
        """Say how the stream ended."""
        verb = "ended" if isinstance(exc, anyio.EndOfStream) else "broke"
        after = f" after {shorten(bytes(self._unread))}" if self._unread else ""
        return f"the stream {verb}{after}"


def _where(expected: bytes, seen: bytes) -> str:
    """Say where two byte strings begin to differ, unless that is to be seen in their beginnings."""
    pairs = enumerate(zip(expected, seen, strict=False))
    n = next((i for i, (a, b) in pairs if a != b), min(len(expected), len(seen)))
    if n < SHOWN or expected == seen:
        return ""
    return f"; from byte {n} on, {shorten(expected[n:])} and {shorten(seen[n:])}"


def _parse_close(frame: Frame) -> tuple[int | None, str]:
    if frame.opcode != CLOSE:
        raise AssertionError(f"expected a Close frame, received {frame!r}")
    if not frame.payload:
        return None, ""
    if len(frame.payload) == 1:
        raise AssertionError(f"half a close code (§5.5.1): received {frame!r}")
    try:
        return int.from_bytes(frame.payload[:2], "big"), frame.payload[2:].decode()
    except UnicodeDecodeError as exc:
        raise AssertionError(f"a close reason that is not UTF-8: received {frame!r}") from exc
