"""Tests of `anyws._payload`: what is sent of what an application gives."""

from __future__ import annotations

import array

import pytest

from anyws import LocalProtocolError
from anyws._payload import Data, is_large, payload_slices, to_payload

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a" * (MIB - 1), False),
        ("a" * MIB, True),
        (bytes(MIB - 1), False),
        (bytearray(MIB), True),
        (memoryview(bytes(MIB)), True),
        (memoryview(array.array("d", bytes(MIB))), True),
        (memoryview(array.array("d", bytes(MIB - 8))), False),
        (memoryview(b"a").cast("B", ()), False),
    ],
    ids=str,
)
def test_large_is_a_mebibyte(data: Data, expected: bool) -> None:
    assert is_large(data) is expected


@pytest.mark.parametrize("text", [None, True, False])
@pytest.mark.parametrize(
    "data",
    [
        "",
        "aé世🌍" * 100_000,
        b"",
        "aé世🌍".encode() * 100_000,
        bytearray(b"a" * 600_000),
        memoryview(b"ab" * 600_000)[::2],
        memoryview(array.array("i", range(100))),
    ],
    ids=lambda data: type(data).__name__,
)
def test_slices_are_the_payload(data: Data, text: bool | None) -> None:
    slices = list(payload_slices(data, text))
    assert b"".join(slices) == to_payload(data, text)[0]
    assert all(type(piece) is bytes for piece in slices)


@pytest.mark.parametrize(
    ("data", "text", "problem"),
    [
        ("a" * 300_000 + "\ud800", None, "cannot be encoded"),
        (b"a" * 300_000 + b"\xff", True, "not UTF-8: invalid start byte"),
        (b"a" * 300_000 + b"\xe4", True, "not UTF-8: unexpected end of data"),
    ],
)
def test_slices_fail_as_the_payload_does(data: Data, text: bool | None, problem: str) -> None:
    with pytest.raises(LocalProtocolError, match=problem):
        to_payload(data, text)
    with pytest.raises(LocalProtocolError, match=problem):
        list(payload_slices(data, text))
