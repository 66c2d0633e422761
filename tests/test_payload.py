"""Tests of `anyws._payload`: what is sent of what an application gives."""

from __future__ import annotations

import array

import pytest

from anyws import LocalProtocolError
from anyws._payload import Data, payload_slices, size_of, to_payload

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("aé世", 3),
        (bytes(7), 7),
        (bytearray(7), 7),
        (memoryview(bytes(7)), 7),
        (memoryview(array.array("d", bytes(16))), 16),
        (memoryview(b"a").cast("B", ()), 1),
    ],
    ids=["str", "bytes", "bytearray", "memoryview", "of doubles", "of no dimension"],
)
def test_size_is_in_bytes_or_characters(data: Data, expected: int) -> None:
    assert size_of(data) == expected


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
