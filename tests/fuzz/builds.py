"""`python -m tests.fuzz.builds`: hold the compiled build against the sources, over many frames.

Faster than the property tests of `test_builds.py`, and without shrinking. A difference is printed
with the calls that lead to it, and the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from anyws._build import COMPILED, describe
from anyws.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, close_frame

from ..builds import INSTALLED, Build, load_pure
from .transcripts import (
    CANCEL,
    EXTENSIONS,
    FILL,
    SLICE,
    Call,
    Script,
    difference,
    encode_alone,
)

__all__ = ["Result", "Writer", "compare", "cut", "cut_at_frames", "main", "scripts"]

# Made anew every 200 streams: each is drawn many times, which costs far less than making one.
_UNITS: Final = 3000
_STREAMS_OF_SAME_UNITS: Final = 200

#: Characters of one to four bytes, and those beside the surrogates.
_CHARACTERS: Final = "aZ \0\x7f\x80ßé€\ud7ff\ue000\uffff\U00010000😀\U0010ffff"
_NOT_UTF8: Final = (
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xe2\x82",
)

#: Around each change in the form of the length, the way that is taken, and how bytes are kept.
_SIZES: Final = (124, 125, 126, 127, 128, 130, 255, 256, 399, 400, 401, 1000, 4095, 4096, 4097)
_LARGE_SIZES: Final = (8192, 12_000, 65_534, 65_535, 65_536, 65_537, 140_000, 300_000)
#: Of a header, whole or not, with a masking key or without; and of none.
_HEADER_SIZES: Final = (0, 1, 2, 3, 4, 6, 8, 10, 14)


@dataclass(frozen=True, slots=True)
class Unit:
    """Frames that a valid stream may have anywhere, on the wire."""

    data: bytes
    frames: int


@dataclass(frozen=True, slots=True)
class Result:
    """What was compared, and the first difference, if there is one."""

    frames: int
    streams: int
    difference: str | None


def compare(frames: int, seed: int, builds: tuple[Build, Build]) -> Result:
    """Compare two builds over at least so many frames, or up to the first difference."""
    compared = 0
    for streams, (script, n) in enumerate(scripts(seed), 1):
        found = difference(script, builds)
        compared += n
        if found is not None or compared >= frames:
            return Result(compared, streams, found)
    raise AssertionError("there is always one more script")


def scripts(seed: int) -> Iterator[tuple[Script, int]]:
    """Yield scripts without end, with the number of frames that each receives."""
    random = Random(seed)
    while True:
        extensions = random.choice(EXTENSIONS) if random.random() < 0.5 else ""
        writer = Writer(random, to_server=random.random() < 0.5, extensions=extensions)
        units = [writer.unit() for _ in range(_UNITS)]
        for _ in range(_STREAMS_OF_SAME_UNITS):
            yield _script(random, writer, units)


def _script(random: Random, writer: Writer, units: list[Unit]) -> tuple[Script, int]:
    chosen = random.choices(units, k=random.choice((1, 3, 10, 100, 500)))
    frames = sum(unit.frames for unit in chosen)
    parts = [unit.data for unit in chosen]
    if random.random() < 0.5:
        # Nothing behind it is looked at, so it comes last, and a little follows.
        parts += [writer.hostile(), *(random.choice(units).data for _ in range(3))]
        frames += 1
    limited = random.random() < 0.3
    script = Script(
        is_client=not writer.to_server,
        max_size=random.choice((None, 0, 10, 126, 5000)) if limited else 1 << 20,
        max_fragments=random.choice((None, 1, 2, 3)) if limited else 1024,
        lifts=random.random() < 0.9,
        mask_seed=random.getrandbits(32),
        calls=[*_calls(random, parts), Call("receive_data", (b"",))],
        extensions=writer.extensions,
        works=random.random() < 0.5,
    )
    return script, frames


def _calls(random: Random, parts: list[bytes]) -> Iterator[Call]:
    """Yield what receives these bytes, with other calls in between."""
    others = random.choice((0, 0, 0.1, 0.5))
    for chunk in cut_at_frames(random, parts) if random.random() < 0.2 else cut(random, parts):
        if random.random() < others:
            yield _other_call(random)
        if random.random() < 0.5:
            yield Call("receive_data", (chunk,))
        else:
            yield Call(FILL, (chunk, random.choice((1000, 5000, 1 << 20))))
    if random.random() < 0.2:
        yield Call("discard")
        yield Call("receive_data", (parts[0],))


def cut(random: Random, parts: list[bytes]) -> Iterator[bytes]:
    """Cut bytes at random: not at all, in a few pieces, or, if they are few, in tiny ones."""
    data = b"".join(parts)
    longest = random.choice((len(data), len(data), len(data) // 2, len(data) // 10))
    if len(data) < 2000 and random.random() < 0.5:
        longest = random.choice((1, 2, 7))
    at = 0
    while at < len(data):
        n = random.randint(1, max(1, longest))
        yield data[at : at + n]
        at += n


def cut_at_frames(random: Random, parts: list[bytes]) -> Iterator[bytes]:
    """Cut bytes before frames, and within and behind their headers."""
    chunk = b""
    for part in parts:
        n = random.choice(_HEADER_SIZES)
        if random.random() < 0.3 and chunk + part[:n]:
            yield chunk + part[:n]
            chunk = part[n:]
        else:
            chunk += part
    yield chunk


def _other_call(random: Random) -> Call:
    kind = random.randrange(10)
    data = random.randbytes(random.choice((0, 1, 5, 125, 126, 127, 1000, 20_000)))
    is_text = random.random() < 0.5
    if kind == 0:
        return Call("read_as_stream")
    if kind == 1:
        return Call("read_whole")
    if kind == 2:
        return Call("send_ping", (data[:126],))
    if kind == 3:
        return Call("send_pong", (data[:126],))
    if kind == 4:
        keywords = {"text": is_text, "final": random.random() < 0.5}
        return Call("send_fragment", (data,), {**keywords, "compress": _any_of(random)})
    if kind == 5 and random.random() < 0.1:
        code = random.choice((1000, 1004, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000))
        return Call("send_close", (code, random.choice(("", "done", "€" * 41, "€" * 42))))
    if kind == 6:
        return Call(SLICE, (data, random.choice((1, 7, 1024)), is_text))
    if kind == 7:
        return Call(CANCEL, (data,))
    return Call("send_message", (data, is_text, _any_of(random)))


def _any_of(random: Random) -> bool | None:
    return random.choice((None, None, True, False))


class Writer:
    """Makes what a peer sends."""

    def __init__(self, random: Random, *, to_server: bool, extensions: str = "") -> None:
        self.to_server = to_server
        self.extensions = extensions
        self._random = random

    def unit(self) -> Unit:
        """Return frames that keep to the RFC, mostly one that is tiny."""
        chance = self._random.random()
        if chance < 0.08:
            return self._encode(self._control())
        if chance < 0.16:
            return self._encode(*self._fragmented())
        return self._encode(self._message(chance))

    def hostile(self) -> bytes:
        """Return bytes that end a stream: a Close, a frame that breaks a rule, or anything."""
        random = self._random
        frame = random.choice(
            (
                close_frame(),
                close_frame(random.choice((1000, 1001, 1014, 3000, 4999)), self._text(40)),
                Frame(CLOSE, random.randbytes(random.choice((1, 2, 2, 10, 125)))),
                Frame(CLOSE, b"\x03\xe8" + random.choice(_NOT_UTF8)),
                Frame(random.choice((3, 7, 11, 15)), b"x"),
                Frame(TEXT, b"x", reserved=random.randint(1, 7)),
                Frame(CONTINUATION, b"x", fin=random.random() < 0.5),
                Frame(PING, b"x", fin=False),
                Frame(PONG, bytes(126)),
                Frame(BINARY, bytes(5), length_bytes=random.choice((3, 9))),
                Frame(BINARY, b"x", length=random.choice((1 << 63, (1 << 63) - 1, 1 << 31))),
                Frame(TEXT, self._text(20).encode() + random.choice(_NOT_UTF8)),
                Frame(TEXT, random.choice(_NOT_UTF8), fin=False),
                self._damaged(),
                self._encoded(TEXT, self._text(20).encode() + random.choice(_NOT_UTF8)),
            )
        )
        chance = random.random()
        if chance < 0.1:
            return random.randbytes(20)
        if chance < 0.2:
            # §5.4: a message within another.
            first = Frame(random.choice((TEXT, BINARY)), b"", fin=False)
            return self._encode(first, Frame(random.choice((TEXT, BINARY)), b"")).data
        mask_is_right = chance < 0.9
        return frame.encode(self._mask() if self.to_server is mask_is_right else None)

    def _encode(self, *frames: Frame) -> Unit:
        data = b"".join(frame.encode(self._mask() if self.to_server else None) for frame in frames)
        return Unit(data, len(frames))

    def _mask(self) -> bytes:
        return self._random.randbytes(4)

    def _damaged(self) -> Frame:
        """Return a message that extensions cannot decode, or not all of it."""
        random = self._random
        frame = self._message(random.uniform(0.16, 0.3))
        n = random.randint(0, len(frame.payload))
        payload = frame.payload[:n] + random.randbytes(random.choice((0, 1, 5)))
        return replace(frame, payload=payload, fin=random.random() < 0.8)

    def _encoded(self, opcode: int, payload: bytes) -> Frame:
        """Return a message as extensions encode it, if there are any."""
        if not self.extensions:
            return Frame(opcode, payload)
        if opcode == BINARY and self._random.random() < 0.01:
            # It is decoded in several steps.
            payload = bytes(self._random.choice((100_000, 700_000, 2_000_000)))
        bits, payload = encode_alone(self.extensions, payload)
        return Frame(opcode, payload, reserved=bits)

    def _message(self, chance: float) -> Frame:
        text, payload = self._content(self._size(chance))
        return self._encoded(TEXT if text else BINARY, payload)

    def _size(self, chance: float) -> int:
        if chance < 0.18:
            return self._random.choice(_SIZES)
        if chance < 0.182:
            return self._random.choice(_LARGE_SIZES)
        return self._random.randint(0, 20)

    def content(self) -> tuple[bool, bytes]:
        """Return whether a message is text, and its payload."""
        return self._content(self._size(self._random.uniform(0.16, 1)))

    def _content(self, n: int) -> tuple[bool, bytes]:
        if self._random.random() < 0.5:
            return False, self._random.randbytes(n)
        return True, self._text(n).encode()

    def _text(self, most: int) -> str:
        """Return characters that take at most so many bytes, and mostly fill them."""
        text = "".join(self._random.choices(_CHARACTERS, k=max(1, min(most, 40) // 2)))
        encoded = (text * (most // 20 + 1)).encode()[:most]
        return encoded.decode(errors="ignore")

    def _control(self) -> Frame:
        random = self._random
        return Frame(random.choice((PING, PONG)), random.randbytes(random.choice((0, 4, 20, 125))))

    def _fragmented(self) -> Iterator[Frame]:
        """Yield a message in pieces, cut anywhere, with control frames in between."""
        random = self._random
        whole = self._message(random.uniform(0.16, 0.3))
        n = len(whole.payload)
        cuts = sorted(random.randint(0, n) for _ in range(random.randint(1, 4)))
        for i, (start, end) in enumerate(zip([0, *cuts], [*cuts, n], strict=True)):
            if random.random() < 0.3:
                yield self._control()
            first = whole if i == 0 else Frame(CONTINUATION)
            yield replace(first, payload=whole.payload[start:end], fin=i == len(cuts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.builds", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="default: 1_000_000")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    options = parser.parse_args(arguments)
    if not COMPILED:
        parser.error(f"there is nothing to compare: this build is {describe()}")
    seed = Random().getrandbits(32) if options.seed is None else options.seed
    began = time.monotonic()
    result = compare(options.frames, seed, (INSTALLED, load_pure()))
    seconds = time.monotonic() - began
    if result.difference is not None:
        print(result.difference)
    found = "0 differences" if result.difference is None else "1 difference"
    print(
        f"{result.frames} frames in {result.streams} streams, {seconds:.1f} s, seed {seed}: {found}"
    )
    return 0 if result.difference is None else 1


if __name__ == "__main__":
    sys.exit(main())
