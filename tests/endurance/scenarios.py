"""The scenarios by name, with the sizes of a short and of a long run."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from ..loops import LOOPS
from ..soak.scenario import soak
from .broadcasting import broadcasting
from .cancelling import cancelled_receives, cancelled_sends
from .closing import unread
from .crowd import crowd, secure_crowd
from .ends import ENDS
from .figures import Figures
from .leaks import leaks
from .restarts import restarts
from .rolling import rolling
from .shutdown import shutdown

__all__ = ["LOOPS", "SCENARIOS", "Scenario", "run_on"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A function of a number of `unit`: `few` for a test, `many` for a minute or so."""

    run: Callable[[int], Awaitable[Figures]]
    unit: str
    few: int
    many: int


SCENARIOS: dict[str, Scenario] = {
    "shutdown": Scenario(shutdown, "connections", 50, 1000),
    "crowd": Scenario(crowd, "strangers", 15, 4000),
    "secure_crowd": Scenario(secure_crowd, "strangers", 15, 4000),
    "leaks": Scenario(leaks, "connections", 3 * len(ENDS), 10_000),
    "broadcast": Scenario(broadcasting, "connections", 20, 1000),
    "rolling": Scenario(rolling, "clients", 30, 100),
    "restarts": Scenario(restarts, "deaths", 3, 50),
    "soak": Scenario(soak, "seconds", 1, 120),
    "unread": Scenario(unread, "messages", 1000, 10_000),
    "cancelled_receives": Scenario(cancelled_receives, "cancellations", 200, 100_000),
    "cancelled_sends": Scenario(cancelled_sends, "cancellations", 100, 1000),
}


def run_on(loop: str, scenario: Scenario, n: int) -> Figures:
    """Run a scenario on a new loop."""
    backend, options = LOOPS[loop]
    return anyio.run(functools.partial(scenario.run, n), backend=backend, backend_options=options)
