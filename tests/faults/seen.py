"""What an application saw of a fault, and what it was promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anyws import ConnectionClosed

__all__ = ["NOTHING", "Promise", "Seen", "broken", "clean", "given_up", "nothing", "raised"]

#: What was seen when nothing was.
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an application saw.

    Attributes:
        what: the name of the exception; "nothing" if there was none.
        seconds: from the fault until then.
        code: the close code that was received, 1006 if there was none.
        sent: the Close frame that this side sent, or would have: code and reason.
        initiator: of the end.
        cause: its type.
        note: what else there is to say.
    """

    what: str
    seconds: float
    code: int | None = None
    sent: tuple[int, str] | None = None
    initiator: str = ""
    cause: str = ""
    note: str = ""

    @classmethod
    def of(cls, error: BaseException, seconds: float, note: str = "") -> Seen:
        """Take it from what was raised."""
        what = type(error).__name__
        cause = "" if error.__cause__ is None else type(error.__cause__).__name__
        if not isinstance(error, ConnectionClosed):
            return cls(what, seconds, cause=cause, note=note or str(error))
        sent = None if error.sent is None else (error.sent.code, error.sent.reason)
        return cls(what, seconds, error.code, sent, error.initiator, cause, note)

    def __str__(self) -> str:
        if not self.initiator:
            return self.what + (f" ({self.note})" if self.note else "")
        sent = (
            "no Close frame sent" if self.sent is None else f"sent {self.sent[0]} {self.sent[1]!r}"
        )
        said = [f"code {self.code}", f"by {self.initiator}", sent]
        if self.cause:
            said.append(f"from {self.cause}")
        return f"{self.what}: {', '.join(said)}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, slots=True)
class Promise:
    """What the documentation says that an application sees.

    Attributes:
        says: it in a few words.
        within: seconds until then; the first is the soonest.
        holds: whether something is that, in time or not.
    """

    says: str
    within: tuple[float, float]
    holds: Callable[[Seen], bool]

    def is_kept(self, seen: Seen) -> bool:
        soonest, latest = self.within
        return self.holds(seen) and soonest <= seen.seconds <= latest

    def __str__(self) -> str:
        soonest, latest = self.within
        return f"{self.says}, in {soonest:g} to {latest:g} s"


#: Seconds more than a fault may take by rights: the machine has other things to do.
SPARE = 2.0


def nothing(latest: float = 60.0) -> Promise:
    """Return the promise that nothing happens, to the connection or to a message.

    Args:
        latest: seconds until all is as before; `SPARE` more are granted, here and below.
    """
    return Promise(
        "nothing is seen, and nothing lost",
        (0.0, latest + SPARE),
        lambda seen: seen.what == NOTHING,
    )


def given_up(soonest: float, latest: float, *sides: str) -> Promise:
    """Return the promise of keepalive (guarantees: "Peers that stall").

    Args:
        soonest, latest: seconds by the settings; a tenth before and `SPARE` after are granted.
        sides: what the reason may say of the peer; default: that it is silent.
    """
    reasons = {f"keepalive ping timeout: the peer {side}" for side in sides or ("is silent",)}

    def holds(seen: Seen) -> bool:
        return (
            (seen.what, seen.code, seen.initiator, seen.cause)
            == ("ConnectionClosedError", 1006, "local", "TimeoutError")
            and seen.sent is not None
            and seen.sent[0] == 1011
            and seen.sent[1] in reasons
        )

    return Promise("1011 by keepalive", (soonest - 0.1, latest + SPARE), holds)


def broken(*causes: str) -> Promise:
    """Return the promise that a byte stream which ended, or broke, is seen at once (errors).

    Args:
        causes: what may be the cause; EOFError, if the bytes just ended.
    """

    def holds(seen: Seen) -> bool:
        return (seen.what, seen.code, seen.initiator, seen.sent) == (
            "ConnectionClosedError",
            1006,
            "transport",
            None,
        ) and seen.cause in causes

    return Promise("1006, by the transport", (0.0, SPARE), holds)


def clean() -> Promise:
    """Return the promise that a closing handshake counts, whatever follows it."""
    return Promise(
        "closed cleanly",
        (0.0, SPARE),
        lambda seen: (seen.what, seen.code) == ("ConnectionClosedOK", 1000),
    )


def raised(*names: str, soonest: float = 0.0, latest: float = 0.0, cause: str = "") -> Promise:
    """Return the promise that one of these exceptions is raised."""
    return Promise(
        " or ".join(names),
        (max(0.0, soonest - 0.1), latest + SPARE),
        lambda seen: seen.what in names and cause in ("", seen.cause),
    )
