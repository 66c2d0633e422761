"""Every public awaitable, cancelled at every point at which it waits.

`python -m tests.cancellation` runs all scenarios there are, and prints what it found. Here is a
selection of them, with streams in memory and sockets, that takes seconds.
"""

from __future__ import annotations

import inspect

import pytest

import anyws
import anyws.testing

from ..conftest import UVLOOP_MISSING
from .scenarios import SCENARIOS
from .sweep import Kind, Scenario, awaitables_of, sweep

_NEVER_WAITS = "send_eof"

_NO_UVLOOP = pytest.mark.skipif(UVLOOP_MISSING, reason="uvloop is not installed")


@pytest.mark.parametrize(
    ("scenario", "loop", "kind"),
    [
        pytest.param(
            scenario,
            loop,
            kind,
            id=f"{scenario.name}-{loop}-{kind.value}",
            marks=[_NO_UVLOOP] if loop == "uvloop" else [],
        )
        for scenario in SCENARIOS
        if scenario.is_quick
        for loop in scenario.loops()
        for kind in scenario.kinds(loop)
        if scenario.cleans_up or not kind.more_cancellations
    ],
)
def test_whatever_is_cancelled_nothing_breaks(scenario: Scenario, loop: str, kind: Kind) -> None:
    """R-A1, R-A4, R-A8, R-A9d: what must hold is said by each scenario."""
    tallies = sweep(scenario, loop, kind).values()
    violations = [violation for tally in tallies for violation in tally.violations]
    assert not violations, "\n".join(map(str, violations))
    if kind is not Kind.BEFORE and not scenario.name.startswith(_NEVER_WAITS):
        assert sum(tally.runs for tally in tallies) > 1, "nothing was cancelled"


# Tools that a test plays the other end with; their calls wait for one thing each.
_TOOLS = frozenset({"FaultStream", "MemoryStream", "RawPeer"})

_DUNDERS = frozenset({"__aenter__", "__aexit__", "__anext__", "__await__"})


def _public_awaitables() -> set[str]:
    """Return the methods of public classes that are to be awaited, those inherited once."""
    found = set()
    for module in (anyws, anyws.testing):
        for name in set(module.__all__) - _TOOLS:
            cls = getattr(module, name)
            if inspect.isclass(cls) and not issubclass(cls, anyws.Connection):
                found |= {f"{name}.{method}" for method in _awaitable_methods(cls)}
    # Both ends have the same ones. Entering one does not wait, and leaving it is `aclose`.
    ends = _awaitable_methods(anyws.Connection) - {"__aenter__", "__aexit__"}
    return found | {f"Connection.{method}" for method in ends}


def _awaitable_methods(cls: type) -> set[str]:
    return {
        method
        for method in dir(cls)
        if method in _DUNDERS or not method.startswith("_")
        if method == "__await__" or inspect.iscoroutinefunction(inspect.getattr_static(cls, method))
    }


def test_every_public_awaitable_is_in_a_scenario() -> None:
    covered = set().union(*(awaitables_of(each) for each in SCENARIOS if each.is_quick))
    assert _public_awaitables() <= covered, _public_awaitables() - covered
