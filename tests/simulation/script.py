"""What a lifetime is made of: settings, what the applications do, and what befalls the wire.

A script is a value: its `repr` is the Python that makes it again, so that one that failed can be
kept. Knows nothing of how it is run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

__all__ = [
    "Compression",
    "Fault",
    "FaultKind",
    "Part",
    "Script",
    "Settings",
    "SideName",
    "Splits",
    "Step",
    "Task",
]

SideName = Literal["client", "server"]

FaultKind = Literal["stall reading", "stall writing", "drop", "reset", "end", "cut", "cut by reset"]

Compression = Literal["takeover", "no takeover"]

#: How the bytes that arrive are cut: at most so many at a time, one of these drawn each time.
Splits = tuple[int, ...]


class _Brief:
    """A `repr` without what has its default."""

    __slots__ = ()

    def __repr__(self) -> str:
        said = [
            f"{field.name}={value!r}"
            for field in fields(self)  # type: ignore[arg-type]  # those below are dataclasses
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"{type(self).__name__}({', '.join(said)})"


@dataclass(frozen=True, slots=True, repr=False)
class Settings(_Brief):
    """The options of one side, by the names that they have in `ConnectionOptions`."""

    close_timeout: float = 5.0
    ping_interval: float | None = None
    ping_timeout: float | None = None
    max_size: int | None = 1 << 20
    max_fragments: int | None = 1024
    max_buffer: int = 1 << 20
    write_limit: int = 1 << 16
    send_timeout: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Step(_Brief):
    """One call of an application.

    Attributes:
        do: its name; see `Application` in `steps.py`.
        sizes: of the message, or of the pieces of it, in bytes or characters.
        text: the kind of message.
        compress: as `send` takes it.
        pause: seconds before each piece of a message, or of a step that does nothing else.
        count: how many messages, or pieces of one, to receive.
        code: of a Close frame.
        within: seconds after which it is cancelled; None for never.
        turns: turns of the event loop after which it is cancelled; None for never.
    """

    do: str
    sizes: tuple[int, ...] = ()
    text: bool = False
    compress: bool | None = None
    pause: float = 0.0
    count: int = 1
    code: int = 1000
    within: float | None = None
    turns: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Task(_Brief):
    """Steps that one task of an application takes, one after the other.

    Attributes:
        cancelled_at: when the task is cancelled, if it has not ended; None for never.
    """

    steps: tuple[Step, ...]
    cancelled_at: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Part(_Brief):
    """What one side does.

    Attributes:
        quits_at: when it closes the connection, if nobody has; its tasks have to end by that.
        code: of the Close frame then.
        leaves: how the block of the connection is left: by its end, or by an exception.
        cancelled_at: when the block is cancelled, opening handshake and all; None for never.
    """

    settings: Settings = Settings()
    tasks: tuple[Task, ...] = ()
    quits_at: float = 8.0
    code: int = 1000
    leaves: Literal["normally", "raising"] = "normally"
    cancelled_at: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Fault(_Brief):
    """Something that befalls the wire.

    Attributes:
        kind: "stall reading" and "stall writing" of this side, for `seconds`; "drop", the cable is
            pulled; "reset"; "end", no more bytes come from this side. "cut" and "cut by reset"
            happen when this side has received so many bytes.
        side: at which end.
        at: when, in seconds of the lifetime.
        seconds: how long it stays.
        after: bytes.
    """

    kind: FaultKind
    side: SideName
    at: float = 0.0
    seconds: float = 0.0
    after: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Script(_Brief):
    """A lifetime.

    Attributes:
        seed: of what is drawn while it runs: the order of tasks, and where bytes are split.
        capacity: bytes under way in each direction; None for no limit.
        delay: seconds by which each piece is late.
        splits: of the bytes that each side receives.
        compression: what both sides agree on.
    """

    seed: int
    client: Part = Part()
    server: Part = Part()
    faults: tuple[Fault, ...] = ()
    capacity: int | None = None
    delay: float = 0.0
    splits: Splits = ()
    compression: Compression | None = None
