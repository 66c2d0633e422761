"""What others make of the same bytes: wsproto of frames, and plain zlib of what is compressed.

None of it shares code with what it is compared with.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from anyws.testing import BINARY, CONTINUATION, TEXT, Frame, FrameReader

__all__ = [
    "DEFLATE_OFFERS",
    "Heard",
    "Inflate",
    "Story",
    "hear",
    "new_wsproto",
    "read_frames",
    "read_story",
]

#: What a reader of frames was told: the kind of event, and what it says.
Heard = tuple[object, ...]

#: What was agreed on, by the names that `transcripts.EXTENSIONS` has for it.
DEFLATE_OFFERS = {
    "deflate": "permessage-deflate",
    "alone": (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=9; client_max_window_bits=9"
    ),
}


def new_wsproto(*, is_client: bool, extension: str) -> FrameProtocol:
    """Return wsproto's side of a connection, with one of `DEFLATE_OFFERS` or none."""
    if not extension:
        return FrameProtocol(is_client, [])
    deflate = PerMessageDeflate()
    deflate.finalize(DEFLATE_OFFERS[extension])
    return FrameProtocol(is_client, [deflate])


def hear(wsproto: FrameProtocol, chunks: Iterable[bytes]) -> list[Heard]:
    """Return what wsproto is told by the chunks, up to an error: `("failure", code)`."""
    heard: list[Heard] = []
    pieces: list[str | bytes] = []
    for chunk in chunks:
        wsproto.receive_bytes(chunk)
        try:
            for frame in wsproto.received_frames():
                payload = frame.payload
                if frame.opcode is Opcode.CLOSE:
                    assert isinstance(payload, tuple)
                    heard.append(("close", int(payload[0]), payload[1]))
                elif frame.opcode in (Opcode.PING, Opcode.PONG):
                    assert isinstance(payload, bytes)
                    heard.append((frame.opcode.name.lower(), payload))
                else:
                    assert isinstance(payload, str | bytes)
                    pieces.append(payload)
                    if frame.message_finished:
                        heard.append(("message", type(payload)().join(pieces)))  # type: ignore[arg-type]  # all of one type
                        pieces.clear()
        except ParseFailed as exc:
            heard.append(("failure", int(exc.code)))
            return heard
    return heard


class Inflate:
    """Decompresses messages as plainly as can be (RFC 7692 §7.2.2).

    Args:
        bits: of the window.
        keeps: whether a message may refer to those before.

    Attributes:
        restarts: blocks of the message that were marked as the last one.
        broken: the message is no DEFLATE, or not by the rules.
        ends_within: that is because it ends within a block.
    """

    def __init__(self, bits: int, *, keeps: bool) -> None:
        self._bits = bits
        self._keeps = keeps
        self._inflate = zlib.decompressobj(-bits)
        self.restarts = 0
        self.broken = False
        self.ends_within = False

    def decode(self, message: bytes) -> bytes | None:
        """Return what a whole message says, None if it is broken."""
        return self.begin().feed(message).end()

    def begin(self) -> Inflate:
        """Begin a message."""
        if not self._keeps:
            self._inflate = zlib.decompressobj(-self._bits)
        self.restarts = 0
        self.said = b""
        return self

    def feed(self, data: bytes) -> Inflate:
        """Take the next bytes of the message."""
        try:
            while data and not self.broken:
                self.said += self._inflate.decompress(data)
                data = b""
                if self._inflate.eof:
                    data = self._inflate.unused_data
                    self._inflate = zlib.decompressobj(-self._bits)
                    self.restarts += 1
                    self.broken = self.restarts > 256
        except zlib.error:
            self.broken = True
        return self

    def end(self) -> bytes | None:
        """End the message, and return what it says; None if it is broken."""
        self.feed(b"\0\0\xff\xff")
        if self.broken:
            return None
        # §7.2.1: it ends where a block does if an empty last block can follow.
        last = self._inflate.copy()
        try:
            more = last.decompress(b"\x01\0\0\xff\xff")
        except zlib.error:
            more = b"more"
        self.broken = self.ends_within = bool(more or not last.eof or last.unused_data)
        return None if self.broken else self.said


@dataclass(slots=True)
class Story:
    """What a stream with compressed messages says, as far as it keeps to the rules.

    Attributes:
        messages: those that are complete and in order.
        broken: another one follows, or begins, that is not.
        facts: what `DIFFERENCES` of the comparison are about, and after how many messages it came
            first.
    """

    messages: list[str | bytes] = field(default_factory=list)
    broken: bool = False
    facts: dict[str, int] = field(default_factory=dict)

    def note(self, fact: str) -> None:
        """Take note of a fact about the next message."""
        self.facts.setdefault(fact, len(self.messages))


def read_story(data: bytes, *, masked: bool, extension: str) -> Story:
    """Read a stream with the frame reader of the tests and zlib alone."""
    story = Story()
    inflate = Inflate(9, keeps=False) if extension == "alone" else Inflate(15, keeps=True)
    text = compressed = in_message = False
    plain = b""
    for frame, is_whole in read_frames(data, masked=masked, reserved=4 if extension else 0):
        if frame.opcode not in (CONTINUATION, TEXT, BINARY):
            if in_message and compressed:
                story.note("control frame in a compressed message")
            continue
        if frame.opcode != CONTINUATION:
            text, compressed, plain = frame.opcode == TEXT, frame.reserved == 4, b""
            inflate.begin()
        ends = frame.fin and is_whole
        in_message = not ends
        if compressed:
            inflate.feed(frame.payload)
            plain = (inflate.end() or b"") if ends else inflate.said
            if inflate.restarts:
                story.note("last block")
            if inflate.ends_within:
                story.note("end within a block")
        else:
            plain += frame.payload
        broken = compressed and inflate.broken
        if broken or (text and not _can_begin_text(plain, is_whole=ends)):
            story.broken = True
            return story
        if ends:
            story.messages.append(plain.decode() if text else plain)
    return story


def read_frames(data: bytes, *, masked: bool, reserved: int) -> Iterator[tuple[Frame, bool]]:
    """Yield the frames of a stream, up to one that breaks a rule; and what there is of another."""
    reader = FrameReader(masked=masked, reserved=reserved)
    reader.begun += data
    try:
        while (frame := reader.next_frame()) is not None:
            yield frame, True
        rest = bytes(reader.begun)
        n = rest[1] & 0x7F
        start = 2 + (2 if n == 126 else 8 if n == 127 else 0) + (4 if masked else 0)
        if len(rest) < start or rest[0] & 0x0F > BINARY:
            return
        # A frame of what has come: to apply a masking key once more is to take it off.
        mask = rest[start - 4 : start] if masked else None
        there = len(rest) - start
        payload = Frame(BINARY, rest[start:]).encode(mask)[-there:] if there else b""
        begun = Frame(rest[0] & 0x0F, payload, rest[0] >= 0x80, (rest[0] & 0x70) >> 4)
        reader.begun[:] = begun.encode(mask)
        if (frame := reader.next_frame()) is not None:
            yield frame, False
    except (AssertionError, IndexError):
        return


def _can_begin_text(data: bytes, *, is_whole: bool) -> bool:
    """Say whether some text begins with these bytes (RFC 6455 §8.1)."""
    # Wherever a character breaks off, its other bytes may be all of the one or all of the other.
    rests = [b""] if is_whole else [octet * n for octet in (b"\x80", b"\xbf") for n in range(4)]
    return any(_is_utf8(data + rest) for rest in rests)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
