"""Every flood on a small scale; `python -m tests.hostile floods` has the large one (R-C1, R-B3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ..conftest import UVLOOP_MISSING
from ..loops import LOOPS
from ..scripted import Role
from .attacks import FLOODS
from .floods import Victim, attack, problems, victim

_LOOPS = [loop for loop in LOOPS if not (loop == "uvloop" and UVLOOP_MISSING)]

# Each on one of the loops, by turns: the large ones are for all.
_CASES = [
    pytest.param(name, role, _LOOPS[n % len(_LOOPS)], id=f"{name}-{role}")
    for n, (name, role) in enumerate(
        (name, role) for name, flood in FLOODS.items() for role in flood.roles
    )
]


@pytest.fixture(scope="module")
def victims() -> Iterator[dict[str, Victim]]:
    """Return a process for each loop."""
    with ExitStack() as stack:
        yield {loop: stack.enter_context(victim(loop)) for loop in _LOOPS}


@pytest.mark.parametrize(("name", "role", "loop"), _CASES)
def test_flood_stays_within_the_limits(
    name: str, role: Role, loop: str, victims: dict[str, Victim]
) -> None:
    flood = FLOODS[name]
    outcome = attack(victims[loop], flood, role, flood.few, traces=True)
    assert problems(flood, outcome) == []
