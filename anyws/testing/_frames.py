"""Frames as they are on the wire, legal or not, and a reader that is strict (RFC 6455 §5).

Shares no code with the implementation in `anyws`, so that neither can hide the other's mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "SHOWN",
    "TEXT",
    "Frame",
    "FrameReader",
    "close_frame",
    "shorten",
]

#: Opcodes of data frames (§5.6).
CONTINUATION, TEXT, BINARY = 0, 1, 2

#: Opcodes of control frames (§5.5).
CLOSE, PING, PONG = 8, 9, 10

_NAMES = {
    CONTINUATION: "CONTINUATION",
    TEXT: "TEXT",
    BINARY: "BINARY",
    CLOSE: "CLOSE",
    PING: "PING",
    PONG: "PONG",
}

#: 80 bytes of a payload in a message: enough to recognize it, and one line in most terminals.
SHOWN = 80


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """A frame, unmasked (RFC 6455 §5.2).

    Two frames are equal if they say the same; the masking key is none of that.

    Attributes:
        opcode: 0 to 15; `TEXT` and so on, or a member of `anyws.Opcode`.
        payload: what it carries, of any length.
        fin: whether it is the last frame of its message.
        reserved: the three reserved bits as a number, RSV1 being 4.
        length: the length that the header states, if it is not that of `payload`.
        length_bytes: 1, 3 or 9 bytes for the length; None for the fewest that hold it.
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0
    length: int | None = None
    length_bytes: int | None = None

    def encode(self, mask: bytes | None = None) -> bytes:
        """Encode it, whether or not it is legal, masked with these four bytes if any are given."""
        n = len(self.payload) if self.length is None else self.length
        size = self.length_bytes or (1 if n < 126 else 3 if n < 1 << 16 else 9)
        header = bytes(
            [
                (0x80 if self.fin else 0) | self.reserved << 4 | self.opcode,
                (0x80 if mask else 0) | {1: n, 3: 126, 9: 127}[size],
            ]
        )
        if size > 1:
            header += n.to_bytes(size - 1, "big")
        return header + (mask + _xor(self.payload, mask) if mask else self.payload)

    def __repr__(self) -> str:
        said = [_NAMES.get(self.opcode, str(int(self.opcode))), shorten(self.payload)]
        if not self.fin:
            said.append("fin=False")
        if self.reserved:
            said.append(f"reserved={self.reserved}")
        if self.length is not None:
            said.append(f"length={self.length}")
        if self.length_bytes is not None:
            said.append(f"length_bytes={self.length_bytes}")
        return f"Frame({', '.join(said)})"


def close_frame(code: int | None = None, reason: str = "") -> Frame:
    """Return a Close frame (RFC 6455 §5.5.1); without a code, an empty one."""
    return Frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())


class FrameReader:
    """Takes bytes and gives frames; fails on what RFC 6455 §5 forbids every sender.

    What the payload of a frame means is not looked at.

    Args:
        masked: whether the sender has to mask its frames, as a client has (§5.3).
        reserved: the reserved bits that extensions may set in the first frame of a message (§5.2),
            as `Frame` has them.

    Attributes:
        begun: bytes that have not been read as a frame yet.
    """

    def __init__(self, *, masked: bool, reserved: int = 0) -> None:
        self.begun: bytearray = bytearray()
        self._masked = masked
        self._reserved = reserved << 4
        self._in_message = False
        self._closed = False

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        Raises:
            AssertionError: a frame breaks the rules; the message says which.
        """
        self.begun += data
        frames = []
        while (frame := self.next_frame()) is not None:
            frames.append(frame)
        return frames

    def next_frame(self) -> Frame | None:
        """Take the next frame out of `begun`; None if it is not complete.

        Raises:
            AssertionError: it breaks the rules; the message says which.
        """
        data = self.begun
        if len(data) < 2:
            return None
        self._check_first_bytes()
        start, n = 2, data[1] & 0x7F
        if n >= 126:
            start += 2 if n == 126 else 8
            if len(data) < start:
                return None
            shortest = 126 if n == 126 else 1 << 16
            n = int.from_bytes(data[2:start], "big")
            if n < shortest:
                raise self._broken(f"the length {n} is not in its shortest form (§5.2)")
            if n >> 63:
                raise self._broken("the highest bit of the length is set (§5.2)")
        key_at = start
        start += 4 if self._masked else 0
        if len(data) < start + n:
            return None
        payload = bytes(data[start : start + n])
        if self._masked:
            payload = _xor(payload, bytes(data[key_at:start]))
        reserved = (data[0] & 0x70) >> 4
        frame = Frame(data[0] & 0x0F, payload, fin=bool(data[0] & 0x80), reserved=reserved)
        self._check_order(frame)
        del data[: start + n]
        return frame

    def _check_first_bytes(self) -> None:
        """Check what needs no more than two bytes, so that a torn frame is found out too."""
        first, second = self.begun[:2]
        opcode = first & 0x0F
        if self._closed:
            raise self._broken("bytes after the Close frame (§5.5.1)")
        if first & 0x70 & ~(self._reserved if opcode in (TEXT, BINARY) else 0):
            raise self._broken("a reserved bit is set, and no extension was agreed on (§5.2)")
        if opcode not in _NAMES:
            raise self._broken(f"the opcode {opcode} is not defined (§5.2)")
        if bool(second & 0x80) is not self._masked:
            raise self._broken(
                "a client's frame is not masked (§5.3)"
                if self._masked
                else "a server's frame is masked (§5.3)"
            )
        if opcode >= CLOSE and not first & 0x80:
            raise self._broken("a control frame is fragmented (§5.5)")
        if opcode >= CLOSE and second & 0x7F > 125:
            raise self._broken("a control frame has more than 125 bytes (§5.5)")

    def _check_order(self, frame: Frame) -> None:
        if frame.opcode >= CLOSE:
            self._closed = frame.opcode == CLOSE
            return
        if (frame.opcode == CONTINUATION) is not self._in_message:
            raise self._broken(
                "a message begins within another (§5.4)"
                if self._in_message
                else "a continuation without a message (§5.4)"
            )
        self._in_message = not frame.fin

    def _broken(self, rule: str) -> AssertionError:
        return AssertionError(f"{rule}: received {shorten(bytes(self.begun))}")


def shorten(data: bytes) -> str:
    """Return a literal for bytes, with their number instead of the rest if they are many."""
    if len(data) <= SHOWN:
        return repr(data)
    return f"{data[:SHOWN]!r}... ({len(data)} bytes)"


def _xor(data: bytes, key: bytes) -> bytes:
    """Apply a masking key (§5.3), all at once as one long number."""
    n = len(data)
    keys = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(keys, "big")).to_bytes(n, "big")
