"""Compressed messages of the load, and how replies to them are counted."""

from __future__ import annotations

import json
import socket
import zlib
from random import Random

import pytest

from tests.bench.compressed import (
    FIRST_BYTE,
    LARGEST_WINDOW_BITS,
    MESSAGES,
    SEED,
    TAIL,
    WINDOW_BITS,
    FrameCounter,
    check_agreement,
    compressed_exchange,
    decode_first,
    encode_compressed,
    make_record,
)
from tests.bench.load import Channel, LoadError, Supply, check_first_reply, check_response
from tests.bench.wire import (
    DEFLATE_OFFER,
    SEC_WEBSOCKET_ACCEPT,
    Exchange,
    encode_frame,
    encode_request,
    exchange_of,
    unmask,
)

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + SEC_WEBSOCKET_ACCEPT + b"\r\n"
)
AGREED = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="


def reply_to(*texts: bytes) -> list[bytes]:
    """Return what a server sends that keeps its context."""
    compressor = zlib.compressobj(wbits=-15)
    payloads = [compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH) for text in texts]
    return [encode_frame(0x41, payload[:-4], masked=False) for payload in payloads]


def text_of(frame: bytes) -> bytes:
    _, payload = unmask(frame)
    return zlib.decompressobj(-WINDOW_BITS).decompress(payload + TAIL)


def test_messages_differ_and_are_the_same_in_each_run() -> None:
    exchange = compressed_exchange(1024)
    texts = [text_of(frame) for frame in (exchange.sent, *exchange.others)]
    assert texts[0] == exchange.expected
    assert len(set(texts)) == MESSAGES
    assert len(b"".join(texts)) > 1 << LARGEST_WINDOW_BITS  # or each would be found in the last one
    assert all(len(text) == 1024 and json.loads(text) for text in texts)
    assert compressed_exchange(1024) == exchange


def test_messages_are_compressed_as_text_usually_is() -> None:
    exchange = compressed_exchange(1024)
    sizes = [len(frame) for frame in (exchange.sent, *exchange.others)]
    assert 1024 / 3 < sum(sizes) / len(sizes) < 1024 * 2 / 3


def test_small_window_costs_nothing_for_1_kib() -> None:
    text = make_record(1024, Random(SEED))
    compressor = zlib.compressobj(wbits=-15)
    payload = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(unmask(encode_compressed(text))[1]) <= len(payload) - len(TAIL)


@pytest.mark.parametrize("size", [0, 1, 300, 70_000], ids=["empty", "7 bits", "16", "64"])
def test_first_reply_is_decompressed(size: int) -> None:
    text = Random(SEED).randbytes(size)
    (frame,) = reply_to(text)
    assert decode_first(frame) == text


def test_reply_that_is_no_deflate_is_rejected() -> None:
    with pytest.raises(ValueError, match="the reply starts with"):
        decode_first(encode_frame(0x41, b"\xff" * 20, masked=False))


@pytest.mark.parametrize("step", [1, 2, 3, 5, 129, 4096, 1 << 20])
def test_replies_are_counted_wherever_they_are_cut(step: int) -> None:
    chance = Random(SEED)
    frames = reply_to(*map(chance.randbytes, (0, 10, 118, 119, 120, 121, 1024, 65_600, 3)))
    assert {frame[1] for frame in frames} >= {126, 127}
    whole = b"".join(frames)
    ends = [len(b"".join(frames[: n + 1])) for n in range(len(frames))]
    counter = FrameCounter()
    received = counted = 0
    for at in range(0, len(whole), step):
        chunk = memoryview(whole)[at : at + step]
        received += len(chunk)
        counted += counter.count(chunk)
        assert counted == sum(end <= received for end in ends)


@pytest.mark.parametrize("first_byte", [0x81, 0xC2, 0x41, 0x88], ids=lambda byte: f"{byte:#x}")
def test_a_reply_of_another_kind_is_no_reply(first_byte: int) -> None:
    (frame,) = reply_to(b"hello")
    counter = FrameCounter()
    assert counter.count(frame) == 1
    with pytest.raises(ValueError, match="not compressed text"):
        counter.count(bytes([first_byte]) + frame[1:])
    assert frame[0] == FIRST_BYTE


@pytest.mark.parametrize(
    "exchange",
    [exchange_of(1024), Exchange(b"1", b"", (b"22", b"333"))],
    ids=["one message", "several"],
)
def test_messages_are_sent_in_turn(exchange: Exchange) -> None:
    frames = [exchange.sent, *exchange.others] * 25
    supply = Supply(exchange, 5)
    with socket.socket() as unconnected:
        channel = Channel(unconnected, None)
        sent = b"".join(supply.take(channel, count) for count in (5, 1, 2, 3, 4, 5, 5))
    assert sent == b"".join(frames[:25])


def test_compression_is_offered_if_it_is_to_be() -> None:
    assert encode_request(80, compress=True).endswith(b": " + DEFLATE_OFFER + b"\r\n\r\n")
    assert b"Extensions" not in encode_request(80)


@pytest.mark.parametrize("bits", [b"11", b'"15"'])
def test_agreement_with_a_window_that_suffices_is_taken(bits: bytes) -> None:
    check_agreement(ACCEPTED + AGREED + bits + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (b"", "not agreed on"),
        (b"Sec-WebSocket-Extensions: other\r\n", "not agreed on"),
        (AGREED + b"10\r\n", "window is 2\\*\\*10"),
    ],
    ids=["no extension", "another one", "a small window"],
)
def test_response_without_a_fitting_agreement_is_rejected(field: bytes, reason: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(ACCEPTED + field + b"\r\n")
        with pytest.raises(LoadError, match=reason):
            check_response(ours, compress=True)


def test_first_reply_has_the_text_of_the_first_message() -> None:
    exchange = compressed_exchange(1024)
    (right,) = reply_to(exchange.expected)
    (wrong,) = reply_to(b"something else")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(right)
        check_first_reply(ours, exchange)
        theirs.sendall(wrong)
        with pytest.raises(LoadError, match="the reply is b'something else'"):
            check_first_reply(ours, exchange)
        theirs.sendall(right[:-1])
        theirs.close()
        with pytest.raises(LoadError, match="closed after"):
            check_first_reply(ours, exchange)
