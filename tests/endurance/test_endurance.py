"""Every scenario on a small scale; `python -m tests.endurance` has the large one."""

from __future__ import annotations

import pytest

from ..conftest import UVLOOP_MISSING
from .scenarios import LOOPS, SCENARIOS, Scenario, run_on

on_every_loop = pytest.mark.parametrize(
    "loop",
    [
        pytest.param(
            loop, marks=pytest.mark.skipif(UVLOOP_MISSING, reason="uvloop is not installed")
        )
        if loop == "uvloop"
        else loop
        for loop in LOOPS
    ],
)


@on_every_loop
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario_holds(scenario: Scenario, loop: str) -> None:
    assert run_on(loop, scenario, scenario.few)
