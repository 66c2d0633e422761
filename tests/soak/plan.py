"""What the two sides of one connection are to do: drawn by the client, told by its request."""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass
from typing import Literal, get_args

from ..scripted import Role

__all__ = ["Ending", "Kind", "Plan"]

#: "mixed" is every way to send and to receive, "feed" is what is published to a group.
Kind = Literal["mixed", "echo", "json", "feed"]

#: "agreed": when both sides have got the last message of the other. Otherwise in the middle of it.
Ending = Literal["agreed", "at_once", "abort", "cancel"]

_KINDS = get_args(Kind)
_ENDINGS: tuple[Ending, ...] = (
    "agreed",
    "agreed",
    "agreed",
    "at_once",
    "at_once",
    "abort",
    "cancel",
)

# So few that connections come and go all the time.
_MESSAGES = (2, 60)


@dataclass(frozen=True, slots=True)
class Plan:
    """One connection.

    Attributes:
        name: of the connection, and what chance is seeded with.
        kind: what is said.
        ending: how it is to end,
        closer: and who sees to it.
        messages: how many the closer sends, and the other side too unless that is the end.
        is_slow: whether the client pauses before it receives.
        is_narrow: whether little is held for a client that does not receive, by it and by the
            kernel, so that the server has to wait for it.
        has_faults: whether its way leads through the relay.
        secure: whether it is one over TLS.
    """

    name: str
    kind: Kind
    ending: Ending
    closer: Role
    messages: int
    is_slow: bool
    is_narrow: bool
    has_faults: bool
    secure: bool

    @classmethod
    def draw(cls, name: str, chance: random.Random) -> Plan:
        """Draw one."""
        return cls(
            name,
            kind=chance.choice(_KINDS),
            ending=chance.choice(_ENDINGS),
            closer=chance.choice(("client", "server")),
            messages=chance.randint(*_MESSAGES),
            is_slow=chance.random() < 0.2,
            is_narrow=chance.random() < 0.4,
            has_faults=chance.random() < 0.5,
            secure=chance.random() < 0.3,
        )

    @property
    def target(self) -> str:
        """The path of the request."""
        return "/" + "/".join(str(int(x) if isinstance(x, bool) else x) for x in astuple(self))

    @classmethod
    def of(cls, target: str) -> Plan:
        """Read it from the path of a request."""
        name, kind, ending, closer, messages, *flags = target[1:].split("/")
        slow, narrow, faults, secure = (flag == "1" for flag in flags)
        return cls(name, kind, ending, closer, int(messages), slow, narrow, faults, secure)  # type: ignore[arg-type]  # written by `target`

    def chance(self, side: Role) -> random.Random:
        """Return what one side draws from."""
        return random.Random(f"{self.name} {side}")
