"""What two ends say to each other in one cell of the table of permessage-deflate.

One end sends messages, the other sends each of them back; then the other way round. Knows neither
`anyws` nor any other library: an end is two functions, one that sends and one that receives.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

Send = Callable[[str | bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[str | bytes]]

# Most are small; some 3 kB on average.
_SIZES = ((0, 0), (1, 125), (126, 2_000), (2_001, 20_000), (20_001, 100_000))
_SIZE_WEIGHTS = (2, 50, 35, 11, 2)
_ALPHABET = "abcdefghijklmnopqrstuvwxyzäöüß世界🎉"


class Mismatch(Exception):
    """A message that came back is not the one that was sent."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The messages of one cell.

    Attributes:
        ours: what our side sends first, for the peer to send back.
        theirs: what the peer sends then.
        limit: seconds until a conversation is given up.
    """

    ours: Sequence[str | bytes]
    theirs: Sequence[str | bytes]
    limit: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a peer has to tell when a conversation is over.

    Attributes:
        agreed: the parameters that it keeps to, as far as its library tells; None is no
            compression.
        problem: what went wrong, or None.
        refused: it did not take the answer of our server; nothing was said then.
    """

    agreed: Mapping[str, bool | int] | None
    problem: str | None
    refused: bool = False


def make_traffic(seed: int, n: int) -> Traffic:
    """Make so many random messages for each direction, the same ones for the same seed."""
    # Far more than 1,000 messages take, even on a machine that is busy otherwise.
    limit = 30 + n / 20
    return Traffic(_make_messages(f"{seed} ours", n), _make_messages(f"{seed} theirs", n), limit)


async def send_and_compare(messages: Sequence[str | bytes], send: Send, receive: Receive) -> None:
    """Send messages, without waiting in between, and compare them with what comes back.

    Raises:
        ExceptionGroup: of a `Mismatch`, or of what `send` and `receive` raise.
    """

    async def send_all() -> None:
        for message in messages:
            await send(message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_all)
        for n, sent in enumerate(messages):
            received = await receive()
            if type(received) is not type(sent) or received != sent:
                raise Mismatch(f"message {n}: sent {_excerpt(sent)}, received {_excerpt(received)}")


async def send_back(n: int, send: Send, receive: Receive) -> None:
    """Send back so many messages."""
    for _ in range(n):
        await send(await receive())


def describe(error: BaseException) -> str:
    """Say in one line what went wrong; of a group, everything in it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(describe, error.exceptions))
    return f"{type(error).__name__}: {error}"


def _make_messages(seed: str, n: int) -> list[str | bytes]:
    """Make messages that repeat what was in earlier ones, at any distance within 64 KiB."""
    generator = random.Random(seed)
    # Distances beyond what the window of either end allows are what would break a message.
    block = generator.randbytes(65_536)
    words = ["".join(generator.choices(_ALPHABET, k=generator.randint(2, 9))) for _ in range(2_000)]
    return [_make_message(generator, block, words) for _ in range(n)]


def _make_message(generator: random.Random, block: bytes, words: Sequence[str]) -> str | bytes:
    [(least, most)] = generator.choices(_SIZES, _SIZE_WEIGHTS)
    size = generator.randint(least, most)
    match generator.choices(("text", "binary", "incompressible"), (50, 35, 15)):
        case ["text"]:
            # Three characters a word at least, with the space.
            return " ".join(generator.choices(words, k=size // 3 + 1))[:size]
        case ["binary"]:
            pieces = bytearray()
            while len(pieces) < size:
                at = generator.randrange(len(block))
                pieces += block[at : at + generator.randint(3, 600)]
            return bytes(pieces[:size])
        case _:
            return generator.randbytes(size)


def _excerpt(message: str | bytes) -> str:
    return f"{len(message)} of {message[:20]!r}"
