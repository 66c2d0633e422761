"""Compressed messages: what the load sends, and how it counts replies of unknown length.

Each frame is compressed by itself, which is legal whatever context the receiver keeps (RFC 7692
§7.2.3.2), so that it can be built once. A reply depends on what the server's compressor has seen
before: its length is in its header, and nowhere else.
"""

from __future__ import annotations

import json
import re
import zlib
from random import Random
from typing import Final

from tests.bench.wire import TEXT, Exchange, encode_frame

# More text than the largest window holds (32 KiB): with fewer messages, a compressor that keeps
# such a window would find each of them whole in what it has sent before.
MESSAGES: Final = 64
SEED: Final = 7692
# zlib looks back almost 2**11 bytes: all of a message of 1 KiB, and little to ask of a server.
WINDOW_BITS: Final = 11
LARGEST_WINDOW_BITS: Final = 15

# §7.2.1: what a flush ends with, and what is left out of a message.
TAIL: Final = b"\x00\x00\xff\xff"
RSV1: Final = 0x40
FIRST_BYTE: Final = 0x80 | RSV1 | TEXT

NAMED: Final = re.compile(rb"\r\nsec-websocket-extensions:[ \t]*permessage-deflate", re.IGNORECASE)
OUR_WINDOW: Final = re.compile(rb"client_max_window_bits=\"?(\d+)", re.IGNORECASE)

# The first ones come most often, as in any language.
VOCABULARY: Final = """
the of and to in is was for that on with as it by at from are his be this which not or had but one
all were their has been she her who will more when would there what about they if into some could
time than then its only new other people order these first message after between delivery number
customer quantity shipment warehouse payment available request invoice received complete address
standard returned currency account confirmed priority
"""
WORDS: Final = VOCABULARY.split()
WEIGHTS: Final = [1 / (n + 1) for n in range(len(WORDS))]


def compressed_exchange(size: int) -> Exchange:
    """Return different messages of `size` bytes of text before compression."""
    chance = Random(SEED)
    texts = [make_record(size, chance) for _ in range(MESSAGES)]
    first, *others = map(encode_compressed, texts)
    return Exchange(first, texts[0], tuple(others), compressed=True)


def make_record(size: int, chance: Random) -> bytes:
    """Return an object in JSON, as a service might send it; `size` is at least 256 bytes."""
    record = {
        "id": f"{chance.getrandbits(128):032x}",
        "time": 1_700_000_000 + chance.randrange(10_000_000),
        "kind": chance.choice(("order", "invoice", "shipment")),
        "total": round(chance.uniform(1, 1000), 2),
        "open": chance.random() < 0.5,
        "tags": chance.sample(WORDS, 3),
        "text": "",
    }
    room = size - len(json.dumps(record))
    # No word has fewer than two characters.
    record["text"] = " ".join(chance.choices(WORDS, WEIGHTS, k=size // 2))[:room]
    return json.dumps(record).encode()


def encode_compressed(text: bytes) -> bytes:
    """Encode a message as a masked frame, with a compressor of its own (RFC 7692 §7.2.1)."""
    compressor = zlib.compressobj(wbits=-WINDOW_BITS)
    payload = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return encode_frame(RSV1 | TEXT, payload.removesuffix(TAIL), masked=True)


def decode_first(frame: bytes) -> bytes:
    """Return the text of the first frame that a server has compressed (§7.2.2).

    Raises:
        ValueError: it cannot be decompressed.
    """
    header = {126: 4, 127: 10}.get(frame[1], 2)
    try:
        return zlib.decompressobj(-LARGEST_WINDOW_BITS).decompress(frame[header:] + TAIL)
    except zlib.error as error:
        raise ValueError(f"the reply starts with {frame[:20]!r}: {error}") from error


def check_agreement(response: bytes) -> None:
    """Check that the response to an opening handshake takes up the offer (§7.1).

    Raises:
        ValueError: it does not, or it limits the window to less than the messages make use of.
    """
    if NAMED.search(response) is None:
        raise ValueError(f"compression was not agreed on: {response[:400]!r}")
    bits = OUR_WINDOW.search(response)
    if bits is not None and int(bits[1]) < WINDOW_BITS:
        raise ValueError(f"the window is 2**{int(bits[1])} bytes, expected 2**{WINDOW_BITS}")


class FrameCounter:
    """Counts the messages on one connection, which must be compressed text, each in one frame.

    It keeps what has come of the last one, so that it is for small messages.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def count(self, received: memoryview | bytes) -> int:
        """Return how many messages these bytes complete.

        Raises:
            ValueError: something else was received.
        """
        data = self._rest + received
        size = len(data)
        at = messages = 0
        while at + 2 <= size:
            if data[at] != FIRST_BYTE:
                raise ValueError(f"a reply starts with {data[at : at + 20]!r}: not compressed text")
            payload = at + 2
            length = data[at + 1]
            if length >= 126:
                payload += 2 if length == 126 else 8
                # If the header is cut off, the length is not true, and the frame ends too late.
                length = int.from_bytes(data[at + 2 : payload], "big")
            end = payload + length
            if end > size:
                break
            messages += 1
            at = end
        self._rest = data[at:]
        return messages
