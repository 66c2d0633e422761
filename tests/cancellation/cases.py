"""Makes scenarios of functions: one for each kind of stream, and for each role of ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from ..scripted import Role
from .sweep import Run, Scenario

__all__ = ["ALL", "for_carriers", "for_roles"]

ALL = ("memory", "tcp", "tls")

# What the test suite runs of the former and of the latter; `python -m tests.cancellation` runs all.
_QUICK_CARRIERS = ("memory", "tcp")
_QUICK_ROLES = (("memory", "client"), ("tcp", "server"))

_OfCarrier = Callable[[Run, str], Awaitable[None]]
_OfRole = Callable[[Run, str, Role], Awaitable[None]]


def for_carriers(
    function: _OfCarrier,
    carriers: Sequence[str] = ALL,
    *,
    needs_virtual: bool = False,
    by_turns: str = "",
) -> list[Scenario]:
    """Make a scenario for each carrier; for the one that `by_turns` names, also turn by turn."""
    return [
        Scenario(
            f"{function.__name__}-{carrier}",
            partial(_call, function, carrier),
            is_virtual=carrier == "memory",
            needs_virtual=needs_virtual,
            by_turns=carrier == by_turns,
            is_quick=carrier in _QUICK_CARRIERS,
        )
        for carrier in carriers
    ]


async def _call(function: _OfCarrier, carrier: str, run: Run) -> None:
    await function(run, carrier)


def for_roles(
    function: _OfRole, carriers: Sequence[str] = ALL, *, needs_virtual: bool = False
) -> list[Scenario]:
    """Make a scenario for each carrier and each role of ours."""
    roles: tuple[Role, ...] = ("client", "server")
    return [
        Scenario(
            f"{function.__name__}-{carrier}-{role}",
            partial(_call_with_role, function, carrier, role),
            is_virtual=carrier == "memory",
            needs_virtual=needs_virtual,
            cleans_up=False,
            is_quick=(carrier, role) in _QUICK_ROLES,
        )
        for carrier in carriers
        for role in roles
    ]


async def _call_with_role(function: _OfRole, carrier: str, role: Role, run: Run) -> None:
    await function(run, carrier, role)
