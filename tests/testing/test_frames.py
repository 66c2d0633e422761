"""Tests of `anyws.testing._frames`: frames, legal or not, and a reader that is strict (§5)."""

from __future__ import annotations

import pytest

from anyws import Opcode
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

#: The masking key of the examples in §5.7.
MASK = bytes.fromhex("37fa213d")

FRAMES = [
    pytest.param(Frame(TEXT, b"Hello"), "810548656c6c6f", id="§5.7 text"),
    pytest.param(Frame(TEXT, b"Hel", fin=False), "010348656c", id="§5.7 first fragment"),
    pytest.param(Frame(CONTINUATION, b"lo"), "80026c6f", id="§5.7 last fragment"),
    pytest.param(Frame(PING, b"Hello"), "890548656c6c6f", id="§5.7 ping"),
    pytest.param(Frame(PONG), "8a00", id="empty"),
    pytest.param(Frame(BINARY, bytes(125)), "827d" + "00" * 125, id="125"),
    pytest.param(Frame(BINARY, bytes(126)), "827e007e" + "00" * 126, id="126"),
    pytest.param(Frame(BINARY, bytes(65535)), "827effff" + "00" * 65535, id="65535"),
    pytest.param(Frame(BINARY, bytes(65536)), "827f0000000000010000" + "00" * 65536, id="65536"),
    pytest.param(Frame(11, b"x", fin=False, reserved=5), "5b0178", id="illegal"),
    pytest.param(Frame(TEXT, b"x", length=5), "810578", id="length"),
    pytest.param(Frame(TEXT, b"x", length=2**63), "817f800000000000000078", id="long length"),
    pytest.param(Frame(TEXT, b"x", length_bytes=3), "817e000178", id="3 bytes"),
    pytest.param(Frame(TEXT, b"x", length_bytes=9), "817f000000000000000178", id="9 bytes"),
]


def test_opcodes_are_those_of_the_rfc() -> None:
    assert [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] == [0, 1, 2, 8, 9, 10]
    assert Frame(Opcode.TEXT, b"x") == Frame(TEXT, b"x")


@pytest.mark.parametrize(("frame", "encoded"), FRAMES)
def test_frame_is_encoded(frame: Frame, encoded: str) -> None:
    assert frame.encode() == bytes.fromhex(encoded)


@pytest.mark.parametrize(("frame", "encoded"), FRAMES)
def test_masked_frame_is_the_same_under_a_key(frame: Frame, encoded: str) -> None:
    plain, masked = bytes.fromhex(encoded), frame.encode(MASK)
    start = len(plain) - len(frame.payload)
    assert masked[0] == plain[0]
    assert masked[1] == plain[1] | 0x80
    assert masked[2:start] == plain[2:start]
    assert masked[start : start + 4] == MASK
    assert bytes(b ^ MASK[n % 4] for n, b in enumerate(masked[start + 4 :])) == frame.payload


def test_example_of_the_rfc_is_masked() -> None:
    assert Frame(TEXT, b"Hello").encode(MASK).hex() == "818537fa213d7f9f4d5158"


@pytest.mark.parametrize(
    ("frame", "payload"),
    [
        (close_frame(), b""),
        (close_frame(1000), b"\x03\xe8"),
        (close_frame(4000, "né"), b"\x0f\xa0n\xc3\xa9"),
    ],
)
def test_close_frame_has_code_and_reason(frame: Frame, payload: bytes) -> None:
    assert frame == Frame(CLOSE, payload)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame(TEXT, b"hi"), "Frame(TEXT, b'hi')"),
        (Frame(Opcode.PING), "Frame(PING, b'')"),
        (Frame(BINARY, fin=False), "Frame(BINARY, b'', fin=False)"),
        (Frame(3, reserved=4), "Frame(3, b'', reserved=4)"),
        (Frame(TEXT, length=5, length_bytes=3), "Frame(TEXT, b'', length=5, length_bytes=3)"),
        (Frame(BINARY, b"a" * 81), f"Frame(BINARY, {b'a' * 80!r}... (81 bytes))"),
    ],
)
def test_frame_says_what_it_is(frame: Frame, text: str) -> None:
    assert repr(frame) == text


# Reading

MESSAGE = [
    Frame(TEXT, b"one", fin=False),
    Frame(PING, b"between"),
    Frame(CONTINUATION, bytes(200), fin=False),
    Frame(CONTINUATION),
    Frame(BINARY, bytes(70000)),
    close_frame(1000, "over"),
]


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_frames_are_read_however_their_bytes_come(masked: bool, size: int) -> None:
    data = b"".join(frame.encode(MASK if masked else None) for frame in MESSAGE)
    reader = FrameReader(masked=masked)
    frames = []
    for start in range(0, len(data), size):
        frames += reader.feed(data[start : start + size])
    assert frames == MESSAGE
    assert reader.begun == b""


def test_what_is_no_whole_frame_stays() -> None:
    reader = FrameReader(masked=False)
    assert reader.feed(b"\x89\x00\x81\x05Hel") == [Frame(PING)]
    assert reader.begun == b"\x81\x05Hel"
    assert reader.next_frame() is None


BROKEN = [
    pytest.param("c100", "a reserved bit is set, and no extension was agreed on (§5.2)", id="rsv1"),
    pytest.param("9100", "a reserved bit is set, and no extension was agreed on (§5.2)", id="rsv3"),
    pytest.param("8300", "the opcode 3 is not defined (§5.2)", id="opcode 3"),
    pytest.param("8f00", "the opcode 15 is not defined (§5.2)", id="opcode 15"),
    pytest.param("8180", "a server's frame is masked (§5.3)", id="masked"),
    pytest.param("0900", "a control frame is fragmented (§5.5)", id="fragmented ping"),
    pytest.param("897e", "a control frame has more than 125 bytes (§5.5)", id="long ping"),
    pytest.param("817e007d", "the length 125 is not in its shortest form (§5.2)", id="16 bits"),
    pytest.param(
        "817f000000000000ffff", "the length 65535 is not in its shortest form (§5.2)", id="64 bits"
    ),
    pytest.param("817f8" + "0" * 15, "the highest bit of the length is set (§5.2)", id="sign"),
    pytest.param("8000", "a continuation without a message (§5.4)", id="continuation"),
    pytest.param("01008100", "a message begins within another (§5.4)", id="within"),
    pytest.param("88008900", "bytes after the Close frame (§5.5.1)", id="after close"),
]


@pytest.mark.parametrize(("data", "rule"), BROKEN)
def test_broken_rule_is_named_with_what_came(data: str, rule: str) -> None:
    reader = FrameReader(masked=False)
    with pytest.raises(AssertionError) as caught:
        reader.feed(bytes.fromhex(data))
    assert str(caught.value).startswith(f"{rule}: received b'\\")


def test_frame_of_a_client_that_is_not_masked_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        FrameReader(masked=True).feed(b"\x81\x02hi")
    assert str(caught.value) == "a client's frame is not masked (§5.3): received b'\\x81\\x02hi'"
