"""One side of an open connection with extensions in play: RFC 6455 §9, RFC 7692 §5 and §6."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

import pytest

from anyws import CloseFrame, LocalProtocolError
from anyws._core.deflate import Deflate
from anyws._core.events import CloseReceived, Event, Fragment, Ping, Pong, TooBig, Violation
from anyws._core.extensions import ExtensionCodec
from anyws._core.protocol import Flow, Protocol
from anyws.testing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameReader,
    close_frame,
)

from .wire import MASK, encode, masked

both_sides = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
sizes = pytest.mark.parametrize("size", [None, 1, 7], ids=["whole", "byte by byte", "by 7 bytes"])

KiB = 1024

#: What one call may decode, and one piece more.
A_CALL = 512 * KiB + 64 * KiB

Extensions = Sequence[tuple[int, ExtensionCodec]]


def deflate(*, is_client: bool) -> list[tuple[int, ExtensionCodec]]:
    """Return compression with windows of any size, in messages of any size."""
    extension = Deflate(server_max_window_bits=None, client_max_window_bits=None, threshold=0)
    return [(4, extension.codec((), is_client=is_client))]


def compressed(message: bytes, level: int = 6) -> bytes:
    """Return a message compressed by itself (RFC 7692 §7.2.1)."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def squeezed(message: bytes | str) -> Frame:
    """Return the one frame of a compressed message."""
    if isinstance(message, str):
        return Frame(TEXT, compressed(message.encode()), reserved=4)
    return Frame(BINARY, compressed(message), reserved=4)


class Prefix(ExtensionCodec):
    """Puts a letter before each message, and wants it back; notes what it is asked for."""

    def __init__(self, letter: str, rsv: int) -> None:
        self.letter = letter.encode()
        self.rsv = rsv
        self.calls: list[str] = []
        self._begins = False
        self._expects = False

    def begin_message(self, *, text: bool, size: int | None, compress: bool | None) -> int | None:
        self.calls.append(f"send {'text' if text else 'binary'} {size} {compress}")
        if compress is False:
            return None
        self._begins = True
        return self.rsv

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        self.calls.append(f"encode {len(data)} {flush} {final}")
        begins, self._begins = self._begins, False
        return self.letter + data if begins else data

    def cancel_message(self) -> None:
        self.calls.append("cancel")

    def begin_receiving(self, *, text: bool, rsv: int) -> None:
        self.calls.append(f"receive {'text' if text else 'binary'} {rsv:03b}")
        self._expects = True

    def decode(self, data: bytes, *, final: bool) -> Iterator[bytes]:
        if self._expects and data:
            if not data.startswith(self.letter):
                raise ValueError(f"{data[:1]!r} where {self.letter!r} should be")
            self._expects = False
            data = data[1:]
        if final and self._expects:
            raise ValueError(f"nothing where {self.letter!r} should be")
        yield data


class Side:
    """A `Protocol`, fed with frames as its peer would send them, and worked off."""

    def __init__(
        self,
        is_client: bool,
        extensions: Extensions | None = None,
        *,
        max_size: int | None = 1 << 20,
        max_fragments: int | None = 1024,
    ) -> None:
        self.is_client = is_client
        self.protocol = Protocol(
            is_client=is_client,
            max_size=max_size,
            max_fragments=max_fragments,
            next_mask=lambda: MASK,
            extensions=deflate(is_client=is_client) if extensions is None else extensions,
        )

    def encode(self, *frames: Frame) -> bytes:
        return encode(*frames, to_server=not self.is_client)

    def receive(self, *frames: Frame, size: int | None = None) -> list[Event]:
        """Let the frames arrive, `size` bytes at a time, and do all the work there is."""
        data = self.encode(*frames)
        step = size or max(1, len(data))
        events: list[Event] = []
        for at in range(0, len(data), step):
            events += self.protocol.receive_data(data[at : at + step])
            events += self.work()
        return events

    def work(self, steps: int = 1 << 30) -> list[Event]:
        """Do what work there is, in so many steps at most."""
        events: list[Event] = []
        while self.protocol.has_work and steps:
            events += self.protocol.receive_data(b"")
            steps -= 1
        return events

    def frames(self, *buffers: bytes) -> list[Frame]:
        """Read what this side sends; a mask that is not the right one would give other payloads."""
        reader = FrameReader(masked=self.is_client, reserved=7)
        return reader.feed(b"".join(buffers))


def joined(events: Iterable[Event]) -> str | bytes:
    """Return the message that fragments make up, of which the last one is final."""
    fragments = list(events)
    pieces = [event.data for event in fragments if isinstance(event, Fragment)]
    assert len(pieces) == len(fragments)
    assert [event.final for event in fragments if isinstance(event, Fragment)] == [
        *[False] * (len(pieces) - 1),
        True,
    ]
    return type(pieces[0])().join(pieces)  # type: ignore[arg-type]  # all of one type


# Reserved bits (RFC 6455 §5.2, RFC 7692 §6)


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame, what came before it, and why it is refused."""

    negotiated: tuple[int, ...]
    frames: tuple[Frame, ...]
    reason: str


FIRST = Frame(TEXT, b"He", fin=False, reserved=4)

REFUSED = {
    "nothing negotiated": Refused(
        (), (Frame(TEXT, b"a", reserved=4),), "reserved bits 100 set, no extension negotiated"
    ),
    "an extension without any": Refused(
        (0,), (Frame(TEXT, b"a", reserved=4),), "reserved bits 100 set, no extension negotiated"
    ),
    "RSV2": Refused(
        (4,), (Frame(BINARY, b"a", reserved=2),), "reserved bits 010 set, negotiated are 100"
    ),
    "RSV1 and RSV3": Refused(
        (4,), (Frame(TEXT, b"a", reserved=5),), "reserved bits 101 set, negotiated are 100"
    ),
    "all of them": Refused(
        (4, 2), (Frame(TEXT, b"a", reserved=7),), "reserved bits 111 set, negotiated are 110"
    ),
    "first fragment": Refused(
        (4,),
        (Frame(TEXT, b"a", reserved=1, fin=False),),
        "reserved bits 001 set, negotiated are 100",
    ),
    "continuation": Refused(
        (4,),
        (FIRST, Frame(CONTINUATION, b"a", reserved=4)),
        "reserved bits 100 set in a frame with opcode 0",
    ),
    "continuation of a plain message": Refused(
        (4,),
        (Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"a", reserved=4, fin=False)),
        "reserved bits 100 set in a frame with opcode 0",
    ),
    "continuation of nothing": Refused(
        (4,),
        (Frame(CONTINUATION, b"a", reserved=4),),
        "reserved bits 100 set in a frame with opcode 0",
    ),
    **{
        f"opcode {opcode}": Refused(
            (4,),
            (Frame(opcode, b"", reserved=4),),
            f"reserved bits 100 set in a frame with opcode {opcode}",
        )
        for opcode in (PING, PONG, CLOSE, 3, 11)
    },
    "Ping within a message": Refused(
        (4,),
        (FIRST, Frame(PING, b"a", reserved=4)),
        "reserved bits 100 set in a frame with opcode 9",
    ),
    "new message within another": Refused(
        (4,), (FIRST, squeezed("a")), "new message inside a fragmented one"
    ),
}


@sizes
@both_sides
@pytest.mark.parametrize("name", REFUSED)
def test_reserved_bits_stand_where_they_were_negotiated_only(
    name: str, is_client: bool, size: int | None
) -> None:
    case = REFUSED[name]
    codecs = [(rsv, ExtensionCodec()) for rsv in case.negotiated]
    side = Side(is_client, codecs)
    expected = [Violation(1002, case.reason)]
    assert side.receive(*case.frames, Frame(PING, b"behind"), size=size) == expected
    assert side.protocol.reading is Flow.CLOSED
    assert side.receive(Frame(TEXT, b"a")) == []


@both_sides
@pytest.mark.parametrize("bits", [6, 4, 2, 0])
def test_any_of_the_reserved_bits_negotiated_may_be_set(is_client: bool, bits: int) -> None:
    side = Side(is_client, [(4, ExtensionCodec()), (2, ExtensionCodec())])
    assert side.receive(Frame(TEXT, b"a", reserved=bits)) == ["a"]


# Messages, compressed and not


MESSAGES: dict[str, tuple[tuple[Frame, ...], tuple[Event, ...]]] = {
    "text": ((squeezed("Hello"),), ("Hello",)),
    "binary": ((squeezed(b"\x00\xff" * 100),), (b"\x00\xff" * 100,)),
    "empty": ((squeezed(""), squeezed(b"")), ("", b"")),
    "in one byte": (
        (Frame(TEXT, b"\x00", reserved=4), Frame(BINARY, b"\x00", reserved=4)),
        ("", b""),
    ),
    "beyond ASCII": ((squeezed("κόσμε 🌍" * 9),), ("κόσμε 🌍" * 9,)),
    "not compressed": ((Frame(TEXT, b"Hello"), Frame(BINARY, b"Hello")), ("Hello", b"Hello")),
    "by turns": (
        (squeezed(b"a"), Frame(TEXT, b"b"), squeezed("c"), Frame(BINARY, b"d"), squeezed(b"e")),
        (b"a", "b", "c", b"d", b"e"),
    ),
    "context that goes on": (
        (
            Frame(TEXT, bytes.fromhex("f248cdc9c90700"), reserved=4),
            Frame(TEXT, b"plain"),
            Frame(BINARY, bytes.fromhex("f200110000"), reserved=4),
        ),
        ("Hello", "plain", b"Hello"),
    ),
    "fragments": (
        (
            Frame(TEXT, bytes.fromhex("f248cd"), fin=False, reserved=4),
            Frame(CONTINUATION, b"", fin=False),
            Frame(PING, b"1"),
            Frame(CONTINUATION, bytes.fromhex("c9c90700")),
        ),
        (Ping(b"1"), "Hello"),
    ),
    "fragments with nothing in the first or the last": (
        (
            Frame(BINARY, b"", fin=False, reserved=4),
            Frame(CONTINUATION, bytes.fromhex("f248cdc9c90700"), fin=False),
            Frame(PONG, b"2"),
            Frame(CONTINUATION, b""),
            Frame(BINARY, b"a"),
        ),
        (Pong(b"2"), b"Hello", b"a"),
    ),
    "fragments not compressed": (
        (Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"b"), squeezed("c")),
        ("ab", "c"),
    ),
    "large": ((squeezed(b"ab" * 50_000), squeezed("é" * 40_000)), (b"ab" * 50_000, "é" * 40_000)),
    "Close behind": (
        (squeezed("a"), close_frame(1000)),
        ("a", CloseReceived(CloseFrame(1000, ""))),
    ),
    "codes of its own, and then a text": (
        (squeezed(bytes(range(100)) * 2), Frame(TEXT, b"Hello"), squeezed("Hello")),
        (bytes(range(100)) * 2, "Hello", "Hello"),
    ),
}  # fmt: skip


@sizes
@both_sides
@pytest.mark.parametrize("name", MESSAGES)
def test_compressed_messages_are_received(name: str, is_client: bool, size: int | None) -> None:
    frames, events = MESSAGES[name]
    found = Side(is_client).receive(*frames, size=size)
    assert found == list(events)
    assert [type(event) for event in found] == [type(event) for event in events]


@both_sides
@pytest.mark.parametrize("cut", range(1, 40))
@pytest.mark.parametrize("follows", ["text", "compressed text", "binary", "compressed binary"])
def test_message_in_two_pieces_leaves_nothing_for_the_next(
    follows: str, cut: int, is_client: bool
) -> None:
    # Of most first pieces nothing can be decoded yet, and of the next all of it.
    side = Side(is_client)
    message = bytes(range(64, 104))
    assert _in_two(side, squeezed(message), cut) == [message]
    text = "Hello, " * 2000
    frame, expected = {
        "text": (Frame(TEXT, text.encode()), text),
        "compressed text": (squeezed(text), text),
        "binary": (Frame(BINARY, text.encode()), text.encode()),
        "compressed binary": (squeezed(text.encode()), text.encode()),
    }[follows]
    assert _in_two(side, frame, cut) == [expected]


def _in_two(side: Side, frame: Frame, cut: int) -> list[Event]:
    data = side.encode(frame)
    at = len(data) - len(frame.payload) + cut
    events = side.protocol.receive_data(data[:at])
    if frame.opcode == TEXT:
        assert not side.protocol.wants_room()
    return events + side.protocol.receive_data(data[at:])


@both_sides
@pytest.mark.parametrize("fin", [False, True])
def test_reading_says_where_a_compressed_message_is(is_client: bool, fin: bool) -> None:
    side = Side(is_client)
    payload = compressed(b"Hello")
    frames = [
        Frame(TEXT, payload[:3], fin=False, reserved=4),
        Frame(CONTINUATION, payload[3:], fin=fin),
    ]
    side.receive(*frames)
    assert side.protocol.reading is (Flow.OPEN if fin else Flow.IN_MESSAGE)


def test_extensions_are_told_of() -> None:
    assert Side(True).protocol.has_extensions
    assert not Side(True, []).protocol.has_extensions


# Limits


@sizes
@both_sides
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_limit_is_for_what_is_decoded(text: bool, is_client: bool, size: int | None) -> None:
    limit = 1000
    fits: str | bytes = "a" * limit if text else b"a" * limit
    side = Side(is_client, max_size=limit)
    assert side.receive(squeezed(fits), size=size) == [fits]
    large: str | bytes = "a" * 1001 if text else b"a" * 1001
    (problem,) = side.receive(squeezed(large), Frame(PING, b"behind"), size=size)
    assert isinstance(problem, TooBig)
    assert problem.code == 1009
    reason = "incoming message of 1001 bytes or more, limit 1000"
    assert problem.reason == reason
    assert not side.protocol.has_work
    assert side.receive(Frame(PING, b"more"), size=size) == []


@both_sides
def test_limit_of_nothing_lets_empty_messages_pass(is_client: bool) -> None:
    side = Side(is_client, max_size=0)
    assert side.receive(squeezed(""), squeezed(b"")) == ["", b""]
    (problem,) = side.receive(squeezed("a"))
    assert isinstance(problem, TooBig)


# Bytes on the wire that each fragment may take beyond what the extension says.
OF_FRAGMENT = 16


@both_sides
def test_no_limit_is_no_limit(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    message = bytes(20 << 20)
    assert side.receive(squeezed(message)) == [message]


@sizes
@both_sides
def test_limit_on_the_wire_is_what_a_message_within_the_other_can_take(
    is_client: bool, size: int | None
) -> None:
    (extension,) = extensions = deflate(is_client=is_client)
    most = extension[1].largest_encoded(100) + OF_FRAGMENT
    side = Side(is_client, extensions, max_size=100)
    reason = f"incoming frame of {most + 1} bytes, limit {most} a message"
    # Nothing of the payload has to come for that.
    header = Frame(BINARY, b"", length=most + 1, reserved=4)
    assert side.receive(header, size=size) == [TooBig(1009, reason)]
    # Empty blocks: as many as there may be.
    side = Side(is_client, max_size=100)
    blocks = b"\x00\x00\x00\xff\xff" * (most // 5 - 1) + b"\x00"
    assert side.receive(Frame(BINARY, blocks, reserved=4), size=size) == [b""]


@both_sides
def test_limit_on_the_wire_is_for_all_fragments_together(is_client: bool) -> None:
    (extension,) = extensions = deflate(is_client=is_client)
    most = extension[1].largest_encoded(100) + 2 * OF_FRAGMENT
    side = Side(is_client, extensions, max_size=100)
    first = b"\x00\x00\x00\xff\xff" * ((most - OF_FRAGMENT) // 5)
    assert side.receive(Frame(BINARY, first, reserved=4, fin=False)) == []
    rest = most - len(first) + 1
    reason = f"incoming frame of {rest} bytes after {len(first)}, limit {most} a message"
    assert side.receive(Frame(CONTINUATION, bytes(rest))) == [TooBig(1009, reason)]


@both_sides
def test_limit_on_the_wire_goes_through_all_extensions(is_client: bool) -> None:
    class Tenfold(Prefix):
        def largest_encoded(self, size: int) -> int:
            return 10 * size

    class OneMore(Prefix):
        def largest_encoded(self, size: int) -> int:
            return size + 1

    # It was encoded in this order: 100 bytes to 1000, and 1000 to 1001.
    side = Side(is_client, [(4, Tenfold("a", 4)), (2, OneMore("b", 2))], max_size=100)
    assert side.receive(Frame(BINARY, b"ba" + bytes(100), reserved=6)) == [bytes(100)]
    most = 1001 + OF_FRAGMENT
    header = Frame(BINARY, b"", length=most + 1, reserved=6)
    reason = f"incoming frame of {most + 1} bytes, limit {most} a message"
    assert side.receive(header) == [TooBig(1009, reason)]


@both_sides
def test_limit_of_fragments_is_for_compressed_messages_too(is_client: bool) -> None:
    side = Side(is_client, max_fragments=2)
    frames = [FIRST, *[Frame(CONTINUATION, b"\x00", fin=False)] * 2]
    reason = "incoming message of more than 2 fragments"
    assert side.receive(*frames) == [TooBig(1008, reason)]


@sizes
@both_sides
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("by", ["decoded", "wire", "fragments"])
def test_reading_as_a_stream_lifts_the_limit(
    by: str, text: bool, is_client: bool, size: int | None
) -> None:
    message: str | bytes = "aé" * 3000 if text else b"ab" * 4500
    data = message.encode() if isinstance(message, str) else message
    opcode = TEXT if text else BINARY
    payload = compressed(data)
    frames = [Frame(opcode, payload, reserved=4)]
    if by == "wire":
        frames = [Frame(opcode, b"\x00\x00\x00\xff\xff" * 1000 + payload, reserved=4)]
    elif by == "fragments":
        frames = [
            Frame(opcode, payload[:5], reserved=4, fin=False),
            Frame(CONTINUATION, payload[5:10], fin=False),
            Frame(CONTINUATION, payload[10:]),
        ]
    side = Side(
        is_client,
        max_size=1 << 20 if by == "fragments" else 500,
        max_fragments=2 if by == "fragments" else 10,
    )
    found: list[Event] = []
    problems = 0
    fits = squeezed("fits")
    for octets in _pieces(side.encode(*frames, fits), size):
        for event in side.protocol.receive_data(octets) + side.work():
            if isinstance(event, TooBig):
                problems += 1
                found += side.protocol.read_as_stream() + side.work()
            else:
                found.append(event)
    assert problems == 1
    assert found.pop() == "fits"
    assert joined(found) == message
    # It was lifted for that message alone.
    assert isinstance(side.receive(*frames, size=size)[0], TooBig)


def _pieces(data: bytes, size: int | None) -> Iterator[bytes]:
    step = size or len(data)
    for at in range(0, len(data), step):
        yield data[at : at + step]


@sizes
@both_sides
@pytest.mark.parametrize("by", ["decoded", "wire"])
def test_discarding_lifts_the_limit_and_drops_the_message(
    by: str, is_client: bool, size: int | None
) -> None:
    side = Side(is_client, max_size=500)
    payload = compressed(bytes(100_000))
    if by == "wire":
        payload = b"\x00\x00\x00\xff\xff" * 1000 + payload
    frames = (
        Frame(BINARY, payload, reserved=4),
        Frame(PING, b"1"),
        Frame(TEXT, b"\xff broken", reserved=4),
        close_frame(1001),
    )
    found: list[Event] = []
    for octets in _pieces(side.encode(*frames), size):
        for event in side.protocol.receive_data(octets):
            found += side.protocol.discard() if isinstance(event, TooBig) else [event]
    assert found == [Ping(b"1"), CloseReceived(CloseFrame(1001, ""))]


# Steps: one call does not decode much more than 512 KiB


def calls(side: Side, data: bytes) -> Iterator[tuple[int, list[Event]]]:
    """Receive data, and yield for each call what it decoded and what came of it."""
    while True:
        side.protocol.decoded = 0
        events = side.protocol.receive_data(data)
        yield side.protocol.decoded, events
        data = b""
        if not side.protocol.has_work:
            return


BOMB = bytes(8 << 20)


@both_sides
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_large_message_is_decoded_in_steps(is_client: bool, text: bool) -> None:
    side = Side(is_client, max_size=None)
    frame = squeezed(BOMB.decode() if text else BOMB)
    behind = (Frame(PING, b"1"), squeezed("next"), close_frame(1000))
    found: list[Event] = []
    steps = 0
    for decoded, events in calls(side, side.encode(frame, *behind)):
        assert decoded <= A_CALL
        assert not found, "nothing comes before it, nor behind it in another step"
        found += events
        steps += 1
    assert steps >= len(BOMB) // A_CALL
    message = BOMB.decode() if text else BOMB
    assert found == [message, Ping(b"1"), "next", CloseReceived(CloseFrame(1000, ""))]


@both_sides
def test_large_message_in_pieces_is_decoded_in_steps(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    found: list[Event] = []
    for octets in _pieces(side.encode(squeezed(BOMB), Frame(PING, b"1")), 1000):
        for decoded, events in calls(side, octets):
            assert decoded <= A_CALL
            found += events
    assert found == [BOMB, Ping(b"1")]


@both_sides
def test_bytes_that_come_while_there_is_work_wait_behind_it(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    data = side.encode(squeezed(BOMB), squeezed("1"))
    later = [side.encode(Frame(PING, bytes([65 + i]))) for i in range(5)]
    found = side.protocol.receive_data(data)
    for octets in later:
        assert side.protocol.has_work
        assert found == []
        found += side.protocol.receive_data(octets)
    found += side.work()
    assert found == [BOMB, "1", *[Ping(bytes([65 + i])) for i in range(5)]]


@both_sides
def test_many_messages_are_decoded_in_steps(is_client: bool) -> None:
    side = Side(is_client)
    messages = [bytes([i]) * 60_000 for i in range(100)]
    found: list[Event] = []
    steps = 0
    for decoded, events in calls(side, side.encode(*map(squeezed, messages))):
        assert 0 < decoded <= A_CALL
        found += events
        steps += 1
    assert found == messages
    assert 6_000_000 / A_CALL <= steps <= 6_000_000 / A_CALL + 3


@both_sides
def test_many_small_messages_are_not_one_step_each(is_client: bool) -> None:
    side = Side(is_client)
    data = side.encode(*[squeezed("Hello")] * 1000)
    steps = [events for _, events in calls(side, data)]
    assert list(chain.from_iterable(steps)) == ["Hello"] * 1000
    assert max(map(len, steps)) <= 256
    assert len(steps) <= 5


@both_sides
def test_data_that_comes_to_nothing_is_decoded_in_steps(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    blocks = b"\x00\x00\x00\xff\xff" * 1_000_000 + b"\x00"
    frames = side.encode(Frame(BINARY, blocks, reserved=4), Frame(PING, b"1"))
    steps = [events for _, events in calls(side, frames)]
    assert list(chain.from_iterable(steps)) == [b"", Ping(b"1")]
    # 16 times 16 KiB of input each.
    assert len(steps) >= len(blocks) / (256 * KiB)


@both_sides
def test_there_is_no_work_in_what_has_not_come(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    data = side.encode(squeezed(bytes(2 << 20)))
    found = side.protocol.receive_data(data[:-1])
    found += side.work()
    assert found == []
    assert not side.protocol.has_work
    assert side.protocol.receive_data(data[-1:]) + side.work() == [bytes(2 << 20)]
    # As many as a step takes, and a header behind it that is not complete.
    data = side.encode(*[squeezed(bytes(64_000))] * 9)
    found = side.protocol.receive_data(data + side.encode(Frame(PING, b"12345"))[:3])
    found += side.work(100)
    assert not side.protocol.has_work
    assert len(found) == 9


@both_sides
def test_large_message_is_streamed_in_steps(is_client: bool) -> None:
    side = Side(is_client)
    side.protocol.read_as_stream()
    found: list[Event] = []
    for decoded, events in calls(side, side.encode(squeezed(BOMB), squeezed("next"))):
        assert decoded <= A_CALL
        found += events
    assert found.pop() == "next"
    assert joined(found) == BOMB


@both_sides
@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_message_being_decoded_can_be_taken_as_a_stream(
    is_client: bool, steps: int, text: bool
) -> None:
    side = Side(is_client, max_size=None)
    # Characters of two bytes, one of which each piece cuts in half.
    message: str | bytes = "a" + "é" * (4 << 20) if text else BOMB
    assert side.protocol.receive_data(side.encode(squeezed(message), squeezed("next"))) == []
    assert side.work(steps) == []
    assert side.protocol.has_work
    found = side.protocol.read_as_stream()
    assert found
    assert side.protocol.read_whole(), "it has begun"
    found += side.work()
    assert found.pop() == "next"
    assert joined(found) == message


@both_sides
def test_stream_behind_a_message_being_decoded(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    side.protocol.read_as_stream()
    found = side.protocol.receive_data(
        side.encode(squeezed(BOMB), squeezed(b"a" * 100_000), squeezed("whole"))
    )
    assert side.protocol.has_work
    # One is being streamed already: this is the next.
    assert side.protocol.read_as_stream() == []
    assert side.protocol.has_work
    found += side.work()
    assert found.pop() == "whole"
    ends = [i for i, e in enumerate(found) if isinstance(e, Fragment) and e.final]
    assert len(ends) == 2
    assert joined(found[: ends[0] + 1]) == BOMB
    assert joined(found[ends[0] + 1 :]) == b"a" * 100_000


@both_sides
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "as a stream"])
def test_discarding_drops_what_is_being_decoded(is_client: bool, streaming: bool) -> None:
    side = Side(is_client, max_size=None)
    if streaming:
        side.protocol.read_as_stream()
    frames = (squeezed(BOMB), Frame(PING, b"1"), squeezed("dropped"), close_frame(1000))
    events = side.protocol.receive_data(side.encode(*frames))
    assert bool(events) is streaming
    side.protocol.decoded = 0
    assert side.protocol.discard() == [Ping(b"1"), CloseReceived(CloseFrame(1000, ""))]
    assert side.protocol.decoded == 0
    assert not side.protocol.has_work
    assert side.protocol.unfinished_bytes == 0


@both_sides
def test_discarding_drops_the_rest_of_a_message_that_is_being_decoded(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    data = side.encode(squeezed(BOMB), Frame(PING, b"1"))
    side.protocol.receive_data(data[:5000])
    assert side.protocol.has_work
    assert side.protocol.discard() == []
    assert side.protocol.receive_data(data[5000:]) == [Ping(b"1")]


@both_sides
def test_limit_stops_the_decoding(is_client: bool) -> None:
    side = Side(is_client, max_size=100_000)
    found = side.protocol.receive_data(side.encode(squeezed(BOMB)))
    assert isinstance(found[-1], TooBig)
    assert side.protocol.decoded <= 100_000 + 64 * KiB
    assert not side.protocol.has_work
    assert side.protocol.receive_data(b"") == []
    assert side.protocol.decoded <= 100_000 + 64 * KiB


@both_sides
def test_chain_is_decoded_in_steps_even_if_nothing_comes_of_it(is_client: bool) -> None:
    class Gathering(ExtensionCodec):
        """Gives nothing before it has seen all of a message."""

        size = 0

        def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
            self.size += len(data)
            return (b"%d" % self.size,) if final else ()

    gathering = Gathering()
    extensions = [(2, gathering), *deflate(is_client=is_client)]
    side = Side(is_client, extensions)
    frame = Frame(BINARY, compressed(BOMB), reserved=6)
    before = 0
    found: list[Event] = []
    for _, events in calls(side, side.encode(frame)):
        assert gathering.size - before <= 2 * A_CALL
        before = gathering.size
        found += events
    assert found == [b"%d" % len(BOMB)]


@both_sides
def test_decoded_bytes_are_counted(is_client: bool) -> None:
    side = Side(is_client)
    side.receive(squeezed(b"a" * 1000), Frame(BINARY, b"not decoded"), squeezed("é" * 50))
    assert side.protocol.decoded == 1100
    side.protocol.decoded = 0
    side.protocol.read_as_stream()
    side.receive(squeezed(b"a" * 100_000), size=100)
    assert side.protocol.decoded == 100_000


@both_sides
def test_unfinished_bytes_are_those_that_are_held(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    data = side.encode(squeezed(BOMB))
    behind = side.encode(squeezed(b"b"))
    side.protocol.receive_data(data + behind)
    assert side.protocol.unfinished_bytes == side.protocol.decoded + len(behind)
    side.work()
    assert side.protocol.unfinished_bytes == 0


@both_sides
def test_compressed_message_is_not_read_into_its_room(is_client: bool) -> None:
    side = Side(is_client)
    noise = Random(1).randbytes(30_000)
    data = side.encode(squeezed(noise))
    assert len(data) > 10_000
    events = side.protocol.receive_data(data[:5000])
    assert not side.protocol.wants_room()
    assert side.protocol.payload_room() is None
    assert events + side.protocol.receive_data(data[5000:]) == [noise]
    # One that is not compressed still is.
    data = side.encode(Frame(BINARY, noise))
    side.protocol.receive_data(data[:5000])
    assert side.protocol.wants_room()
    with side.protocol.payload_room() as room:  # type: ignore[union-attr]  # there is one, as said
        room[:] = data[5000 : 5000 + len(room)]
        n = len(room)
    events = side.protocol.payload_filled(n)
    assert events + side.protocol.receive_data(data[5000 + n :]) == [noise]


# Several extensions, and those without reserved bits


@sizes
@both_sides
@pytest.mark.parametrize(
    ("bits", "payload"),
    [(0, b"0Hello"), (4, b"01Hello"), (2, b"20Hello"), (6, b"201Hello")],
    ids=["none", "first", "last", "both"],
)
def test_extensions_decode_in_reverse_order(
    bits: int, payload: bytes, is_client: bool, size: int | None
) -> None:
    # They encode in the order of the answer (§9.1), so the last letter put on comes off first.
    def in_order() -> list[tuple[int, ExtensionCodec]]:
        return [(4, Prefix("1", 4)), (0, Prefix("0", 0)), (2, Prefix("2", 2))]

    side = Side(is_client, in_order())
    for opcode, message in ((TEXT, "Hello"), (BINARY, b"Hello")):
        frame = Frame(opcode, payload, reserved=bits)
        assert side.receive(frame, size=size) == [message]
        fragments = [
            Frame(opcode, payload[:1], reserved=bits, fin=False),
            Frame(CONTINUATION, payload[1:3], fin=False),
            Frame(CONTINUATION, payload[3:]),
        ]
        assert side.receive(*fragments, size=size) == [message]


@sizes
@both_sides
def test_what_extensions_encode_in_a_chain_is_decoded(is_client: bool, size: int | None) -> None:
    def several(is_client: bool) -> list[tuple[int, ExtensionCodec]]:
        first, last = Prefix("a", 2), Prefix("b", 0)
        return [(2, first), *deflate(is_client=is_client), (0, last)]

    sender, side = Side(not is_client, several(not is_client)), Side(is_client, several(is_client))
    messages: list[str | bytes] = ["", b"", "Hello", bytes(100_000), "é" * 60_000]
    data = b""
    for message in messages:
        payload = message.encode() if isinstance(message, str) else message
        text = isinstance(message, str)
        data += b"".join(sender.protocol.send_message(payload, text))
        data += b"".join(sender.protocol.send_fragment(payload, text=text, final=False))
        data += b"".join(sender.protocol.send_fragment(b"", text=text, final=True))
    found: list[Event] = []
    for octets in _pieces(data, size):
        found += side.protocol.receive_data(octets) + side.work()
    assert found == [message for message in messages for _ in range(2)]


@sizes
@both_sides
def test_extension_without_reserved_bits_takes_part_in_every_message(
    is_client: bool, size: int | None
) -> None:
    codec = Prefix("x", 0)
    side = Side(is_client, [(0, codec)])
    frames = [Frame(TEXT, b"xa"), Frame(BINARY, b"x"), Frame(PING, b"p"), Frame(TEXT, b"x" * 1000)]
    assert side.receive(*frames, size=size) == ["a", b"", Ping(b"p"), "x" * 999]
    assert codec.calls == ["receive text 000", "receive binary 000", "receive text 000"]
    reason = "b'b' where b'x' should be"
    assert side.receive(Frame(TEXT, b"b"), size=size) == [Violation(1007, reason)]


@sizes
@both_sides
def test_extensions_are_told_of_messages_that_are_theirs(is_client: bool, size: int | None) -> None:
    one, other = Prefix("1", 4), Prefix("2", 2)
    side = Side(is_client, [(4, one), (2, other)])
    side.receive(
        Frame(TEXT, b"a"),
        Frame(BINARY, b"1a", reserved=4),
        Frame(TEXT, b"", reserved=6, fin=False),
        Frame(CONTINUATION, b"21a", fin=False),
        Frame(CONTINUATION, b""),
        Frame(TEXT, b"2a", reserved=2),
        size=size,
    )
    assert one.calls == ["receive binary 100", "receive text 110"]
    assert other.calls == ["receive text 110", "receive text 010"]


# Extensions that fail


class Failing(ExtensionCodec):
    """Does what it is told to instead of decoding."""

    def __init__(
        self,
        decode: Callable[[bytes], object] = lambda data: (data,),
        begin: Callable[[], None] = lambda: None,
        largest: Callable[[], int] = lambda: 1 << 40,
    ) -> None:
        self._decode, self._begin, self._largest = decode, begin, largest

    def begin_receiving(self, *, text: bool, rsv: int) -> None:
        self._begin()

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        return self._decode(data)  # type: ignore[return-value]  # anything, for the sake of it

    def largest_encoded(self, size: int) -> int:
        return self._largest()


def raising(exc: Exception) -> Callable[..., Iterator[bytes]]:
    def fail(*arguments: object) -> Iterator[bytes]:
        raise exc

    return fail


def later(exc: Exception, pieces: int) -> Callable[[bytes], Iterator[bytes]]:
    def fail(data: bytes) -> Iterator[bytes]:
        for _ in range(pieces):
            yield b"a"
        raise exc

    return fail


FAILURES: dict[str, tuple[Exception, int, str]] = {
    "ValueError": (ValueError("bad data"), 1007, "bad data"),
    "a kind of ValueError": (UnicodeError("bad text"), 1007, "bad text"),
    "TypeError": (TypeError("a bug"), 1011, "an extension failed: TypeError('a bug')"),
    "MemoryError": (MemoryError(), 1011, "an extension failed: MemoryError()"),
}


@both_sides
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a chain"])
@pytest.mark.parametrize("reading", ["whole", "as a stream", "in fragments", "text"])
@pytest.mark.parametrize("when", ["begin", "decode", "first piece", "later", "much later"])
@pytest.mark.parametrize("name", ["ValueError", "a kind of ValueError", "TypeError", "MemoryError"])
def test_failure_of_an_extension_ends_the_connection(
    name: str, when: str, reading: str, alone: bool, is_client: bool
) -> None:
    exc, code, reason = FAILURES[name]
    codec = {
        "begin": Failing(begin=raising(exc)),  # type: ignore[arg-type]  # it never returns
        "decode": Failing(raising(exc)),
        "first piece": Failing(later(exc, 0)),
        "later": Failing(later(exc, 2)),
        # In another step.
        "much later": Failing(later(exc, 100)),
    }[when]
    others = [] if alone else [(2, ExtensionCodec()), (0, ExtensionCodec())]
    side = Side(is_client, [(4, codec), *others])
    if reading == "as a stream":
        side.protocol.read_as_stream()
    opcode = TEXT if reading == "text" else BINARY
    fin = reading != "in fragments"
    frames = [Frame(opcode, b"data", reserved=4, fin=fin), Frame(PING, b"behind")]
    found = side.receive(*frames)
    assert found[-1] == Violation(code, reason)
    assert all(isinstance(event, Fragment) for event in found[:-1])
    assert side.protocol.reading is Flow.CLOSED
    assert not side.protocol.has_work
    assert side.protocol.unfinished_bytes == 0
    assert side.receive(Frame(TEXT, b"a")) == []
    # The other direction goes on, so that a Close frame can be sent.
    assert side.protocol.send_close(code)


@both_sides
@pytest.mark.parametrize("name", ["ValueError", "TypeError"])
def test_failure_to_say_how_much_is_too_much_ends_the_connection(
    name: str, is_client: bool
) -> None:
    exc = FAILURES[name][0]
    side = Side(is_client, [(4, Failing(largest=raising(exc)))])  # type: ignore[arg-type]  # it never returns
    (violation,) = side.receive(Frame(BINARY, b"data", reserved=4))
    assert isinstance(violation, Violation)


WRONG_RESULTS = {
    "None": None,
    "a number": 5,
    "bytes themselves": b"data",
    "a text": "data",
    "a tuple of a text": ("data",),
    "a list of a text": ["data"],
    "a tuple of None": (None,),
    "a tuple of a bytearray": (bytearray(b"data"),),
    "a list of a view": [memoryview(b"data")],
}


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "as a stream"])
@pytest.mark.parametrize("name", WRONG_RESULTS)
def test_result_of_another_type_ends_the_connection(
    name: str, streaming: bool, opcode: int
) -> None:
    side = Side(True, [(4, Failing(lambda data: WRONG_RESULTS[name]))])
    if streaming:
        side.protocol.read_as_stream()
    (violation,) = side.receive(Frame(opcode, b"data", reserved=4), Frame(PING, b"behind"))
    assert isinstance(violation, Violation)
    assert violation.code == 1011


@sizes
@both_sides
@pytest.mark.parametrize("fin", [True, False], ids=["frame", "fragments"])
@pytest.mark.parametrize("payload", ["f248cdc9c907", "07", "f200110000", "f348cdc9c907000000"])
def test_broken_compression_ends_the_connection(
    payload: str, fin: bool, is_client: bool, size: int | None
) -> None:
    side = Side(is_client)
    frames = [Frame(TEXT, bytes.fromhex(payload), reserved=4, fin=fin)]
    if not fin:
        frames.append(Frame(CONTINUATION, b""))
    (violation,) = side.receive(*frames, Frame(PING, b"behind"), size=size)
    assert isinstance(violation, Violation)
    assert violation.code == 1007
    assert violation.reason.startswith("compressed data ")


# Text (RFC 6455 §8.1)


@sizes
@both_sides
@pytest.mark.parametrize("reading", ["whole", "as a stream", "in fragments", "in a chain"])
@pytest.mark.parametrize("before", [0, 70_000], ids=["at once", "behind much"])
@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82", b"a\x80"], ids=ascii
)
def test_bad_text_within_compressed_data_ends_the_connection(
    bad: bytes, before: int, reading: str, is_client: bool, size: int | None
) -> None:
    extensions = deflate(is_client=is_client)
    if reading == "in a chain":
        extensions.append((0, ExtensionCodec()))
    side = Side(is_client, extensions)
    if reading == "as a stream":
        side.protocol.read_as_stream()
    payload = compressed("é".encode() * (before // 2) + bad)
    frames = [Frame(TEXT, payload, reserved=4)]
    if reading == "in fragments":
        frames = [Frame(TEXT, payload[:9], reserved=4, fin=False), Frame(CONTINUATION, payload[9:])]
    found = side.receive(*frames, Frame(PING, b"behind"), size=size)
    assert all(isinstance(event, Fragment) and not event.final for event in found[:-1])
    violation = found[-1]
    assert isinstance(violation, Violation)
    assert violation.code == 1007
    assert violation.reason.startswith("text is not UTF-8: ")


@both_sides
def test_bad_text_fails_before_the_message_ends(is_client: bool) -> None:
    side = Side(is_client, max_size=None)
    payload = compressed(b"\xff" + BOMB)
    (violation,) = side.protocol.receive_data(
        side.encode(Frame(TEXT, payload[:1000], reserved=4, fin=False))
    )
    assert isinstance(violation, Violation)
    assert side.protocol.decoded <= 64 * KiB


@both_sides
def test_bad_bytes_in_a_binary_message_are_just_bytes(is_client: bool) -> None:
    assert Side(is_client).receive(squeezed(b"\xff\xed\xa0")) == [b"\xff\xed\xa0"]


# Streams


@sizes
@both_sides
@pytest.mark.parametrize(
    "message",
    ["", b"", "é" * 1000, b"\xff" * 1000, "🌍" * 40_000],
    ids=lambda m: f"{type(m).__name__} of {len(m)}",
)
@pytest.mark.parametrize("fragments", [1, 3])
def test_pieces_make_the_message(
    message: str | bytes, fragments: int, is_client: bool, size: int | None
) -> None:
    side = Side(is_client)
    frame = squeezed(message)
    n = len(frame.payload)
    cuts = [n * i // fragments for i in range(fragments + 1)]
    frames = [
        Frame(
            CONTINUATION if i else frame.opcode,
            frame.payload[cuts[i] : cuts[i + 1]],
            fin=i == fragments - 1,
            reserved=0 if i else 4,
        )
        for i in range(fragments)
    ]
    assert side.protocol.read_as_stream() == []
    found = side.receive(*frames, size=size)
    assert joined(found) == message
    assert all(event.data for event in found[:-1] if isinstance(event, Fragment))
    assert side.receive(frame, size=size) == [message], "it was for that one alone"


@both_sides
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_pieces_are_reported_as_they_arrive(is_client: bool, text: bool) -> None:
    side = Side(is_client)
    side.protocol.read_as_stream()
    compressor = zlib.compressobj(wbits=-15)
    for i, word in enumerate([b"one", b"two", b"three"]):
        payload = compressor.compress(word) + compressor.flush(zlib.Z_SYNC_FLUSH)
        opcode = CONTINUATION if i else (TEXT if text else BINARY)
        found = side.receive(Frame(opcode, payload, fin=False, reserved=0 if i else 4))
        assert found == [Fragment(word.decode() if text else word, False)]
    found = side.receive(Frame(CONTINUATION, b"\x00"))
    assert found == [Fragment("" if text else b"", True)]


@both_sides
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_message_that_has_begun_can_be_taken_as_a_stream(is_client: bool, text: bool) -> None:
    message: str | bytes = "é" * 500 if text else b"\xff" * 500
    data = Side(is_client).encode(squeezed(message))
    for cut in range(len(data)):
        side = Side(is_client)
        found = side.protocol.receive_data(data[:cut]) + side.protocol.read_as_stream()
        assert joined(found + side.protocol.receive_data(data[cut:])) == message


# Sending


def new_sender(is_client: bool, *names: str) -> tuple[Side, list[Prefix]]:
    """Return a side with extensions that are named by a letter, and have a bit each."""
    codecs = [Prefix(name, 4 >> i) for i, name in enumerate(names)]
    return Side(is_client, [(codec.rsv, codec) for codec in codecs]), codecs


@both_sides
@pytest.mark.parametrize("n", [0, 1, 124, 125, 126, 65_534, 65_535, 100_000])
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_message_is_sent_through_all_extensions_in_order(
    n: int, text: bool, is_client: bool
) -> None:
    side, codecs = new_sender(is_client, "a", "b")
    frames = side.frames(*side.protocol.send_message(b"-" * n, text))
    assert frames == [Frame(TEXT if text else BINARY, b"ba" + b"-" * n, reserved=6)]
    kind = "text" if text else "binary"
    assert codecs[0].calls == [f"send {kind} {n} None", f"encode {n} True True"]
    assert codecs[1].calls == [f"send {kind} {n} None", f"encode {n + 1} True True"]


@both_sides
@pytest.mark.parametrize("compress", [None, True, False])
def test_extensions_decide_what_is_theirs(compress: bool | None, is_client: bool) -> None:
    side, codecs = new_sender(is_client, "a")
    frames = side.frames(*side.protocol.send_message(b"data", False, compress))
    if compress is False:
        assert frames == [Frame(BINARY, b"data")]
        assert codecs[0].calls == ["send binary 4 False"]
        assert not side.protocol.is_encoding
    else:
        assert frames == [Frame(BINARY, b"adata", reserved=4)]
        assert codecs[0].calls == [f"send binary 4 {compress}", "encode 4 True True"]
        assert side.protocol.is_encoding


@both_sides
def test_message_that_is_not_compressed_is_sent_as_it_is(is_client: bool) -> None:
    side = Side(is_client)
    plain = Side(is_client, [])
    for n in (0, 125, 126, 100_000):
        sent = b"".join(side.protocol.send_message(b"-" * n, True, False))
        assert sent == b"".join(plain.protocol.send_message(b"-" * n, True))
        sent = b"".join(
            side.protocol.send_fragment(b"-" * n, text=False, final=True, compress=False)
        )
        assert sent == b"".join(plain.protocol.send_fragment(b"-" * n, text=False, final=True))


@both_sides
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_reserved_bits_are_on_the_first_frame_only(text: bool, is_client: bool) -> None:
    # RFC 7692 §6.1
    side, codecs = new_sender(is_client, "a", "b")
    frames = []
    for i in range(4):
        buffers = side.protocol.send_fragment(b"%d" % i, text=text, final=i == 3)
        frames += side.frames(*buffers) if i == 0 else []
        if i:
            header = b"".join(buffers)
            assert header[0] == (0x80 if i == 3 else 0)
            payload = header[6:] if is_client else header[2:]
            assert (masked(payload, MASK) if is_client else payload) == b"%d" % i
    assert frames == [Frame(TEXT if text else BINARY, b"ba0", fin=False, reserved=6)]
    kind = "text" if text else "binary"
    assert codecs[0].calls == [
        f"send {kind} None None",
        *["encode 1 True False"] * 3,
        "encode 1 True True",
    ]


@both_sides
@pytest.mark.parametrize("compress", [None, True, False])
def test_first_fragment_says_whether_a_message_is_compressed(
    compress: bool | None, is_client: bool
) -> None:
    side = Side(is_client)
    first = side.protocol.send_fragment(b"one", text=True, final=False, compress=compress)
    # What it says later does not count.
    last = side.protocol.send_fragment(b"two", text=True, final=True, compress=not compress)
    frames = side.frames(*first, *last)
    assert [frame.reserved for frame in frames] == [0 if compress is False else 4, 0]
    assert (frames[0].payload == b"one") is (compress is False)
    assert (frames[1].payload == b"two") is (compress is False)
    other = Side(not is_client)
    assert other.protocol.receive_data(b"".join([*first, *last])) == ["onetwo"]


@both_sides
def test_control_frames_pass_by_the_extensions(is_client: bool) -> None:
    side, codecs = new_sender(is_client, "a")
    sent = [
        side.protocol.send_ping(b"1"),
        side.protocol.send_pong(b"2"),
        side.protocol.send_close(1000, "bye"),
    ]
    assert side.frames(*sent) == [Frame(PING, b"1"), Frame(PONG, b"2"), close_frame(1000, "bye")]
    assert codecs[0].calls == []


@both_sides
@pytest.mark.parametrize("n", [0, 1, 1000, 200_000])
@pytest.mark.parametrize("compress", [None, False])
def test_message_in_slices_is_one_frame(n: int, compress: bool | None, is_client: bool) -> None:
    side, other = Side(is_client), Side(not is_client)
    payload = (b"some words " * n)[:n]
    for _ in range(2):
        protocol = side.protocol
        bits = protocol.begin_message(False, n, compress)
        assert bits == (0 if compress is False else 0x40)
        masking = protocol.new_masking()
        slices = [
            masking.apply(protocol.encode(payload[at : at + 999], flush=False, final=False))
            for at in range(0, n, 999)
        ]
        slices.append(masking.apply(protocol.encode(b"", final=True)))
        frame = b"".join(protocol.send_slices(slices, masking, False, bits))
        assert other.protocol.receive_data(frame) + other.work() == [payload]


@both_sides
def test_message_that_is_cancelled_was_never_there(is_client: bool) -> None:
    side, other = Side(is_client), Side(not is_client)
    payload = bytes(range(256)) * 20
    for i in range(3):
        side.protocol.begin_message(False, len(payload), None)
        side.protocol.encode(payload + bytes([i]), flush=False, final=False)
        side.protocol.cancel_message()
        sent = b"".join(side.protocol.send_message(payload, False))
        assert other.protocol.receive_data(sent) == [payload]


@both_sides
def test_all_extensions_of_a_message_are_told_that_it_is_cancelled(is_client: bool) -> None:
    side, codecs = new_sender(is_client, "a", "b")
    side.protocol.begin_message(True, 5, None)
    side.protocol.cancel_message()
    side.protocol.begin_message(True, 5, False)
    side.protocol.cancel_message()
    for codec in codecs:
        assert codec.calls == ["send text 5 None", "cancel", "send text 5 False"]


class Unable(ExtensionCodec):
    """Cannot encode what is too long for it."""

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        if len(data) > 5:
            raise RuntimeError("too long for me")
        return data


@both_sides
def test_failure_to_encode_a_message_is_raised(is_client: bool) -> None:
    side = Side(is_client, [(4, Unable())])
    with pytest.raises(RuntimeError, match="too long for me"):
        side.protocol.send_message(b"too long", False)
    assert side.protocol.writing is Flow.OPEN
    assert side.frames(*side.protocol.send_message(b"short", False)) == [Frame(BINARY, b"short")]


@both_sides
def test_nothing_is_encoded_that_may_not_be_sent(is_client: bool) -> None:
    side, codecs = new_sender(is_client, "a")
    side.protocol.send_fragment(b"one", text=False, final=False)
    before = list(codecs[0].calls)
    with pytest.raises(LocalProtocolError):
        side.protocol.send_message(b"two", False)
    side.protocol.send_close(1000)
    with pytest.raises(LocalProtocolError):
        side.protocol.send_fragment(b"three", text=False, final=True)
    with pytest.raises(LocalProtocolError):
        side.protocol.send_message(b"four", False)
    assert codecs[0].calls == before


# Both ends


@sizes
@both_sides
def test_one_side_reads_what_the_other_sends(is_client: bool, size: int | None) -> None:
    sender, side = Side(is_client), Side(not is_client)
    decoder = codecs.getincrementaldecoder("utf-8")()
    words = "κόσμε 🌍 " * 50
    encoded = words.encode()
    data = b""
    for _ in range(3):
        data += b"".join(sender.protocol.send_message(encoded, True))
        data += sender.protocol.send_ping(b"1")
        for at in range(0, len(encoded), 7):
            # Fragments may end within a character (§5.6).
            decoder.decode(encoded[at : at + 7])
            data += b"".join(
                sender.protocol.send_fragment(
                    encoded[at : at + 7], text=True, final=at + 7 >= len(encoded)
                )
            )
    data += sender.protocol.send_close(1000)
    found: list[Event] = []
    for octets in _pieces(data, size):
        found += side.protocol.receive_data(octets) + side.work()
    assert found == [*[words, Ping(b"1"), words] * 3, CloseReceived(CloseFrame(1000, ""))]
