"""One side of an open connection: what it makes of any bytes, and what it sends.

Frames are encoded by `wire.py`, which shares nothing with the package.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from anyws import CloseFrame, LocalProtocolError
from anyws._core.events import CloseReceived, Event, Fragment, Ping, Pong, TooBig, Violation
from anyws._core.protocol import TRANSITIONS, Flow, Protocol, Step
from anyws.testing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close_frame,
)

from ..memory import traced
from .wire import MASK, encode, masked

both_sides = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])


class Peer:
    """A `Protocol` and what it reported, fed with frames as its peer would send them."""

    def __init__(
        self,
        is_client: bool,
        *,
        max_size: int | None = 1 << 20,
        max_fragments: int | None = 1024,
    ) -> None:
        self.is_client = is_client
        self.protocol = Protocol(
            is_client=is_client, max_size=max_size, max_fragments=max_fragments
        )

    def receive(self, *frames: Frame, size: int | None = None) -> list[Event]:
        """Let the frames arrive, `size` bytes at a time."""
        return self.receive_data(encode(*frames, to_server=not self.is_client), size)

    def receive_data(self, data: bytes, size: int | None = None) -> list[Event]:
        """Let the bytes arrive, `size` at a time."""
        size = size or max(1, len(data))
        events: list[Event] = []
        for at in range(0, len(data), size):
            for found in self.steps(data[at : at + size]):
                events += found
        return events

    def steps(self, data: bytes) -> Iterator[list[Event]]:
        """Let the bytes arrive at once; yield what each step of the work on them comes to."""
        yield self.protocol.receive_data(data)
        while self.protocol.has_work:
            yield self.protocol.receive_data(b"")


@pytest.fixture(params=[False, True], ids=["server", "client"])
def peer(request: pytest.FixtureRequest) -> Peer:
    """Return a side with the default limits: a server, then a client."""
    return Peer(request.param)


# What frames mean: each case whole, byte by byte, and with a frame behind it.


@dataclass(frozen=True, slots=True)
class Case:
    """Frames that a peer sends, and what they come to."""

    name: str
    frames: tuple[Frame, ...]
    events: tuple[Event, ...]

    @property
    def ends_it(self) -> bool:
        """Whether anything behind the frames is to be ignored."""
        return isinstance(self.events[-1], Violation | CloseReceived)


def violates(name: str, code: int, reason: str, *frames: Frame) -> Case:
    return Case(name, frames, (Violation(code, reason),))


NOT_UTF_8 = "text is not UTF-8: "

MESSAGES = (
    Case("§5.6 text", (Frame(TEXT, b"Hello"),), ("Hello",)),
    Case("§5.6 text beyond ASCII", (Frame(TEXT, "κόσμε 🌍".encode()),), ("κόσμε 🌍",)),
    Case("§5.6 binary", (Frame(BINARY, b"\x00\xff\xed\xa0"),), (b"\x00\xff\xed\xa0",)),
    Case("§5.6 empty text", (Frame(TEXT),), ("",)),
    Case("§5.6 empty binary", (Frame(BINARY),), (b"",)),
    Case(
        "§5.6 several messages",
        (Frame(TEXT, b"a"), Frame(BINARY, b"b"), Frame(TEXT, b"c")),
        ("a", b"b", "c"),
    ),
    *(
        Case(f"§5.2 length {n}", (Frame(BINARY, bytes(n)),), (bytes(n),))
        for n in (1, 124, 125, 126, 127, 399, 400, 65535, 65536)
    ),
    *(
        Case(f"§5.2 length {n} of text", (Frame(TEXT, b"a" * n),), ("a" * n,))
        for n in (125, 126, 65536)
    ),
    Case(
        "§5.4 two fragments",
        (Frame(TEXT, b"Hel", fin=False), Frame(CONTINUATION, b"lo")),
        ("Hello",),
    ),
    Case(
        "§5.4 many fragments, some empty",
        (
            Frame(BINARY, b"", fin=False),
            Frame(CONTINUATION, b"a", fin=False),
            Frame(CONTINUATION, b"", fin=False),
            Frame(CONTINUATION, b"bc", fin=False),
            Frame(CONTINUATION, b""),
        ),
        (b"abc",),
    ),
    Case(
        "§5.4 only empty fragments",
        (Frame(TEXT, b"", fin=False), Frame(CONTINUATION, b"")),
        ("",),
    ),
    Case(
        "§5.4 characters across fragments",
        tuple(
            Frame(CONTINUATION if i else TEXT, bytes([octet]), fin=i == 6)
            for i, octet in enumerate("é🌍a".encode())
        ),
        ("é🌍a",),
    ),
    Case(
        "§5.4 binary behind fragmented text",
        (Frame(TEXT, b"a", fin=False), Frame(CONTINUATION), Frame(BINARY, b"\xff" * 200)),
        ("a", b"\xff" * 200),
    ),
    Case(
        "§5.4 control frames between fragments",
        (
            Frame(TEXT, b"\xc3", fin=False),
            Frame(PING, b"1"),
            Frame(CONTINUATION, b"\xa9", fin=False),
            Frame(PONG, b"2"),
            Frame(CONTINUATION, b""),
        ),
        (Ping(b"1"), Pong(b"2"), "é"),
    ),
    Case("§5.5.2 Ping", (Frame(PING, b"data"),), (Ping(b"data"),)),
    Case("§5.5.2 empty Ping", (Frame(PING),), (Ping(b""),)),
    Case("§5.5.2 longest Ping", (Frame(PING, bytes(125)),), (Ping(bytes(125)),)),
    Case("§5.5.3 Pong", (Frame(PONG, b"data"),), (Pong(b"data"),)),
    Case(
        "§5.5.1 Close",
        (close_frame(1000, "käfer"),),
        (CloseReceived(CloseFrame(1000, "käfer")),),
    ),
    Case("§7.1.5 empty Close", (Frame(CLOSE),), (CloseReceived(CloseFrame(1005, "")),)),
    Case(
        "§5.5.1 longest Close",
        (close_frame(4999, "a" * 123),),
        (CloseReceived(CloseFrame(4999, "a" * 123)),),
    ),
    Case(
        "§5.5.1 Close within a message",
        (Frame(TEXT, b"a", fin=False), close_frame(1001)),
        (CloseReceived(CloseFrame(1001, "")),),
    ),
    Case(
        "§5.5.1 frames behind a Close",
        (close_frame(1000), Frame(TEXT, b"late"), Frame(0x3)),
        (CloseReceived(CloseFrame(1000, "")),),
    ),
)

VIOLATIONS = (
    *(
        violates(
            f"§5.2 RSV {reserved:03b} of opcode {opcode}",
            1002,
            f"reserved bits {reserved:03b} set, no extension negotiated",
            Frame(opcode, reserved=reserved),
        )
        for reserved in range(1, 8)
        for opcode in (TEXT, PING)
    ),
    violates(
        "§5.2 RSV of a continuation",
        1002,
        "reserved bits 100 set, no extension negotiated",
        Frame(TEXT, b"a", fin=False),
        Frame(CONTINUATION, b"b", reserved=4),
    ),
    *(
        violates(f"§5.2 opcode {opcode}", 1002, f"unknown opcode {opcode}", Frame(opcode, b"abc"))
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ),
    *(
        violates(
            f"§5.2 length {n} in {size} bytes",
            1002,
            f"length {n} is not in its shortest form",
            Frame(BINARY, bytes(n), length_bytes=size),
        )
        for n, size in ((0, 3), (1, 3), (125, 3), (0, 9), (125, 9), (126, 9), (65535, 9))
    ),
    *(
        violates(
            f"§5.2 length {n:#x}",
            1002,
            f"length {n} has its highest bit set",
            Frame(BINARY, b"abc", length=n),
        )
        for n in (2**63, 2**63 + 1, 2**64 - 1)
    ),
    violates(
        "§5.4 continuation of nothing",
        1002,
        "continuation frame outside a message",
        Frame(CONTINUATION, b"a"),
    ),
    violates(
        "§5.4 unfinished continuation of nothing",
        1002,
        "continuation frame outside a message",
        Frame(CONTINUATION, b"a", fin=False),
    ),
    *(
        violates(
            f"§5.4 opcode {opcode} within a message, FIN {fin:d}",
            1002,
            "new message inside a fragmented one",
            Frame(TEXT, b"a", fin=False),
            Frame(opcode, b"b", fin=fin),
        )
        for opcode in (TEXT, BINARY)
        for fin in (False, True)
    ),
    *(
        violates(
            f"§5.5 fragmented opcode {opcode}",
            1002,
            "fragmented control frame",
            Frame(opcode, b"\x03\xe8", fin=False),
        )
        for opcode in (CLOSE, PING, PONG)
    ),
    *(
        violates(
            f"§5.5 opcode {opcode} with {n} bytes",
            1002,
            "control frame with more than 125 bytes",
            Frame(opcode, bytes(n)),
        )
        for opcode in (CLOSE, PING, PONG)
        for n in (126, 65536)
    ),
    violates(
        "§5.5.1 Close of one byte",
        1002,
        "Close frame has a payload of 1 byte",
        Frame(CLOSE, b"\x03"),
    ),
    *(
        violates(
            f"§7.4 Close with {code}",
            1002,
            f"Close frame has the reserved code {code}",
            close_frame(code),
        )
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    ),
    violates(
        "§5.5.1 Close with bad text",
        1007,
        "close reason is not UTF-8",
        Frame(CLOSE, b"\x03\xe8\xff"),
    ),
    violates(
        "§8.1 bad text", 1007, NOT_UTF_8 + "invalid start byte", Frame(TEXT, b"Hello \xff world")
    ),
    violates(
        "§8.1 long bad text",
        1007,
        NOT_UTF_8 + "invalid start byte",
        Frame(TEXT, b"a" * 1000 + b"\xff" + b"a" * 1000),
    ),
    violates(
        "§8.1 text that stops within a character",
        1007,
        NOT_UTF_8 + "unexpected end of data",
        Frame(TEXT, "🌍".encode()[:3]),
    ),
    violates(
        "§8.1 fragmented text that stops within a character",
        1007,
        NOT_UTF_8 + "unexpected end of data",
        Frame(TEXT, b"a", fin=False),
        Frame(CONTINUATION, "🌍".encode()[:3]),
    ),
    violates(
        "§8.1 surrogate",
        1007,
        NOT_UTF_8 + "invalid continuation byte",
        Frame(TEXT, b"\xed\xa0\x80"),
    ),
    Case(
        "messages before a violation",
        (Frame(TEXT, b"a"), Frame(BINARY, b"b" * 200), Frame(PING), Frame(0x3)),
        ("a", b"b" * 200, Ping(b""), Violation(1002, "unknown opcode 3")),
    ),
    Case(
        "frames behind a violation",
        (Frame(TEXT, b"\xff"), Frame(TEXT, b"late"), close_frame(1000)),
        (Violation(1007, NOT_UTF_8 + "invalid start byte"),),
    ),
)

CASES = [pytest.param(case, id=case.name) for case in (*MESSAGES, *VIOLATIONS)]


@pytest.mark.parametrize("case", CASES)
@both_sides
def test_frames_come_to_the_same_however_they_are_cut(case: Case, is_client: bool) -> None:
    for size in (None, 1, 3):
        peer = Peer(is_client)
        assert peer.receive(*case.frames, size=size) == list(case.events), size
        assert (peer.protocol.reading is Flow.CLOSED) is case.ends_it
        assert peer.protocol.unfinished_bytes == 0


@pytest.mark.parametrize("case", CASES)
@both_sides
def test_frame_behind_others_is_read_unless_they_end_the_connection(
    case: Case, is_client: bool
) -> None:
    peer = Peer(is_client)
    tail = () if case.ends_it else (Ping(b"tail"),)
    assert peer.receive(*case.frames, Frame(PING, b"tail")) == [*case.events, *tail]


def test_messages_are_exactly_str_and_bytes(peer: Peer) -> None:
    frames = [
        Frame(opcode, b"a" * n, fin=fin)
        for opcode in (TEXT, BINARY)
        for n in (1, 500)
        for fin in (True, False)
    ]
    for frame in frames:
        (event,) = peer.receive(frame) or peer.receive(Frame(CONTINUATION))
        assert type(event) is (str if frame.opcode == TEXT else bytes)


# §5.7, decoded: the bytes and what they are to whom may get them.
@pytest.mark.parametrize(
    ("is_client", "data", "events"),
    [
        pytest.param(True, "81 05 48 65 6c 6c 6f", ["Hello"], id="§5.7 unmasked text"),
        pytest.param(False, "81 85 37 fa 21 3d 7f 9f 4d 51 58", ["Hello"], id="§5.7 masked text"),
        pytest.param(True, "01 03 48 65 6c 80 02 6c 6f", ["Hello"], id="§5.7 fragmented text"),
        pytest.param(True, "89 05 48 65 6c 6c 6f", [Ping(b"Hello")], id="§5.7 Ping"),
        pytest.param(
            False, "8a 85 37 fa 21 3d 7f 9f 4d 51 58", [Pong(b"Hello")], id="§5.7 masked Pong"
        ),
        pytest.param(True, "82 7e 01 00" + " 00" * 256, [bytes(256)], id="§5.7 256 bytes"),
        pytest.param(
            True,
            "82 7f 00 00 00 00 00 01 00 00" + " 00" * 65536,
            [bytes(65536)],
            id="§5.7 64 KiB",
        ),
    ],
)
def test_example_of_the_rfc_is_decoded(is_client: bool, data: str, events: list[Event]) -> None:
    assert Peer(is_client).receive_data(bytes.fromhex(data)) == events


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@both_sides
def test_mask_against_the_rule_is_a_violation(is_client: bool, opcode: int) -> None:
    # §5.1
    data = Frame(opcode, b"").encode(MASK if is_client else None)
    reason = "frame masked" if is_client else "frame not masked"
    assert Peer(is_client).receive_data(data) == [Violation(1002, reason)]


def test_every_frame_is_unmasked_with_its_own_key() -> None:
    # §5.3
    data = b"".join(
        Frame(BINARY, b"a" * 500, fin=True).encode(key.to_bytes(4, "big")) for key in range(5)
    )
    assert Peer(is_client=False).receive_data(data, 7) == [b"a" * 500] * 5


# At which byte a violation shows


@pytest.mark.parametrize(
    ("frame", "n"),
    [
        pytest.param(Frame(TEXT, b"abc", reserved=1), 2, id="§5.2 reserved bits"),
        pytest.param(Frame(0x3, b"abc"), 2, id="§5.2 opcode"),
        pytest.param(Frame(0xF, b"abc"), 2, id="§5.2 control opcode"),
        pytest.param(Frame(CONTINUATION, b"abc"), 2, id="§5.4 continuation"),
        pytest.param(Frame(PING, b"abc", fin=False), 2, id="§5.5 fragmented"),
        pytest.param(Frame(PING, bytes(126)), 2, id="§5.5 long"),
        pytest.param(Frame(BINARY, bytes(100), length_bytes=3), 4, id="§5.2 shortest form"),
        pytest.param(Frame(BINARY, bytes(100), length_bytes=9), 10, id="§5.2 shortest form of 64"),
        pytest.param(Frame(BINARY, b"abc", length=2**63), 10, id="§5.2 highest bit"),
        pytest.param(Frame(CLOSE, b"\x03"), 3, id="§5.5.1 one byte"),
    ],
)
@both_sides
def test_violation_is_reported_at_the_first_byte_that_shows_it(
    frame: Frame, n: int, is_client: bool
) -> None:
    if not is_client and n > 2:
        n += 4  # the key follows the length
    peer = Peer(is_client)
    data = encode(frame, to_server=not is_client)
    assert peer.receive_data(data[: n - 1], 1) == []
    (event,) = peer.receive_data(data[n - 1 : n])
    assert isinstance(event, Violation)


@both_sides
def test_mask_against_the_rule_is_reported_at_the_second_byte(is_client: bool) -> None:
    peer = Peer(is_client)
    assert peer.receive_data(b"\x81") == []
    assert len(peer.receive_data(b"\x80" if is_client else b"\x00")) == 1


BAD_TEXT = [
    pytest.param(b"\x80", id="continuation byte"),
    pytest.param(b"\xc0", id="overlong"),
    pytest.param(b"\xc1", id="overlong 7f"),
    pytest.param(b"\xc3\x28", id="no continuation"),
    pytest.param(b"\xe0\x9f", id="overlong of three"),
    pytest.param(b"\xe2\x82\x28", id="no second continuation"),
    pytest.param(b"\xed\xa0", id="high surrogate"),
    pytest.param(b"\xed\xbf", id="low surrogate"),
    pytest.param(b"\xf0\x8f", id="overlong of four"),
    pytest.param(b"\xf0\x9f\x8c\x28", id="no third continuation"),
    pytest.param(b"\xf4\x90", id="above U+10FFFF"),
    pytest.param(b"\xf5", id="above U+13FFFF"),
    pytest.param(b"\xff", id="ff"),
]


@pytest.mark.parametrize("bad", BAD_TEXT)
@pytest.mark.parametrize("fin", [True, False], ids=["in a message", "in a fragment"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "as a stream"])
def test_bad_text_fails_at_its_first_bad_byte(bad: bytes, fin: bool, streaming: bool) -> None:
    # §8.1; the frame is far from its end.
    frame = Frame(TEXT, b"k\xc3\xa4fer" + bad + b"a" * 500, fin=fin)
    for is_client, size in ((False, None), (False, 1), (True, None), (True, 1)):
        peer = Peer(is_client)
        if streaming:
            peer.protocol.read_as_stream()
        data = encode(frame, to_server=not is_client)
        before, last = data[:-501], data[-501:-500]
        assert not any(isinstance(e, Violation) for e in peer.receive_data(before, size))
        (event,) = peer.receive_data(last)
        assert isinstance(event, Violation)
        assert event.code == 1007


@pytest.mark.parametrize(
    "character", ["\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U0010ffff"]
)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "as a stream"])
def test_character_at_a_boundary_of_the_encoding_is_text(
    peer: Peer, character: str, streaming: bool
) -> None:
    text = f"a{character}b"
    if streaming:
        peer.protocol.read_as_stream()
    events = peer.receive(Frame(TEXT, text.encode(), fin=False), Frame(CONTINUATION), size=1)
    assert "".join(e.data if isinstance(e, Fragment) else e for e in events) == text  # type: ignore[misc]  # text only


# The table of transitions

# §5.4, §5.5, written out: what follows, or None where the RFC forbids it.
EXPECTED = {
    (Flow.OPEN, Step.WHOLE): Flow.OPEN,
    (Flow.OPEN, Step.FIRST): Flow.IN_MESSAGE,
    (Flow.OPEN, Step.MIDDLE): None,
    (Flow.OPEN, Step.LAST): None,
    (Flow.OPEN, Step.CONTROL): Flow.OPEN,
    (Flow.OPEN, Step.CLOSE): Flow.CLOSED,
    (Flow.IN_MESSAGE, Step.WHOLE): None,
    (Flow.IN_MESSAGE, Step.FIRST): None,
    (Flow.IN_MESSAGE, Step.MIDDLE): Flow.IN_MESSAGE,
    (Flow.IN_MESSAGE, Step.LAST): Flow.OPEN,
    (Flow.IN_MESSAGE, Step.CONTROL): Flow.IN_MESSAGE,
    (Flow.IN_MESSAGE, Step.CLOSE): Flow.CLOSED,
    **{(Flow.CLOSED, step): None for step in Step},
}

FRAME_OF_STEP = {
    Step.WHOLE: Frame(TEXT, b"a"),
    Step.FIRST: Frame(TEXT, b"a", fin=False),
    Step.MIDDLE: Frame(CONTINUATION, b"a", fin=False),
    Step.LAST: Frame(CONTINUATION, b"a"),
    Step.CONTROL: Frame(PING),
    Step.CLOSE: close_frame(1000),
}

FRAMES_TO_FLOW: dict[Flow, tuple[Frame, ...]] = {
    Flow.OPEN: (),
    Flow.IN_MESSAGE: (Frame(TEXT, b"a", fin=False),),
    Flow.CLOSED: (close_frame(1000),),
}


def test_table_has_every_transition_of_the_rfc_and_no_other() -> None:
    assert {(flow, step) for flow in Flow for step in Step} == set(EXPECTED)
    for (flow, step), following in EXPECTED.items():
        assert TRANSITIONS[flow].get(step) is following


@pytest.mark.parametrize(("flow", "step"), EXPECTED, ids=lambda part: part.name)
@both_sides
def test_reading_follows_the_table(is_client: bool, flow: Flow, step: Step) -> None:
    peer = Peer(is_client)
    peer.receive(*FRAMES_TO_FLOW[flow])
    assert peer.protocol.reading is flow
    events = peer.receive(FRAME_OF_STEP[step])
    following = EXPECTED[flow, step]
    assert peer.protocol.reading is (following or Flow.CLOSED)
    if flow is Flow.CLOSED:
        assert events == [], "everything behind a Close is ignored"
    else:
        assert any(isinstance(event, Violation) for event in events) is (following is None)


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that sends a frame, and the step that it takes in each flow it may be made in."""

    call: Callable[[Protocol], object]
    steps: dict[Flow, Step]


SENDING = {
    "message": Sending(lambda p: p.send_message(b"a", True), {Flow.OPEN: Step.WHOLE}),
    "message in slices": Sending(
        lambda p: p.send_slices([b"a"], p.new_masking(), True), {Flow.OPEN: Step.WHOLE}
    ),
    "fragment": Sending(
        lambda p: p.send_fragment(b"a", text=True, final=False),
        {Flow.OPEN: Step.FIRST, Flow.IN_MESSAGE: Step.MIDDLE},
    ),
    "final fragment": Sending(
        lambda p: p.send_fragment(b"a", text=True, final=True),
        {Flow.OPEN: Step.WHOLE, Flow.IN_MESSAGE: Step.LAST},
    ),
    "Ping": Sending(
        lambda p: p.send_ping(b""), {Flow.OPEN: Step.CONTROL, Flow.IN_MESSAGE: Step.CONTROL}
    ),
    "Pong": Sending(
        lambda p: p.send_pong(b""), {Flow.OPEN: Step.CONTROL, Flow.IN_MESSAGE: Step.CONTROL}
    ),
    "Close": Sending(
        lambda p: p.send_close(1000), {Flow.OPEN: Step.CLOSE, Flow.IN_MESSAGE: Step.CLOSE}
    ),
}


def writer(flow: Flow, *, is_client: bool) -> Protocol:
    """Return a side that has sent what leads here."""
    protocol = Protocol(is_client=is_client)
    if flow is Flow.IN_MESSAGE:
        protocol.send_fragment(b"a", text=True, final=False)
    elif flow is Flow.CLOSED:
        protocol.send_close(1000)
    assert protocol.writing is flow
    return protocol


@pytest.mark.parametrize("flow", Flow, ids=lambda flow: flow.name)
@pytest.mark.parametrize("name", SENDING)
@both_sides
def test_writing_follows_the_table(is_client: bool, flow: Flow, name: str) -> None:
    protocol = writer(flow, is_client=is_client)
    sending = SENDING[name]
    step = sending.steps.get(flow)
    if step is None:
        with pytest.raises(LocalProtocolError, match=f"this direction is {flow.value}$"):
            sending.call(protocol)
        assert protocol.writing is flow, "a refused call changes nothing"
    else:
        sending.call(protocol)
        assert protocol.writing is EXPECTED[flow, step]


def test_directions_do_not_touch_each_other(peer: Peer) -> None:
    peer.receive(Frame(TEXT, b"a", fin=False))
    assert peer.protocol.writing is Flow.OPEN
    peer.protocol.send_close(1000)
    assert peer.protocol.reading is Flow.IN_MESSAGE
    assert peer.receive(Frame(CONTINUATION, b"b")) == ["ab"]


# Limits


@both_sides
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("limit", [1, 100, 125, 126, 200, 1000])
def test_message_of_max_size_is_taken_in_any_number_of_fragments(
    limit: int, size: int | None, is_client: bool
) -> None:
    peer = Peer(is_client, max_size=limit)
    payload = b"a" * limit
    assert peer.receive(Frame(BINARY, payload), size=size) == [payload]
    assert peer.receive(
        Frame(BINARY, payload[:1], fin=False),
        Frame(CONTINUATION, payload[1:], fin=False),
        Frame(CONTINUATION),
        size=size,
    ) == [payload]


@both_sides
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("limit", [1, 100, 125, 126, 200, 1000])
def test_message_over_max_size_is_too_big(limit: int, size: int | None, is_client: bool) -> None:
    peer = Peer(is_client, max_size=limit)
    n = limit + 1
    too_big = TooBig(1009, f"incoming frame of {n} bytes, limit {limit} a message")
    assert peer.receive(Frame(BINARY, bytes(n)), Frame(PING), size=size) == [too_big]


@both_sides
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
def test_fragments_count_together(size: int | None, is_client: bool) -> None:
    peer = Peer(is_client, max_size=100)
    too_big = TooBig(1009, "incoming frame of 11 bytes after 90, limit 100 a message")
    frames = (Frame(BINARY, bytes(90), fin=False), Frame(CONTINUATION, bytes(11)), Frame(PING))
    assert peer.receive(*frames, size=size) == [too_big]


@both_sides
@pytest.mark.parametrize("n", [2**20 + 1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1])
@pytest.mark.parametrize("begun", [False, True], ids=["at the start", "within a message"])
def test_size_is_judged_by_the_header_before_the_payload(
    n: int, begun: bool, is_client: bool
) -> None:
    peer = Peer(is_client)
    frame = Frame(BINARY, length=n)
    if begun:
        peer.receive(Frame(BINARY, b"a", fin=False))
        frame = Frame(CONTINUATION, length=n)
    (event,) = peer.receive(frame, size=1)
    assert isinstance(event, TooBig)
    assert event.code == 1009
    assert f"frame of {n} bytes" in event.reason


def test_no_limit_of_size_takes_any_size() -> None:
    peer = Peer(is_client=True, max_size=None)
    payload = bytes(3 << 20)
    assert peer.receive(Frame(BINARY, payload), size=1 << 16) == [payload]


@both_sides
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_message_of_max_fragments_is_taken_any_number_of_times(limit: int, is_client: bool) -> None:
    peer = Peer(is_client, max_fragments=limit)
    fragments = [
        Frame(CONTINUATION if i else BINARY, b"a", fin=i == limit - 1) for i in range(limit)
    ]
    for _ in range(3):
        assert peer.receive(*fragments) == [b"a" * limit]
        # Too long for the straight line of short messages.
        assert peer.receive(Frame(BINARY, bytes(200))) == [bytes(200)]


@both_sides
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_message_of_more_than_max_fragments_is_too_big(
    limit: int, size: int | None, is_client: bool
) -> None:
    peer = Peer(is_client, max_fragments=limit)
    fragments = [Frame(CONTINUATION if i else BINARY, b"a", fin=False) for i in range(limit)]
    assert peer.receive(*fragments, size=size) == []
    assert peer.receive(Frame(CONTINUATION), Frame(PING), size=size) == [
        TooBig(1008, f"incoming message of more than {limit} fragments")
    ]


def test_control_frames_are_no_fragments() -> None:
    peer = Peer(is_client=True, max_fragments=2)
    frames = [Frame(TEXT, b"a", fin=False), *[Frame(PING)] * 10, Frame(CONTINUATION, b"b")]
    assert peer.receive(*frames) == [*[Ping(b"")] * 10, "ab"]


@both_sides
@pytest.mark.parametrize(
    "frames",
    [
        (Frame(TEXT, b"a" * 200),),
        (Frame(TEXT, b"a" * 60, fin=False), Frame(CONTINUATION, b"a" * 140)),
        (Frame(TEXT, b"a" * 60, fin=False), *[Frame(CONTINUATION, b"a", fin=False)] * 5),
    ],
    ids=["frame", "fragments by size", "fragments by number"],
)
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
def test_nothing_is_read_past_a_message_that_is_too_big(
    frames: tuple[Frame, ...], size: int | None, is_client: bool
) -> None:
    peer = Peer(is_client, max_size=100, max_fragments=3)
    events = peer.receive(*frames, size=size)
    assert [type(event) for event in events] == [TooBig]
    assert peer.receive(Frame(PING), Frame(TEXT, b"next"), close_frame(1000), size=size) == []
    assert peer.protocol.reading is not Flow.CLOSED
    assert peer.protocol.unfinished_bytes > 0


@both_sides
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
def test_reading_as_a_stream_lifts_a_limit_of_size(size: int | None, is_client: bool) -> None:
    peer = Peer(is_client, max_size=100)
    peer.receive(Frame(TEXT, b"a" * 60, fin=False), Frame(CONTINUATION, b"b" * 60), size=size)
    assert peer.receive(Frame(PING), Frame(TEXT, b"next"), size=size) == []
    events = peer.protocol.read_as_stream()
    assert events == [
        Fragment("a" * 60, False),
        Fragment("b" * 60, True),
        Ping(b""),
        "next",
    ]


def test_limit_lifted_for_one_message_holds_for_the_next() -> None:
    peer = Peer(is_client=True, max_size=100)
    peer.receive(Frame(BINARY, bytes(101)))
    assert peer.protocol.read_as_stream() == [Fragment(bytes(101), True)]
    (event,) = peer.receive(Frame(BINARY, bytes(102)))
    assert isinstance(event, TooBig)


@both_sides
def test_reading_as_a_stream_lifts_a_limit_of_fragments(is_client: bool) -> None:
    peer = Peer(is_client, max_fragments=2)
    peer.receive(Frame(TEXT, b"a", fin=False), *[Frame(CONTINUATION, b"b", fin=False)] * 3)
    events = peer.protocol.read_as_stream() + peer.receive(Frame(CONTINUATION, b"c"))
    assert events == [
        Fragment("ab", False),
        Fragment("b", False),
        Fragment("b", False),
        Fragment("c", True),
    ]
    # And its fragments do not count against the next message.
    assert peer.receive(Frame(BINARY, bytes(200))) == [bytes(200)]


@both_sides
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
def test_discarding_lifts_a_limit_and_drops_the_message(size: int | None, is_client: bool) -> None:
    peer = Peer(is_client, max_size=100)
    peer.receive(Frame(BINARY, bytes(101)), Frame(PING, b"held"), Frame(TEXT, b"next"), size=size)
    assert peer.protocol.discard() == [Ping(b"held")]
    assert peer.receive(Frame(BINARY, bytes(1000)), close_frame(1000), size=size) == [
        CloseReceived(CloseFrame(1000, ""))
    ]


# Reading a message as a stream


def joined(events: list[Event]) -> str | bytes:
    """Put the pieces of one message together; all but the last are not final."""
    pieces = [event for event in events if isinstance(event, Fragment)]
    assert [piece.final for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    if isinstance(pieces[0].data, str):
        return "".join(piece.data for piece in pieces if isinstance(piece.data, str))
    return b"".join(piece.data for piece in pieces if isinstance(piece.data, bytes))


def test_pieces_are_reported_as_they_arrive(peer: Peer) -> None:
    assert peer.protocol.read_as_stream() == []
    data = encode(Frame(BINARY, b"abcdef"), to_server=not peer.is_client)
    start = len(data) - 6
    assert peer.receive_data(data[:start]) == []
    assert peer.receive_data(data[start : start + 2]) == [Fragment(b"ab", False)]
    assert peer.receive_data(data[start + 2 : start + 5]) == [Fragment(b"cde", False)]
    assert peer.receive_data(data[start + 5 :]) == [Fragment(b"f", True)]


@pytest.mark.parametrize("size", [None, 1, 3], ids=["whole", "byte by byte", "3 bytes at a time"])
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ((Frame(TEXT, "é🌍a".encode()),), "é🌍a"),
        ((Frame(BINARY, bytes(range(256)) * 4),), bytes(range(256)) * 4),
        ((Frame(TEXT),), ""),
        ((Frame(BINARY),), b""),
        (
            (
                Frame(TEXT, b"\xc3", fin=False),
                Frame(CONTINUATION, b"\xa9\xf0\x9f", fin=False),
                Frame(CONTINUATION, b"", fin=False),
                Frame(CONTINUATION, b"\x8c\x8d"),
            ),
            "é🌍",
        ),
        ((Frame(BINARY, b"\xff", fin=False), Frame(CONTINUATION)), b"\xff"),
    ],
    ids=[
        "text",
        "binary",
        "empty text",
        "empty binary",
        "text in fragments",
        "binary in fragments",
    ],
)
def test_pieces_make_the_message(
    peer: Peer, frames: tuple[Frame, ...], message: str | bytes, size: int | None
) -> None:
    peer.protocol.read_as_stream()
    events = peer.receive(*frames, size=size)
    assert joined(events) == message
    assert peer.protocol.unfinished_bytes == 0
    # The next one is whole again.
    assert peer.receive(Frame(TEXT, b"next"), size=size) == ["next"]


@both_sides
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ((Frame(TEXT, "é🌍 käfer".encode()),), "é🌍 käfer"),
        (
            (Frame(TEXT, "é🌍".encode()[:4], fin=False), Frame(CONTINUATION, b"\x8c\x8da")),
            "é🌍a",
        ),
        ((Frame(BINARY, b"\xffabc", fin=False), Frame(CONTINUATION, b"def")), b"\xffabcdef"),
    ],
    ids=["frame of text", "fragments of text", "fragments of binary"],
)
def test_message_that_has_begun_can_be_taken_as_a_stream(
    is_client: bool, frames: tuple[Frame, ...], message: str | bytes
) -> None:
    data = encode(*frames, to_server=not is_client)
    for cut in range(1, len(data)):
        peer = Peer(is_client)
        assert peer.receive_data(data[:cut]) == []
        events = peer.protocol.read_as_stream()
        assert joined(events + peer.receive_data(data[cut:])) == message, cut


def test_control_frames_come_between_the_pieces(peer: Peer) -> None:
    peer.protocol.read_as_stream()
    assert peer.receive(
        Frame(TEXT, b"a", fin=False), Frame(PING, b"1"), Frame(CONTINUATION, b"b")
    ) == [Fragment("a", False), Ping(b"1"), Fragment("b", True)]


def test_text_that_stops_within_a_character_fails_as_a_stream_too(peer: Peer) -> None:
    peer.protocol.read_as_stream()
    assert peer.receive(Frame(TEXT, b"a\xc3")) == [
        Violation(1007, NOT_UTF_8 + "unexpected end of data")
    ]


def test_stream_asked_for_twice_is_one_stream(peer: Peer) -> None:
    peer.protocol.read_as_stream()
    peer.protocol.read_as_stream()
    assert peer.receive(Frame(TEXT, b"a"), Frame(TEXT, b"b")) == [Fragment("a", True), "b"]


def test_stream_asked_for_during_one_is_the_next_message(peer: Peer) -> None:
    peer.protocol.read_as_stream()
    # The first one stops within a character.
    assert peer.receive(Frame(TEXT, b"a\xc3", fin=False)) == [Fragment("a", False)]
    assert peer.protocol.read_as_stream() == []
    assert peer.receive(
        Frame(CONTINUATION, b"\xa9"), Frame(TEXT, b"b", fin=False), Frame(CONTINUATION, b"c")
    ) == [Fragment("é", True), Fragment("b", False), Fragment("c", True)]
    assert peer.receive(Frame(TEXT, b"d")) == ["d"]


def test_stream_that_has_not_begun_can_be_called_off(peer: Peer) -> None:
    peer.protocol.read_as_stream()
    assert not peer.protocol.read_whole()
    assert peer.receive(Frame(TEXT, b"a")) == ["a"]


@pytest.mark.parametrize("fin", [True, False], ids=["frame", "fragment"])
def test_stream_that_has_begun_goes_on(peer: Peer, fin: bool) -> None:
    peer.protocol.read_as_stream()
    data = encode(
        Frame(TEXT, b"ab", fin=fin), Frame(CONTINUATION, b"c"), to_server=not peer.is_client
    )
    size = 3 if peer.is_client else 7
    assert peer.receive_data(data[:size]) == [Fragment("a", False)]
    assert peer.protocol.read_whole()
    assert peer.receive_data(data[size : size + 1]) == [Fragment("b", fin)]


def test_next_stream_can_be_called_off_during_one(peer: Peer) -> None:
    peer.protocol.read_as_stream()
    peer.receive(Frame(TEXT, b"a", fin=False))
    peer.protocol.read_as_stream()
    assert peer.protocol.read_whole()
    assert peer.receive(Frame(CONTINUATION, b"b"), Frame(TEXT, b"c")) == [Fragment("b", True), "c"]


def test_nothing_streams_once_reading_is_over(peer: Peer) -> None:
    peer.receive(close_frame(1000))
    assert peer.protocol.read_as_stream() == []
    assert peer.receive(Frame(TEXT, b"a")) == []


# Discarding


def test_discarding_drops_data_and_keeps_control_frames(peer: Peer) -> None:
    # §7.1.1
    assert peer.protocol.discard() == []
    assert peer.receive(
        Frame(TEXT, b"a"),
        Frame(PING, b"1"),
        Frame(BINARY, bytes(70000), fin=False),
        Frame(PONG, b"2"),
        Frame(CONTINUATION, bytes(300)),
        close_frame(1000),
    ) == [Ping(b"1"), Pong(b"2"), CloseReceived(CloseFrame(1000, ""))]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "as a stream"])
@both_sides
def test_discarding_drops_the_rest_of_a_message_that_has_begun(
    is_client: bool, streaming: bool
) -> None:
    message = (Frame(TEXT, b"abc\xc3", fin=False), Frame(CONTINUATION, b"\xa9def"))
    data = encode(*message, to_server=not is_client)
    ping = encode(Frame(PING), to_server=not is_client)
    for cut in range(1, len(data)):
        peer = Peer(is_client)
        if streaming:
            peer.protocol.read_as_stream()
        before = peer.receive_data(data[:cut])
        assert all(isinstance(event, Fragment) for event in before)
        assert peer.protocol.discard() == []
        assert peer.receive_data(data[cut:] + ping) == [Ping(b"")]
        assert peer.protocol.unfinished_bytes == 0


def test_discarded_data_has_no_limits_and_may_be_bad_text(peer: Peer) -> None:
    peer.protocol.discard()
    fragments = [Frame(CONTINUATION, b"\xff", fin=False)] * 2000
    assert peer.receive(Frame(TEXT, b"\xff", fin=False), *fragments, Frame(CONTINUATION)) == []
    header = encode(Frame(BINARY, length=2**62), to_server=not peer.is_client)
    assert peer.receive_data(header + bytes(1000)) == []
    assert peer.protocol.unfinished_bytes == 0


def test_discarding_still_refuses_what_the_rfc_forbids(peer: Peer) -> None:
    peer.protocol.discard()
    assert peer.receive(Frame(0x3)) == [Violation(1002, "unknown opcode 3")]


# Memory


@both_sides
@pytest.mark.parametrize("max_size", [1 << 20, None], ids=["limited", "unlimited"])
@pytest.mark.parametrize("n", [2**31, 2**62, 2**63 - 1])
def test_declared_length_allocates_nothing(n: int, max_size: int | None, is_client: bool) -> None:
    with traced() as peak:
        peer = Peer(is_client, max_size=max_size)
        for _ in range(3):
            peer.receive(Frame(BINARY, b"abc", length=n))
        assert peer.protocol.unfinished_bytes < 100
        assert peak() < 20_000


@both_sides
@pytest.mark.parametrize("payload", [b"", b"a"], ids=["empty", "1 byte"])
@pytest.mark.parametrize("reading", ["whole", "as a stream", "discarding"])
def test_fragments_cost_no_memory_of_their_own(
    is_client: bool, payload: bytes, reading: str
) -> None:
    # R-C1
    peer = Peer(is_client, max_size=None, max_fragments=None)
    if reading == "as a stream":
        peer.protocol.read_as_stream()
    elif reading == "discarding":
        peer.protocol.discard()
    with traced() as peak:
        peer.receive(Frame(BINARY, b"", fin=False))
        data = encode(*[Frame(CONTINUATION, payload, fin=False)] * 100, to_server=not is_client)
        for _ in range(50):
            peer.protocol.receive_data(data)
        held = 5000 * len(payload) if reading == "whole" else 0
        assert peer.protocol.unfinished_bytes == held
        # Twice what is held while its buffer grows, and the events of one call.
        assert peak() < 2 * held + 100_000


@both_sides
@pytest.mark.parametrize(
    ("frame", "event", "a_call"),
    [
        (Frame(PING), Ping(b""), 512),
        (Frame(PONG, b"a"), Pong(b"a"), 512),
        (Frame(BINARY), b"", 2048),
        (Frame(TEXT, b"ab"), "ab", 2048),
    ],
    ids=repr,
)
def test_many_frames_are_taken_in_steps(
    is_client: bool, frame: Frame, event: Event, a_call: int
) -> None:
    # R-C1: what one read comes to is bounded, and so is the time that it takes.
    steps = [*Peer(is_client).steps(encode(*[frame] * 5000, to_server=not is_client))]
    assert steps == [[event] * a_call] * (5000 // a_call) + [[event] * (5000 % a_call)]


@both_sides
def test_many_fragments_are_taken_in_steps(is_client: bool) -> None:
    fragments = [Frame(CONTINUATION, b"a", fin=False)] * 5000
    frames = [Frame(BINARY, fin=False), *fragments, Frame(PING), Frame(CONTINUATION)]
    *steps, last = Peer(is_client, max_fragments=None).steps(
        encode(*frames, to_server=not is_client)
    )
    assert steps == [[]] * (5003 // 512)
    assert last == [Ping(b""), b"a" * 5000]


@both_sides
def test_end_of_a_step_within_a_frame_loses_nothing(is_client: bool) -> None:
    peer = Peer(is_client)
    data = encode(*[Frame(BINARY, b"ab")] * 2049, to_server=not is_client)
    assert [*peer.steps(data[:-1])] == [[b"ab"] * 2048, []]
    assert peer.receive_data(data[-1:]) == [b"ab"]


def test_a_million_empty_fragments_keep_memory_flat() -> None:
    # R-C1; in a process of its own, which nothing slows down by tracing it.
    program = """
        import sys
        from anyws._core.protocol import Protocol

        protocol = Protocol(is_client=True, max_size=None, max_fragments=None)
        protocol.receive_data(bytes([0x02, 0]))
        flood = bytes([0x00, 0]) * 32768
        before = sys.getallocatedblocks()
        for _ in range(31):
            assert protocol.receive_data(flood) == []
            while protocol.has_work:
                assert protocol.receive_data(b"") == []
        print(protocol.unfinished_bytes, sys.getallocatedblocks() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=True,
        capture_output=True,
        text=True,
    )
    unfinished_bytes, blocks = map(int, done.stdout.split())
    assert unfinished_bytes == 0
    assert blocks < 1000


def test_fragments_over_the_limit_stop_a_flood() -> None:
    peer = Peer(is_client=True)
    peer.receive(Frame(BINARY, fin=False))
    flood = encode(Frame(CONTINUATION, fin=False), to_server=False) * 2000
    (event,) = peer.receive_data(flood)
    assert event == TooBig(1008, "incoming message of more than 1024 fragments")


def test_unfinished_bytes_are_those_held_for_what_is_not_complete(peer: Peer) -> None:
    assert peer.protocol.unfinished_bytes == 0
    peer.receive(Frame(BINARY, b"abc", fin=False))
    assert peer.protocol.unfinished_bytes == 3
    peer.receive_data(encode(Frame(PING, b"ab"), to_server=not peer.is_client)[:-1])
    assert peer.protocol.unfinished_bytes == 3 + (3 if peer.is_client else 7)


def test_violation_drops_what_is_held(peer: Peer) -> None:
    peer.receive(Frame(BINARY, b"abc", fin=False))
    peer.receive(Frame(0x3), Frame(TEXT, b"behind"))
    assert peer.protocol.unfinished_bytes == 0
    assert peer.receive(Frame(TEXT, b"behind")) == []
    assert peer.protocol.unfinished_bytes == 0


# Writing


def fixed_mask() -> bytes:
    return MASK


LARGE = bytes(i * 7 & 0x7F for i in range(300_000))


def fill_room(protocol: Protocol, stream: bytes, at: int, size: int) -> tuple[int, list[Event]]:
    """Give the next bytes of a stream to where they are wanted; return where that ends."""
    room = protocol.payload_room()
    assert (room is not None) is protocol.wants_room()
    if room is None:
        return at + size, protocol.receive_data(stream[at : at + size])
    with room:
        n = min(len(room), size, len(stream) - at)
        room[:n] = stream[at : at + n]
    return at + n, protocol.payload_filled(n)


@both_sides
@pytest.mark.parametrize("size", [1000, 65_536, 1 << 20])
def test_large_binary_message_is_read_into_its_own_room(is_client: bool, size: int) -> None:
    frames = [
        Frame(BINARY, LARGE, fin=False),
        Frame(PING, b"between"),
        Frame(CONTINUATION, LARGE),
        Frame(TEXT, LARGE),
    ]
    stream = encode(*frames, to_server=not is_client)
    protocol = Protocol(is_client=is_client)
    at, events, rooms = 0, [], 0
    while at < len(stream):
        rooms += protocol.wants_room()
        at, more = fill_room(protocol, stream, at, size)
        events += more
    assert events == [Ping(b"between"), LARGE * 2, LARGE.decode()]
    assert rooms > 0 or size > len(stream)
    assert protocol.unfinished_bytes == 0


@both_sides
def test_room_never_reaches_beyond_what_has_come_by_more_than_that(is_client: bool) -> None:
    # R-C1: a peer cannot make us allocate by announcing.
    header = Frame(BINARY, bytes(1 << 20)).encode(None if is_client else bytes(4))[:14]
    protocol = Protocol(is_client=is_client)
    protocol.receive_data(header)
    for _ in range(3):
        room = protocol.payload_room()
        assert room is not None
        with room:
            n = len(room)
        assert n <= max(64 * 1024, protocol.unfinished_bytes)
        protocol.payload_filled(n)


@both_sides
def test_message_read_into_its_room_may_be_taken_as_a_stream_or_dropped(is_client: bool) -> None:
    stream = encode(Frame(BINARY, LARGE), Frame(TEXT, b"next"), to_server=not is_client)
    for take, expected in (
        (Protocol.read_as_stream, [Fragment(LARGE[:9000], False), Fragment(LARGE[9000:], True)]),
        (Protocol.discard, []),
    ):
        protocol = Protocol(is_client=is_client)
        header = 10 if is_client else 14
        protocol.receive_data(stream[: header + 1000])
        at, events = fill_room(protocol, stream, header + 1000, 8000)
        assert (events, protocol.unfinished_bytes) == ([], 9000)
        events = take(protocol)
        assert protocol.payload_room() is None
        events += protocol.receive_data(stream[at : header + len(LARGE)])
        assert events == expected
        assert protocol.unfinished_bytes == 0


def new_writer(is_client: bool) -> Protocol:
    """Return a side whose masks are known."""
    return Protocol(is_client=is_client, next_mask=fixed_mask)


@both_sides
@pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
@pytest.mark.parametrize("n", [0, 1, 125, 126, 16383, 16384, 65535, 65536])
def test_message_is_sent_in_one_frame_masked_by_a_client_only(
    n: int, text: bool, is_client: bool
) -> None:
    # §5.1, §6.1
    payload = bytes(i % 128 for i in range(n))
    buffers = new_writer(is_client).send_message(payload, text)
    frame = Frame(TEXT if text else BINARY, payload)
    assert b"".join(buffers) == encode(frame, to_server=is_client)


@both_sides
@pytest.mark.parametrize("n", [0, 1, 126, 70_000])
def test_message_in_slices_is_sent_in_one_frame(n: int, is_client: bool) -> None:
    payload = bytes(i % 128 for i in range(n))
    writer = new_writer(is_client)
    masking = writer.new_masking()
    slices = [masking.apply(payload[at : at + 997]) for at in range(0, n, 997)]
    buffers = writer.send_slices(slices, masking, True)
    assert b"".join(buffers) == encode(Frame(TEXT, payload), to_server=is_client)


@both_sides
@pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
def test_fragments_are_sent_with_the_kind_on_the_first_and_fin_on_the_last(
    is_client: bool, text: bool
) -> None:
    # §5.4
    protocol = new_writer(is_client)
    buffers = [
        *protocol.send_fragment(b"a", text=text, final=False),
        protocol.send_ping(b"between"),
        *protocol.send_fragment(b"", text=text, final=False),
        *protocol.send_fragment(b"c", text=text, final=True),
        *protocol.send_fragment(b"whole", text=text, final=True),
    ]
    opcode = TEXT if text else BINARY
    assert b"".join(buffers) == encode(
        Frame(opcode, b"a", fin=False),
        Frame(PING, b"between"),
        Frame(CONTINUATION, b"", fin=False),
        Frame(CONTINUATION, b"c"),
        Frame(opcode, b"whole"),
        to_server=is_client,
    )


@both_sides
def test_control_frames_are_sent(is_client: bool) -> None:
    # §5.5
    protocol = new_writer(is_client)
    sent = [
        protocol.send_ping(b""),
        protocol.send_ping(bytes(125)),
        protocol.send_pong(b"data"),
        protocol.send_close(1001, "käfer"),
    ]
    assert b"".join(sent) == encode(
        Frame(PING),
        Frame(PING, bytes(125)),
        Frame(PONG, b"data"),
        close_frame(1001, "käfer"),
        to_server=is_client,
    )


@both_sides
def test_close_without_a_code_is_empty(is_client: bool) -> None:
    sent = new_writer(is_client).send_close(1005)
    assert sent == encode(Frame(CLOSE), to_server=is_client)


@pytest.mark.parametrize("name", ["send_ping", "send_pong"])
def test_control_frame_over_125_bytes_is_rejected(name: str) -> None:
    # §5.5
    protocol = Protocol(is_client=True)
    with pytest.raises(LocalProtocolError, match=r"^control frame of 126 bytes, limit 125"):
        getattr(protocol, name)(bytes(126))


@pytest.mark.parametrize(("code", "reason"), [(1006, ""), (1000, "a" * 124)])
def test_rejected_close_leaves_the_direction_open(code: int, reason: str) -> None:
    protocol = Protocol(is_client=True)
    with pytest.raises(LocalProtocolError):
        protocol.send_close(code, reason)
    assert protocol.writing is Flow.OPEN


def test_every_frame_of_a_client_has_a_fresh_mask() -> None:
    # §5.3
    masks = [bytes([0, 0, 0, i]) for i in range(6)]
    protocol = Protocol(is_client=True, next_mask=iter(masks).__next__)
    frames = [
        b"".join(protocol.send_message(b"abcd", False)),
        b"".join(protocol.send_message(bytes(300), False)),
        b"".join(protocol.send_fragment(b"abcd", text=False, final=False)),
        protocol.send_ping(b"abcd"),
        protocol.send_pong(b"abcd"),
        protocol.send_close(1000),
    ]
    for frame, mask in zip(frames, masks, strict=True):
        start = 4 if frame[1] & 0x7F == 126 else 2
        assert frame[start : start + 4] == mask


def test_masks_come_from_the_operating_system_unless_given() -> None:
    protocol = Protocol(is_client=True)
    frames = [b"".join(protocol.send_message(b"abcd", False)) for _ in range(50)]
    assert len({frame[2:6] for frame in frames}) == 50
    assert all(masked(frame[6:], frame[2:6]) == b"abcd" for frame in frames)


@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
@both_sides
def test_one_side_reads_what_the_other_sends(is_client: bool, size: int | None) -> None:
    sender = Protocol(is_client=is_client)
    receiver = Peer(not is_client)
    sent = b"".join(
        (
            *sender.send_message("käfer".encode(), True),
            *sender.send_message(bytes(20000), False),
            *sender.send_fragment(b"a", text=True, final=False),
            sender.send_ping(b"1"),
            *sender.send_fragment(b"b", text=True, final=True),
            sender.send_pong(b"2"),
            sender.send_close(1001, "bye"),
        )
    )
    assert receiver.receive_data(sent, size) == [
        "käfer",
        bytes(20000),
        Ping(b"1"),
        "ab",
        Pong(b"2"),
        CloseReceived(CloseFrame(1001, "bye")),
    ]
