"""Bugs planted into a connection, to see that the simulation finds them, and how soon.

Each takes the place of a private method while lifetimes run; all of them are in modules that are
not compiled, so that both builds can have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from anyws import Connection, State
from anyws._payload import Data, to_payload

from .draw import draw
from .lifetime import run

__all__ = ["PLANTED", "Bug", "Found", "find"]


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug.

    Attributes:
        name: what it is.
        method: of `Connection`, which it takes the place of.
        function: what is called instead.
    """

    name: str
    method: str
    function: Callable[..., object]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in every connection while the block runs."""
        original = getattr(Connection, self.method)
        setattr(Connection, self.method, self.function)
        try:
            yield
        finally:
            setattr(Connection, self.method, original)


@dataclass(frozen=True, slots=True)
class Found:
    """That it was found.

    Attributes:
        lifetimes: within how many.
        violation: what was said of it.
    """

    lifetimes: int
    violation: str


def find(bug: Bug, seeds: Iterable[int]) -> Found | None:
    """Run lifetimes with a bug until one of them violates something; None if none does."""
    with bug.planted():
        for n, seed in enumerate(seeds, 1):
            violations = run(draw(seed)).violations
            if violations:
                return Found(n, violations[0])
    return None


def _forget_who_waits(connection: Connection) -> None:
    """End a fragmented message, and wake nobody who waits for that."""
    connection._fragmenting = None


async def _send_in_two_steps(
    connection: Connection, data: Data, text: bool | None, compress: bool | None
) -> None:
    """Send a message that has to wait: the first bytes of its frame, then the rest."""
    payload, is_text = to_payload(data, text)
    await connection._wait_for_turn()
    frame = b"".join(connection._frame(payload, is_text, compress))
    connection._write_message((frame[:2],))
    await connection._reactor.checkpoint()
    connection._transport.write_all((frame[2:],))


async def _wait_for_room_and_stay(connection: Connection) -> None:
    """Wait for room, and leave the waiter behind if that is cancelled, or if the end comes."""
    while connection._transport.unsent >= connection._write_limit:
        waiter = connection._reactor.new_waiter()
        connection._room += (waiter,)
        connection._transport.flush()
        await waiter.wait()
        if connection.state is not State.OPEN:
            break
        connection._room = tuple(other for other in connection._room if other is not waiter)
    if connection.state is not State.OPEN:
        raise await connection._no_longer_open()


#: One of each kind.
PLANTED = (
    Bug("a lost wake-up", "_release_turn", _forget_who_waits),
    Bug("a torn frame", "_send_later", _send_in_two_steps),
    Bug("a leaked waiter", "_wait_for_room", _wait_for_room_and_stay),
)
