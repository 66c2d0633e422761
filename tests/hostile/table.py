"""Runs the tests of the advisories with pytest, once, and says what came of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..loops import LOOPS
from ..scripted import Role
from .advisories import Advisory, Test

__all__ = ["Table", "run"]

# This program has loaded what pytest would have liked to load.
_LATE = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")

_TESTS = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a test.

    Attributes:
        name: the test's, with its parameters.
        role: of our side, if a parameter tells.
        loop: the same; None for what needs no loop.
        passed: None if it was skipped.
    """

    name: str
    role: str | None
    loop: str | None
    passed: bool | None


@dataclass(slots=True)
class Table:
    """What came of the tests.

    Attributes:
        runs: by the node of their test.
        seconds: that it took.
    """

    runs: dict[str, list[_Run]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """How many runs failed."""
        return sum(run.passed is False for runs in self.runs.values() for run in runs)

    def cell(self, advisory: Advisory, role: Role, loop: str) -> str:
        """Say how many runs on a loop tell of one role, and whether all passed."""
        found = [
            run.passed
            for test in advisory.tests
            for run in self._of(test)
            if (run.role or role) == role and role in test.roles and run.loop in (loop, None)
        ]
        if False in found:
            return f"FAIL {found.count(False)}"
        return f"ok {found.count(True)}" if True in found else "-"

    def count(self, test: Test) -> str:
        """Say how many runs of a test passed, failed and were skipped."""
        counts = Counter(run.passed for run in self._of(test))
        words = {True: "passed", False: "FAILED", None: "skipped"}
        told = [f"{counts[passed]} {word}" for passed, word in words.items() if counts[passed]]
        return ", ".join(told) or "NOT RUN"

    def summary(self) -> str:
        """Say it in one line."""
        counts = Counter(run.passed for runs in self.runs.values() for run in runs)
        return (
            f"{len(self.runs)} tests, {counts[True]} runs passed, {counts[False]} failed, "
            f"{counts[None]} skipped, in {self.seconds:.0f} s"
        )

    def _of(self, test: Test) -> list[_Run]:
        return [run for run in self.runs.get(test.node, ()) if test.only in run.name]


def run(advisories: Sequence[Advisory]) -> Table:
    """Run the tests of these advisories, each once."""
    table = Table()
    tests = {test for advisory in advisories for test in advisory.tests}
    nodes = sorted({f"{_TESTS / test.node}" for test in tests})
    began = time.monotonic()
    pytest.main(
        ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", *_LATE, *nodes],
        plugins=[_Recorder(table, tests)],
    )
    table.seconds = time.monotonic() - began
    return table


class _Recorder:
    """A plugin of pytest: leaves out what no advisory wants, and notes what came of the rest."""

    def __init__(self, table: Table, tests: set[Test]) -> None:
        self._runs = table.runs
        self._wanted: dict[str, list[str]] = {}
        for test in tests:
            self._wanted.setdefault(test.node, []).append(test.only)

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        items[:] = [
            item for item in items if any(part in item.name for part in self._wanted[_node(item)])
        ]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        # A set-up, or a leak that is found afterwards, counts if it fails.
        if report.when == "call" or not report.passed:
            outcome = {"passed": True, "failed": False}.get(report.outcome)
            given = getattr(getattr(item, "callspec", None), "params", {})
            noted = _Run(item.name, _role(given), _loop(given), outcome)
            self._runs.setdefault(_node(item), []).append(noted)
        return report


def _node(item: pytest.Item) -> str:
    name = getattr(item, "originalname", None) or item.name
    return f"{item.path.relative_to(_TESTS).as_posix()}::{name}"


def _role(given: dict[str, object]) -> str | None:
    role = given.get("role")
    if role in ("server", "client"):
        return str(role)
    is_client = given.get("is_client")
    if isinstance(is_client, bool):
        return "client" if is_client else "server"
    return None


def _loop(given: dict[str, object]) -> str | None:
    backend = given.get("anyio_backend")
    if backend is None:
        loop = given.get("loop")
        return loop if isinstance(loop, str) else None
    return next(name for name, each in LOOPS.items() if each == backend)
