"""A run to write, draw and compare."""

from __future__ import annotations

import pytest

from tests.bench.measure import Outcome, Turn
from tests.bench.results import Run, circumstances_now


@pytest.fixture
def run() -> Run:
    """Return a run of two rows and an import, in which one peer failed."""
    return Run(
        circumstances_now(2, 0.5),
        {
            "e100": [
                Outcome("anyws-trio", [Turn(9.5, 1000.0, 10.0, 20.0), Turn(8.25, 1100.0)]),
                Outcome("trio-websocket", [Turn(900.0)]),
                Outcome("bare-trio", [Turn(8.0)]),
            ],
            "1M": [
                Outcome("anyws-trio", [Turn(1500.0)]),
                Outcome("bare-trio", [Turn(1.0)], failure="LoadError: <no> & more"),
            ],
            "import": [Outcome("anyws", [Turn(35.0)])],
        },
    )
