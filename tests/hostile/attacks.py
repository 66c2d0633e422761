"""What a hostile peer sends: each flood as the bytes of it, and what it may cost the other end.

Knows nothing of how they are sent: that is `floods.py`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal

from ..scripted import Role

__all__ = ["FLOODS", "KIB", "MIB", "Application", "Flood", "Options"]

KIB = 1024
MIB = 1024 * KIB

#: What the application at the other end does: it receives messages; it takes a message as a stream;
#: it does not receive at all; or there is no connection yet.
Application = Literal["receives", "streams", "ignores", "handshake"]

Options = Mapping[str, int | float | str | None]

#: The bytes of an attack, piece by piece, for the role that is attacked and a number of units.
Attack = Callable[[Role, int], Iterator[bytes]]

# 64 KiB: small units are sent so many bytes at a time.
_PIECE = 64 * KIB

_BOTH: tuple[Role, ...] = ("server", "client")


@dataclass(frozen=True, slots=True)
class Flood:
    """An attack, and what has to come of it.

    Attributes:
        attack: as said.
        unit: what there are `few` of in a test, and `many` of in a measurement.
        application: what ours does meanwhile.
        ends: how it ends: a close code that is sent; "held" where the peer has to wait, "gone"
            where the peer leaves; a status, or a part of the error, of an opening handshake.
        limits: bytes that the limits in force let the peer make us keep.
        options: of the connection that is attacked.
        reads: whether the peer reads.
        stays: the peer goes on after it has been told to stop.
        roles: of the side that is attacked.
    """

    attack: Attack
    unit: str
    few: int
    many: int
    ends: str
    limits: int
    application: Application = "receives"
    options: Options = field(default_factory=dict)
    reads: bool = True
    stays: bool = False
    roles: tuple[Role, ...] = _BOTH


# Frames


def header(role: Role, first_byte: int, n: int) -> bytes:
    """Return the header of a frame to this side; the masking key of a client's is zero (§5.3)."""
    masked = 0x80 if role == "server" else 0
    if n < 126:
        head = bytes((first_byte, masked | n))
    elif n < 65536:
        head = bytes((first_byte, masked | 126)) + n.to_bytes(2, "big")
    else:
        head = bytes((first_byte, masked | 127)) + n.to_bytes(8, "big")
    return head + bytes(4) if masked else head


def frame(role: Role, first_byte: int, payload: bytes = b"") -> bytes:
    return header(role, first_byte, len(payload)) + payload


def many(unit: bytes, n: int) -> Iterator[bytes]:
    """Yield a unit so many times, in pieces of about 64 KiB."""
    at_once = max(1, _PIECE // len(unit))
    yield from repeat(unit * at_once, n // at_once)
    yield unit * (n % at_once)


def one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def deflated(data: bytes) -> bytes:
    """Return a message as it is on the wire when it is compressed (RFC 7692 §7.2.1)."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def fragments(payload: bytes) -> Attack:
    """Send a message of so many fragments that does not end."""

    def attack(role: Role, n: int) -> Iterator[bytes]:
        yield frame(role, 0x02)
        yield from many(frame(role, 0x00, payload), n)

    return attack


def frames(first_byte: int, payload: bytes = b"") -> Attack:
    """Send so many frames, all alike."""
    return lambda role, n: many(frame(role, first_byte, payload), n)


def announced(length: int) -> Attack:
    """Announce so many bytes, and send as many as are wanted in small pieces."""

    def attack(role: Role, n: int) -> Iterator[bytes]:
        yield header(role, 0x82, length)
        yield from repeat(b"x" * 100, n // 100)

    return attack


def announced_late(role: Role, n: int) -> Iterator[bytes]:
    """Announce more than there can be, behind a fragment."""
    yield frame(role, 0x02, b"x" * n)
    yield header(role, 0x80, (1 << 63) - 1)


def byte_by_byte(role: Role, n: int) -> Iterator[bytes]:
    yield from one_by_one(frame(role, 0x82, b"x" * n))


def slow_text(role: Role, n: int) -> Iterator[bytes]:
    """Send a text whose characters are cut in two by its fragments, and one that is none."""
    yield frame(role, 0x01, b"\xc3")
    yield from many(frame(role, 0x00, b"\xa9\xc3"), n)
    yield from one_by_one(frame(role, 0x00, b"\xa9\xf4\x90"))


def wide_text(role: Role, n: int) -> Iterator[bytes]:
    """Send ASCII, and then a character that makes each of the others four bytes wide."""
    emoji = "\U0001f600".encode()
    yield header(role, 0x01, n)
    yield from many(b"x", n - 2 * len(emoji))
    yield emoji
    yield emoji[:1]


def wide_texts(role: Role, n: int) -> Iterator[bytes]:
    yield from many(frame(role, 0x81, b"x" * 10_000 + "\U0001f600".encode()), n)


def bomb(role: Role, n: int) -> Iterator[bytes]:
    """Send a message that is a thousand times as large as it looks."""
    yield frame(role, 0xC2, deflated(bytes(n * MIB)))


def text_bomb(role: Role, n: int) -> Iterator[bytes]:
    yield frame(role, 0xC1, deflated("\U0001f600".encode() * (n * MIB // 4)))


def bombs(role: Role, n: int) -> Iterator[bytes]:
    """Send messages that are as large as they may be, which nobody receives."""
    yield from many(frame(role, 0xC2, deflated(bytes(MIB))), n)


def empty_blocks(role: Role, n: int) -> Iterator[bytes]:
    """Send a message of empty blocks of DEFLATE, 5 bytes each, in fragments."""
    yield frame(role, 0x42)
    blocks = b"\x00\x00\x00\xff\xff" * 1000
    yield from many(frame(role, 0x00, blocks), n // 1000)
    yield frame(role, 0x80, b"\x00")


def last_blocks(role: Role, n: int) -> Iterator[bytes]:
    """Send a message of blocks that are marked as the last one, each of which begins anew."""
    yield frame(role, 0xC2, b"\x03\x00" * n)


def garbage(role: Role, n: int) -> Iterator[bytes]:
    # The reserved bits of the first byte are set: it is no frame.
    yield b"\xff"
    yield from repeat(os.urandom(_PIECE), n // _PIECE)


def after_close(role: Role, n: int) -> Iterator[bytes]:
    """Close, and go on."""
    yield frame(role, 0x88, (1000).to_bytes(2, "big"))
    yield from many(frame(role, 0x82, b"x" * 1000), n)


def oversized(role: Role, n: int) -> Iterator[bytes]:
    """Pass a limit, and go on."""
    yield header(role, 0x82, 1 << 40)
    yield from many(b"x" * 1000, n)


# Opening handshakes


def _first_line(role: Role) -> bytes:
    return b"GET / HTTP/1.1\r\n" if role == "server" else b"HTTP/1.1 101 Switching Protocols\r\n"


def head_without_end(role: Role, n: int) -> Iterator[bytes]:
    yield _first_line(role)
    yield from many(b"X-Hostile: " + b"x" * 50 + b"\r\n", n)


def head_byte_by_byte(role: Role, n: int) -> Iterator[bytes]:
    yield from one_by_one(_first_line(role) + b"X: " + b"x" * n)


def folded_head(role: Role, n: int) -> Iterator[bytes]:
    yield _first_line(role) + b"X: x\r\n"
    yield from many(b" x\r\n", n)


def interim_responses(role: Role, n: int) -> Iterator[bytes]:
    yield from many(b"HTTP/1.1 103 Early Hints\r\nX: x\r\n\r\n", n)


def body_without_end(role: Role, n: int) -> Iterator[bytes]:
    first_line = b"POST / HTTP/1.1\r\nHost: a" if role == "server" else b"HTTP/1.1 404 Not Found"
    yield first_line + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield from many(b"400;" + b"x" * 50 + b"\r\n" + b"x" * KIB + b"\r\n", n)


def garbage_at_first(role: Role, n: int) -> Iterator[bytes]:
    """Send what has no end of a line, so that the end of it is always the same."""
    yield from repeat(b"\xff" + os.urandom(_PIECE).replace(b"\n", b""), n // _PIECE)


# The limits that are in force by default.
_MESSAGE = MIB  # max_size
_UNREAD = MIB  # max_buffer, above which one message more may be
_UNSENT = 64 * KIB  # write_limit
_HEAD = 16 * KIB  # of a request or a response
_BODY = 64 * KIB  # of a refusal, which is copied while it grows
_FRAGMENTS = 1024  # max_fragments

# A character takes up to four bytes in memory, of the last read too; and what there is of a text is
# copied when the first such character comes.
_WIDE = 4 * (MIB + 64 * KIB)
_WIDENED = _WIDE + MIB

# A message whose size is not known has room for as much again as has come, half of which has not
# been written to.
_GROWING = 2 * MIB

# Pongs up to `write_limit` unsent, in a buffer of which as much may have left already; and as many
# until they are joined to such a buffer, each an object.
_PONGS = 5 * _UNSENT

_DEFLATE: Options = {"compression": "deflate"}
# 32 KiB of what came before, and zlib's own tables; a copy of it for a moment, on which it is tried
# whether a message ends where it ought to; and 64 KiB that a step comes to, as zlib has them.
_CONTEXT = 2 * 48 * KIB + 64 * KIB
_BRIEF: Options = {"close_timeout": 0.3}
_HURRIED: Options = {"open_timeout": 0.3}

FLOODS: dict[str, Flood] = {
    # Messages that do not end
    "empty fragments": Flood(fragments(b""), "fragments", 20_000, 1_000_000, "1008", 0),
    "empty fragments, any number": Flood(
        fragments(b""),
        "fragments",
        20_000,
        1_000_000,
        "1000",
        0,
        options={"max_fragments": None},
    ),
    "one-byte fragments": Flood(
        fragments(b"x"), "fragments", 20_000, 1_000_000, "1008", _FRAGMENTS
    ),
    "one-byte fragments, any number": Flood(
        fragments(b"x"),
        "fragments",
        20_000,
        2_000_000,
        "1009",
        16 * KIB,
        options={"max_fragments": None, "max_size": 16 * KIB},
    ),
    "byte by byte": Flood(byte_by_byte, "bytes", 2_000, 200_000, "1000", 200 * KIB),
    "2^62 bytes announced": Flood(announced(1 << 62), "bytes", 10_000, 1_000_000, "1009", 0),
    "2^64-1 bytes announced": Flood(
        announced((1 << 64) - 1), "bytes", 10_000, 1_000_000, "1002", 0
    ),
    "2^63-1 bytes announced behind a fragment": Flood(
        announced_late, "bytes", 1_000, 100_000, "1009", 100_000
    ),
    "1 MiB announced and not sent": Flood(
        announced(MIB), "bytes", 10_000, 100_000, "gone", 100_000
    ),
    "no limit, nobody receives": Flood(
        announced(1 << 40),
        "bytes",
        2_000_000,
        20_000_000,
        "held",
        _GROWING,
        "ignores",
        options={"max_size": None},
    ),
    "no limit, taken as a stream": Flood(
        announced(1 << 40), "bytes", 500_000, 50_000_000, "gone", _UNREAD, "streams"
    ),
    # Text
    "slow text that is none": Flood(
        slow_text, "fragments", 5_000, 100_000, "1007", MIB, options={"max_fragments": None}
    ),
    "text that gets wide at its end": Flood(wide_text, "bytes", MIB, MIB, "gone", _WIDENED),
    "wide texts that nobody receives": Flood(
        wide_texts, "messages", 300, 10_000, "held", _WIDE, "ignores"
    ),
    # Messages that nobody receives
    "empty messages, unread": Flood(
        frames(0x82), "messages", 40_000, 1_000_000, "held", 0, "ignores"
    ),
    "two-byte messages, unread": Flood(
        frames(0x82, b"xy"), "messages", 40_000, 1_000_000, "held", 0, "ignores"
    ),
    "messages of 1 KiB, unread": Flood(
        frames(0x82, b"x" * KIB), "messages", 2_000, 100_000, "held", _UNREAD, "ignores"
    ),
    "messages of 1 MiB, unread": Flood(
        frames(0x82, b"x" * MIB), "messages", 5, 100, "held", _UNREAD + _MESSAGE, "ignores"
    ),
    # Control frames
    "Pings, peer does not read": Flood(
        frames(0x89), "Pings", 12_000, 500_000, "gone", _PONGS, reads=False
    ),
    "Pings of 125 bytes, peer does not read": Flood(
        frames(0x89, b"x" * 125), "Pings", 5_000, 500_000, "gone", _PONGS, reads=False
    ),
    "Pings one by one, peer does not read": Flood(
        lambda role, n: repeat(frame(role, 0x89), n),
        "Pings",
        1_000,
        200_000,
        "gone",
        _PONGS,
        reads=False,
    ),
    "Pings": Flood(frames(0x89), "Pings", 12_000, 500_000, "1000", _PONGS),
    "Pongs": Flood(frames(0x8A, b"x"), "Pongs", 12_000, 500_000, "1000", 0),
    # Compression
    "empty messages, compressed": Flood(
        frames(0xC2, b"\x00"), "messages", 5_000, 200_000, "1000", _CONTEXT, options=_DEFLATE
    ),
    "bomb": Flood(bomb, "MiB", 20, 1024, "1009", _MESSAGE + _CONTEXT, options=_DEFLATE),
    "bomb of text": Flood(
        text_bomb, "MiB", 20, 1024, "1009", _GROWING + _CONTEXT, options=_DEFLATE
    ),
    "bombs within the limit, unread": Flood(
        bombs,
        "messages",
        10,
        1_000,
        "held",
        _UNREAD + _MESSAGE + _CONTEXT,
        "ignores",
        options=_DEFLATE,
    ),
    "empty blocks of DEFLATE": Flood(
        empty_blocks,
        "blocks",
        300_000,
        1_000_000,
        "1009",
        _CONTEXT,
        options={**_DEFLATE, "max_fragments": None},
    ),
    "last blocks of DEFLATE": Flood(
        last_blocks, "blocks", 10_000, 500_000, "1007", _CONTEXT, options=_DEFLATE
    ),
    # Peers that go on
    "garbage": Flood(garbage, "bytes", 500_000, 50_000_000, "1002", 0, options=_BRIEF, stays=True),
    "after its Close frame": Flood(
        after_close, "messages", 1_000, 50_000, "1000", 0, options=_BRIEF, stays=True
    ),
    "after passing a limit": Flood(
        oversized, "KB", 1_000, 50_000, "1009", 0, options=_BRIEF, stays=True
    ),
    # Opening handshakes
    "head without end": Flood(
        head_without_end, "lines", 5_000, 1_000_000, "431", _HEAD, "handshake", roles=("server",)
    ),
    "answer without end": Flood(
        head_without_end,
        "lines",
        5_000,
        1_000_000,
        "InvalidHandshake",
        _HEAD,
        "handshake",
        roles=("client",),
    ),
    "head that is dripped": Flood(
        head_byte_by_byte,
        "bytes",
        1_000,
        10_000,
        "408",
        _HEAD,
        "handshake",
        options=_HURRIED,
        roles=("server",),
    ),
    "answer that is dripped": Flood(
        head_byte_by_byte,
        "bytes",
        1_000,
        10_000,
        "TimeoutError",
        _HEAD,
        "handshake",
        options=_HURRIED,
        roles=("client",),
    ),
    "folded lines": Flood(
        folded_head, "lines", 10_000, 1_000_000, "431", _HEAD, "handshake", roles=("server",)
    ),
    "folded lines of an answer": Flood(
        folded_head,
        "lines",
        10_000,
        1_000_000,
        "InvalidHandshake",
        _HEAD,
        "handshake",
        roles=("client",),
    ),
    "interim responses": Flood(
        interim_responses,
        "responses",
        1_000,
        100_000,
        "InvalidHandshake",
        _HEAD,
        "handshake",
        roles=("client",),
    ),
    "body without end": Flood(
        body_without_end, "chunks", 100, 100_000, "413", 0, "handshake", roles=("server",)
    ),
    "refusal without end": Flood(
        body_without_end,
        "chunks",
        100,
        100_000,
        "HandshakeRejected",
        2 * _BODY,
        "handshake",
        roles=("client",),
    ),
    "garbage for a request": Flood(
        garbage_at_first, "bytes", 100_000, 10_000_000, "414", _HEAD, "handshake", roles=("server",)
    ),
    "garbage for an answer": Flood(
        garbage_at_first,
        "bytes",
        100_000,
        10_000_000,
        "InvalidHandshake",
        _HEAD,
        "handshake",
        roles=("client",),
    ),
}
