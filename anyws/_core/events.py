"""What a `Protocol` reports besides whole messages, which are their own `str` or `bytes`.

Values only. They say what happened; what to do about it is the connection's affair.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import CloseFrame

__all__ = ["CloseReceived", "Event", "Fragment", "Ping", "Pong", "TooBig", "Violation"]


@dataclass(frozen=True, slots=True)
class Ping:
    """A Ping frame (RFC 6455 §5.5.2), to be answered by a Pong with the same data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A Pong frame (§5.5.3), asked for or not."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CloseReceived:
    """The peer's Close frame (§5.5.1); nothing after it is looked at."""

    close: CloseFrame


@dataclass(frozen=True, slots=True)
class Fragment:
    """The next piece of a message that is read as a stream, in whatever sizes the bytes came."""

    data: str | bytes
    final: bool


@dataclass(frozen=True, slots=True)
class TooBig:
    """The next message passes a limit of this side.

    Unlike a violation it can be lifted: nothing is read past this point until the message is
    taken as a stream, or the connection is failed with `code` and `reason`.
    """

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The peer broke the protocol: fail the connection with this code and reason (§7.1.7).

    Always the last event of its batch; nothing after it is looked at.
    """

    code: int
    reason: str


Event = str | bytes | Ping | Pong | CloseReceived | Fragment | TooBig | Violation
