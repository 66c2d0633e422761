"""The list of faults, to which the other modules add theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..scripted import Role
from .seen import Promise, Seen
from .stage import Stage

__all__ = ["BOTH", "FAULTS", "Fault", "fault"]

Run = Callable[[Stage], Awaitable[Seen]]

BOTH: tuple[Role, ...] = ("client", "server")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: what happens.
        run: brings it about, and returns what was seen.
        promises: what the documentation says, by our role.
        needs_wire: whether packets are to be lost.
        is_quick: whether it needs neither other processes nor time.
    """

    name: str
    run: Run
    promises: dict[Role, Promise]
    needs_wire: bool
    is_quick: bool


FAULTS: list[Fault] = []


def fault(
    name: str,
    promise: Promise | None = None,
    *,
    client: Promise | None = None,
    server: Promise | None = None,
    needs_wire: bool = False,
    is_quick: bool = False,
) -> Callable[[Run], Run]:
    """Add a function to the list; the promise is for both roles, or there is one for each."""
    promises: dict[Role, Promise] = {}
    for role, own in zip(BOTH, (client or promise, server or promise), strict=True):
        if own is not None:
            promises[role] = own

    def add(run: Run) -> Run:
        FAULTS.append(Fault(name, run, promises, needs_wire, is_quick))
        return run

    return add
