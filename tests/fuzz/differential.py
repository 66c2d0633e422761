"""`python -m tests.fuzz.differential`: hold the core against wsproto, over many frame sequences.

Frames that are valid, nearly so, or not at all, cut anywhere, go to both, as client and as server,
with compression and without; and what one of the two sends, the other one reads. Where they differ,
one of `DIFFERENCES` must say why. Any other difference is printed, and the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from anyws._build import describe
from anyws._core.events import CloseReceived, Event, Ping, Pong, Violation
from anyws._core.protocol import Protocol
from anyws.testing import CLOSE, CONTINUATION, Frame
from anyws.testing._frames import shorten

from .builds import Unit, Writer, cut, cut_at_frames
from .reading import pieces, worked
from .reference import Heard, hear, new_wsproto, read_frames, read_story
from .transcripts import new_codecs

__all__ = ["DIFFERENCES", "Delivery", "Result", "compare", "main"]

_UNITS: Final = 500
_HOSTILE: Final = 200
_SEQUENCES_OF_SAME_UNITS: Final = 500
_SEQUENCES_PER_CONVERSATION: Final = 10

# 100 characters of what was said in an event are enough to recognize it.
_SHOWN: Final = 100

# 16 bytes complete any header, and the first byte behind it.
_MORE: Final = bytes(16)

#: In what the core and wsproto differ, and who is right by the RFC.
DIFFERENCES: Final = {
    "sooner": (
        "We fail at the byte that breaks a rule, wsproto once the header, or the character, is "
        "complete. RFC 6455 §7.1.7 has a connection fail where an error is found, §8.1 as soon as "
        "bytes cannot be UTF-8."
    ),
    "later": (
        "wsproto looks at a length before it waits for the masking key, and we once the header is "
        "complete. RFC 6455 §5.2 does not say when."
    ),
    "1014": (
        "wsproto takes 1014 for reserved. RFC 6455 §7.4.2 leaves 1000-2999 to the registry of "
        "§11.7, where it is Bad Gateway."
    ),
    "control frame in a compressed message": (
        "wsproto takes the rest of a compressed message for one that is not, once a control frame "
        "came in between, which RFC 6455 §5.4 allows anywhere."
    ),
    "last block": (
        "wsproto leaves out what follows a block that is marked as the last one. RFC 7692 §7.2.3.4 "
        "has it go on behind it."
    ),
    "end within a block": (
        "wsproto delivers what there is. By RFC 7692 §7.2.2 the four bytes that are put back must "
        "complete a block; a message in which they do not is broken."
    ),
    "order before content": (
        "wsproto decompresses a frame that may not come here before it looks whether it may. By "
        "RFC 6455 §5.4 it is no part of any message."
    ),
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """Bytes of a peer, and how they arrive.

    Attributes:
        extension: "deflate" or "alone", as `reference.DEFLATE_OFFERS` has them, or "".
    """

    is_client: bool
    extension: str
    chunks: Sequence[bytes]

    def __str__(self) -> str:
        role = "client" if self.is_client else "server"
        return f"{role} [{self.extension}] received {[shorten(chunk) for chunk in self.chunks]}"


@dataclass(slots=True)
class Result:
    """How often there was which outcome, and which difference; and the first that must not be.

    A conversation is what one of the two sent, and the other one read.
    """

    sequences: int = 0
    frames: int = 0
    conversations: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    found: str | None = None


def compare(n: int, seed: int) -> Result:
    """Compare over so many sequences, or up to the first difference that must not be."""
    random = Random(seed)
    result = Result()
    for delivery, frames in _deliveries(random):
        result.sequences += 1
        result.frames += frames
        result.found = _compare(delivery, result)
        if result.found is None and result.sequences % _SEQUENCES_PER_CONVERSATION == 0:
            result.conversations += 1
            result.found = _converse(random, delivery.is_client, delivery.extension)
        if result.found is not None or result.sequences >= n:
            return result
    raise AssertionError("there is always one more sequence")


def _compare(delivery: Delivery, result: Result) -> str | None:
    """Take note of what both make of a delivery; return a difference that must not be."""
    ours, theirs = heard_by_us(delivery), heard_by_them(delivery)
    result.outcomes[_outcome(ours)] += 1
    if ours == theirs:
        return None
    why = explain(delivery, ours, theirs)
    if why is None:
        return f"{delivery}\ngave, in anyws: {_shown(ours)}\ngave, in wsproto: {_shown(theirs)}"
    result.differences[why] += 1
    return None


def _outcome(heard: Sequence[Heard]) -> str:
    if heard and heard[-1][0] == "failure":
        return f"failed with {heard[-1][1]}"
    return "closed" if heard and heard[-1][0] == "close" else "open"


def _shown(heard: Sequence[Heard]) -> list[str]:
    return [repr(one) if len(repr(one)) < _SHOWN else f"{one!r:.{_SHOWN}}..." for one in heard]


# Both sides


def heard_by_us(delivery: Delivery, more: bytes = b"") -> list[Heard]:
    """Return what the core makes of a sequence, and of more bytes behind it."""
    codecs = new_codecs(delivery.extension, is_client=delivery.is_client)
    protocol = Protocol(
        is_client=delivery.is_client, max_size=None, max_fragments=None, extensions=codecs
    )
    return [_as_heard(event) for event in worked(protocol, [*delivery.chunks, more])]


def _as_heard(event: Event) -> Heard:
    if isinstance(event, str | bytes):
        return ("message", event)
    if isinstance(event, Ping):
        return ("ping", event.data)
    if isinstance(event, Pong):
        return ("pong", event.data)
    if isinstance(event, CloseReceived):
        return ("close", int(event.close.code), event.close.reason)
    assert isinstance(event, Violation)
    return ("failure", int(event.code))


def heard_by_them(delivery: Delivery, more: bytes = b"") -> list[Heard]:
    """Return what wsproto makes of a sequence, and of more bytes behind it."""
    wsproto = new_wsproto(is_client=delivery.is_client, extension=delivery.extension)
    return hear(wsproto, [*delivery.chunks, more])


def explain(delivery: Delivery, ours: list[Heard], theirs: list[Heard]) -> str | None:
    """Return which of `DIFFERENCES` it is, None if it is none of them."""
    n = next(
        (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
        min(len(ours), len(theirs)),
    )
    our, their = (heard[n] if n < len(heard) else None for heard in (ours, theirs))
    # With a little more both must come to the same.
    for more in (_MORE, _next_character(delivery)):
        if _is_failure(our) and their is None and heard_by_them(delivery, more)[n:] == [our]:
            return "sooner"
        if _is_failure(their) and our is None and heard_by_us(delivery, more)[n:] == [their]:
            return "later"
    # With a reason that is not UTF-8, it is the reason that is wrong.
    is_read = our == ("failure", 1007) or (our is not None and our[:2] == ("close", 1014))
    if is_read and their == ("failure", 1002) and _closes_with(1014, delivery):
        return "1014"
    return _ask_a_third(delivery, ours, theirs, n)


def _next_character(delivery: Delivery) -> bytes:
    """Return another fragment of a text."""
    return Frame(CONTINUATION, b"x", fin=False).encode(None if delivery.is_client else b"mask")


def _closes_with(code: int, delivery: Delivery) -> bool:
    """Say whether the first Close frame names this code."""
    data, reserved = b"".join(delivery.chunks), 4 if delivery.extension else 0
    for frame, _ in read_frames(data, masked=not delivery.is_client, reserved=reserved):
        if frame.opcode == CLOSE:
            return frame.payload[:2] == code.to_bytes(2, "big")
    return False


def _is_failure(heard: Heard | None) -> bool:
    return heard is not None and heard[0] == "failure"


def _ask_a_third(delivery: Delivery, ours: list[Heard], theirs: list[Heard], n: int) -> str | None:
    """Ask a third one, which knows frames, UTF-8 and zlib, what was said."""
    data = b"".join(delivery.chunks)
    story = read_story(data, masked=not delivery.is_client, extension=delivery.extension)
    if [heard[1] for heard in ours if heard[0] == "message"] != story.messages:
        return None
    if story.broken and ours[-1] != ("failure", 1007):
        return None
    if ours[n:] == [("failure", 1002)] and theirs[n:] == [("failure", 1007)]:
        return "order before content"
    if story.broken and not story.facts and all(heard[0] != "message" for heard in theirs[n:]):
        return "sooner"
    before = sum(heard[0] == "message" for heard in ours[:n])
    return next((fact for fact, messages in story.facts.items() if messages <= before), None)


# What is received


def _deliveries(random: Random) -> Iterator[tuple[Delivery, int]]:
    """Yield sequences without end, with the number of frames in each."""
    while True:
        is_client = random.random() < 0.5
        extension = random.choice(("", "", "deflate", "alone"))
        writer = Writer(random, to_server=not is_client, extensions=extension)
        units = [writer.unit() for _ in range(_UNITS)]
        hostile = [writer.hostile() for _ in range(_HOSTILE)]
        for _ in range(_SEQUENCES_OF_SAME_UNITS):
            parts, frames = _parts(random, units, hostile)
            way = random.choice((cut, cut_at_frames, _join))
            yield Delivery(is_client, extension, list(way(random, parts))), frames


def _parts(
    random: Random, units: Sequence[Unit], hostile: Sequence[bytes]
) -> tuple[list[bytes], int]:
    chosen = random.choices(units, k=random.choice((0, 1, 1, 2, 3, 5, 8, 13)))
    parts = [unit.data for unit in chosen]
    frames = sum(unit.frames for unit in chosen)
    if random.random() < 0.6:
        parts.append(random.choice(hostile))
        parts += [unit.data for unit in random.choices(units, k=random.choice((0, 0, 1)))]
        frames += 1
    if random.random() < 0.2:
        parts = [_damaged(random, part) if random.random() < 0.3 else part for part in parts]
    if parts and random.random() < 0.1:
        parts[-1] = parts[-1][: random.randrange(len(parts[-1]) + 1)]
    return parts or [b""], max(frames, 1)


def _join(random: Random, parts: list[bytes]) -> Iterator[bytes]:
    """Cut nothing."""
    yield b"".join(parts)


def _damaged(random: Random, data: bytes) -> bytes:
    """Change, leave out or add a byte, mostly near the beginning, where headers are."""
    at = min(int(random.expovariate(0.3)), max(0, len(data) - 1))
    way = random.randrange(4)
    if way == 0:
        return data[:at] + data[at + 1 :]
    if way == 1:
        return data[:at] + random.randbytes(1) + data[at:]
    octet = data[at] if at < len(data) else 0
    changed = random.randrange(256) if way == 2 else octet ^ 1 << random.randrange(8)
    return data[:at] + bytes([changed]) + data[at + 1 :]


# What is sent

_CODES: Final = (1000, 1001, 1003, 1008, 1013, 3000, 4999)


class _Us:
    """Sends by the core."""

    def __init__(self, random: Random, is_client: bool, extension: str) -> None:
        codecs = new_codecs(extension, is_client=is_client)
        self._protocol = Protocol(is_client=is_client, extensions=codecs)
        self._random = random

    def message(self, parts: list[bytes], text: bool) -> Iterator[bytes]:
        """Yield the frames of a message."""
        compress = self._random.choice((None, True, False))
        if len(parts) == 1 and self._random.random() < 0.9:
            yield b"".join(self._protocol.send_message(parts[0], text, compress))
            return
        for i, part in enumerate(parts):
            final = i == len(parts) - 1
            buffers = self._protocol.send_fragment(part, text=text, final=final, compress=compress)
            yield b"".join(buffers)

    def ping(self, data: bytes) -> bytes:
        return self._protocol.send_ping(data)

    def pong(self, data: bytes) -> bytes:
        return self._protocol.send_pong(data)

    def close(self, code: int, reason: str) -> bytes:
        return self._protocol.send_close(code, reason)


class _Them:
    """Sends by wsproto."""

    def __init__(self, is_client: bool, extension: str) -> None:
        self._wsproto = new_wsproto(is_client=is_client, extension=extension)

    def message(self, parts: list[bytes], text: bool) -> Iterator[bytes]:
        """Yield the frames of a message."""
        for i, part in enumerate(parts):
            payload = part.decode() if text else part
            yield bytes(self._wsproto.send_data(payload, fin=i == len(parts) - 1))

    def ping(self, data: bytes) -> bytes:
        return bytes(self._wsproto.ping(data))

    def pong(self, data: bytes) -> bytes:
        return bytes(self._wsproto.pong(data))

    def close(self, code: int, reason: str) -> bytes:
        return bytes(self._wsproto.close(code, reason))


def _converse(random: Random, is_client: bool, extension: str) -> str | None:
    """Let each of the two read what the other one sends; return what came out wrong."""
    for sender, hears in (
        (_Us(random, not is_client, extension), heard_by_them),
        (_Them(not is_client, extension), heard_by_us),
    ):
        # As wsproto has it, see above.
        parts, said = _say(random, sender, control_anywhere=not extension or hears is heard_by_us)
        delivery = Delivery(is_client, extension, list(cut(random, parts)))
        if (heard := hears(delivery)) != said:
            name = type(sender).__name__
            return f"{name} said {_shown(said)}\n{delivery}\ngave, at the other: {_shown(heard)}"
    return None


def _say(
    random: Random, sender: _Us | _Them, *, control_anywhere: bool
) -> tuple[list[bytes], list[Heard]]:
    """Send a few messages; return the frames, and what is to be heard."""
    frames: list[bytes] = []
    said: list[Heard] = []
    writer = Writer(random, to_server=False)
    for _ in range(random.choice((1, 3, 10))):
        text, payload = writer.content()
        # A text is cut between characters, as wsproto wants it.
        parts = [payload] if text else pieces(payload, _fractions(random))
        if text and random.random() < 0.3:
            parts = [character.encode() for character in payload.decode()[:20]] or [b""]
            payload = b"".join(parts)
        for i, frame in enumerate(sender.message(parts, text)):
            if i and control_anywhere and random.random() < 0.1:
                frames.append(_control(random, sender, said))
            frames.append(frame)
        said.append(("message", payload.decode() if text else payload))
        if random.random() < 0.2:
            frames.append(_control(random, sender, said))
    if random.random() < 0.3:
        code, reason = random.choice(_CODES), random.choice(("", "done", "€" * 41))
        frames.append(sender.close(code, reason))
        said.append(("close", code, reason))
    return frames, said


def _fractions(random: Random) -> list[float]:
    return [random.random() for _ in range(random.choice((0, 0, 0, 1, 3)))]


def _control(random: Random, sender: _Us | _Them, said: list[Heard]) -> bytes:
    data = random.randbytes(random.choice((0, 4, 125)))
    is_ping = random.random() < 0.5
    said.append(("ping" if is_ping else "pong", data))
    return sender.ping(data) if is_ping else sender.pong(data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.differential", description=__doc__)
    parser.add_argument("--sequences", type=int, default=100_000, help="default: 100_000")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    options = parser.parse_args(arguments)
    seed = Random().getrandbits(32) if options.seed is None else options.seed
    began = time.monotonic()
    result = compare(options.sequences, seed)
    seconds = time.monotonic() - began
    if result.found is not None:
        print(result.found)
    print(
        f"{result.sequences} sequences of {result.frames} frames, {result.conversations} ", end=""
    )
    print(f"conversations, {seconds:.1f} s, seed {seed}, {describe()}")
    for outcome, n in result.outcomes.most_common():
        print(f"    {n:9} {outcome}")
    print(f"{result.differences.total()} differences that the RFC explains")
    for why, n in result.differences.most_common():
        print(f"    {n:9} {why}: {DIFFERENCES[why]}")
    print("1 difference that nothing explains" if result.found else "no other difference")
    return 0 if result.found is None else 1


if __name__ == "__main__":
    sys.exit(main())
