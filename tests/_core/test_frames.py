"""The layout of a frame and of a Close payload, encoded; `test_protocol.py` decodes frames."""

from __future__ import annotations

import pytest

from anyws import CloseCode, CloseFrame, LocalProtocolError, Opcode
from anyws._core.frames import (
    MAX_CONTROL_PAYLOAD,
    decode_close_payload,
    encode_close_payload,
    encode_frame,
    encode_frame_header,
)

from .wire import MASK, masked

# §5.7, in its order: first byte, payload, mask, the bytes on the wire.
RFC_EXAMPLES = [
    pytest.param(0x81, b"Hello", None, "81 05 48 65 6c 6c 6f", id="§5.7 unmasked text"),
    pytest.param(0x81, b"Hello", MASK, "81 85 37 fa 21 3d 7f 9f 4d 51 58", id="§5.7 masked text"),
    pytest.param(0x01, b"Hel", None, "01 03 48 65 6c", id="§5.7 first fragment"),
    pytest.param(0x80, b"lo", None, "80 02 6c 6f", id="§5.7 last fragment"),
    pytest.param(0x89, b"Hello", None, "89 05 48 65 6c 6c 6f", id="§5.7 Ping"),
    pytest.param(0x8A, b"Hello", MASK, "8a 85 37 fa 21 3d 7f 9f 4d 51 58", id="§5.7 masked Pong"),
    pytest.param(
        0x82, bytes(256), None, "82 7e 01 00" + " 00" * 256, id="§5.7 256 bytes of binary"
    ),
    pytest.param(
        0x82,
        bytes(65536),
        None,
        "82 7f 00 00 00 00 00 01 00 00" + " 00" * 65536,
        id="§5.7 64 KiB of binary",
    ),
]

LENGTHS = [
    (0, "00"),
    (1, "01"),
    (125, "7d"),
    (126, "7e 007e"),
    (127, "7e 007f"),
    (65535, "7e ffff"),
    (65536, "7f 0000000000010000"),
    (2**31, "7f 0000000080000000"),
    (2**32, "7f 0000000100000000"),
    (2**63 - 1, "7f 7fffffffffffffff"),
]

SENDABLE_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
# §7.4.1, §7.4.2
RESERVED_CODES = [0, 999, 1004, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize(("first_byte", "payload", "mask", "expected"), RFC_EXAMPLES)
def test_example_of_the_rfc_is_encoded(
    first_byte: int, payload: bytes, mask: bytes | None, expected: str
) -> None:
    assert b"".join(encode_frame(first_byte, payload, mask)) == bytes.fromhex(expected)


@pytest.mark.parametrize(("n", "expected"), LENGTHS)
def test_length_has_its_shortest_form(n: int, expected: str) -> None:
    assert encode_frame_header(0x82, n, None) == b"\x82" + bytes.fromhex(expected)


@pytest.mark.parametrize(("n", "expected"), LENGTHS)
def test_mask_bit_and_key_are_in_the_header_of_a_masked_frame(n: int, expected: str) -> None:
    header = encode_frame_header(0x82, n, MASK)
    length = bytearray.fromhex(expected)
    length[0] |= 0x80
    assert header == b"\x82" + length + MASK


@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
@pytest.mark.parametrize("n", [0, 1, 125, 126, 1000, 16383, 16384, 65536])
def test_buffers_of_a_frame_are_its_header_and_its_payload(n: int, mask: bytes | None) -> None:
    payload = bytes(i & 0xFF for i in range(n))
    buffers = encode_frame(0x82, payload, mask)
    data = payload if mask is None else masked(payload, mask)
    assert b"".join(buffers) == encode_frame_header(0x82, n, mask) + data
    assert all(type(buffer) is bytes for buffer in buffers)


def test_small_frame_is_one_buffer() -> None:
    assert len(encode_frame(0x82, bytes(16383), None)) == 1


def test_large_payload_is_not_copied() -> None:
    payload = bytes(16384)
    assert encode_frame(0x82, payload, None)[1] is payload


@pytest.mark.parametrize("code", SENDABLE_CODES)
def test_close_code_and_reason_survive_the_wire(code: int) -> None:
    payload = encode_close_payload(code, "bye, käfer")
    assert payload == code.to_bytes(2, "big") + "bye, käfer".encode()
    assert decode_close_payload(payload) == CloseFrame(code, "bye, käfer")


def test_close_without_a_code_is_1005_in_memory_and_empty_on_the_wire() -> None:
    assert encode_close_payload(CloseCode.NO_STATUS_RCVD) == b""
    assert decode_close_payload(b"") == CloseFrame(1005, "")


def test_close_without_a_code_takes_no_reason() -> None:
    with pytest.raises(LocalProtocolError, match="close code 1005 may not be sent"):
        encode_close_payload(1005, "reason")


@pytest.mark.parametrize("code", [-1, *RESERVED_CODES, 65536])
def test_reserved_close_code_is_not_encoded(code: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"close code {code} may not be sent; allowed"):
        encode_close_payload(code)


@pytest.mark.parametrize("code", [*RESERVED_CODES, 1005])
def test_reserved_close_code_is_not_decoded(code: int) -> None:
    with pytest.raises(ValueError, match=f"^Close frame has the reserved code {code}$"):
        decode_close_payload(code.to_bytes(2, "big"))


@pytest.mark.parametrize("reason", ["a" * 123, "é" * 61 + "a"], ids=["ASCII", "UTF-8"])
def test_close_reason_of_123_bytes_is_encoded(reason: str) -> None:
    assert len(encode_close_payload(1000, reason)) == MAX_CONTROL_PAYLOAD


@pytest.mark.parametrize("reason", ["a" * 124, "é" * 62], ids=["ASCII", "UTF-8"])
def test_close_reason_over_123_bytes_is_rejected(reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^close reason is 124 bytes, limit 123$"):
        encode_close_payload(1000, reason)


def test_close_reason_with_a_lone_surrogate_is_rejected() -> None:
    with pytest.raises(LocalProtocolError, match="close reason cannot be encoded as UTF-8"):
        encode_close_payload(1000, "\ud800")


def test_close_payload_of_one_byte_is_rejected() -> None:
    with pytest.raises(ValueError, match="payload of 1 byte"):
        decode_close_payload(b"\x03")


def test_close_reason_that_is_not_utf_8_is_rejected() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode_close_payload(b"\x03\xe8\xff")


def test_opcodes_are_those_of_the_registry() -> None:
    assert {opcode.name: opcode.value for opcode in Opcode} == {
        "CONTINUATION": 0,
        "TEXT": 1,
        "BINARY": 2,
        "CLOSE": 8,
        "PING": 9,
        "PONG": 10,
    }


def test_close_codes_are_those_of_the_registry() -> None:
    assert sorted(CloseCode) == [*range(1000, 1004), *range(1005, 1016)]
