"""`python -m tests.cancellation`: run every scenario, and print a table.

It has a row for each awaitable and each way to cancel it; for each loop, how many points it was
cancelled at, in how many runs, and how many of those violated something. The exit status is 1 if
any did.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from .scenarios import SCENARIOS
from .sweep import LOOPS, Kind, Scenario, Tally, Violation, sweep

_Table = dict[tuple[str, Kind], dict[str, Tally]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    kinds = [kind.value for kind in Kind]
    parser = argparse.ArgumentParser(
        prog="python -m tests.cancellation",
        description="Cancel every public awaitable at every point at which it waits.",
    )
    parser.add_argument("--loops", default=",".join(LOOPS), help="default: %(default)s")
    parser.add_argument("--kinds", default=",".join(kinds), help="default: %(default)s")
    parser.add_argument("--scenarios", default="", help="parts of their names; default: all")
    parser.add_argument("--list", action="store_true", help="print the scenarios and stop")
    options = parser.parse_args(arguments)
    loops, wanted = options.loops.split(","), options.kinds.split(",")
    if not set(loops) <= set(LOOPS) or not set(wanted) <= set(kinds):
        parser.error(f"loops are of {', '.join(LOOPS)}; kinds are of {', '.join(kinds)}")
    parts = options.scenarios.split(",")
    chosen = [each for each in SCENARIOS if any(part in each.name for part in parts)]
    if options.list:
        print("\n".join(scenario.name for scenario in chosen))
        return 0
    logging.getLogger("anyws").setLevel(logging.CRITICAL)
    began = time.monotonic()
    gc.collect()
    gc.freeze()  # what exists so far need not be looked at again and again
    table: defaultdict[tuple[str, Kind], dict[str, Tally]] = defaultdict(dict)
    for scenario in chosen:
        for loop in loops:
            if loop in scenario.loops():
                _add(table, scenario, loop, [Kind(kind) for kind in wanted])
    _print_table(table, loops)
    violations = [
        violation
        for row in table.values()
        for tally in row.values()
        for violation in tally.violations
    ]
    print(
        f"{len(chosen)} scenarios, {time.monotonic() - began:.0f} s, {len(violations)} violations"
    )
    for violation in violations:
        print(violation)
    return 1 if violations else 0


def _add(table: _Table, scenario: Scenario, loop: str, kinds: Iterable[Kind]) -> None:
    """Run a scenario on a loop, and add what came of it."""
    for kind in scenario.kinds(loop):
        if kind not in kinds:
            continue
        with _destroyed() as problems:
            tallies = sweep(scenario, loop, kind)
        for label, tally in tallies.items():
            table[label, kind].setdefault(loop, Tally()).add(tally)
        for problem in problems:
            label = min(tallies)
            table[label, kind][loop].violations.append(
                Violation(scenario.name, loop, kind, 0, "any point", problem)
            )


@contextmanager
def _destroyed() -> Iterator[list[str]]:
    """Collect what is reported when things are destroyed: sockets and coroutines left behind."""
    problems: list[str] = []
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: problems.append(f"{args.err_msg}: {args.exc_value!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield problems
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _print_table(table: _Table, loops: Sequence[str]) -> None:
    columns = "   points   runs  viol."
    print(f"{'':46}" + "".join(f"{loop:>{len(columns)}}" for loop in loops))
    print(f"{'awaitable':32}{'cancelled':14}" + columns * len(loops))
    kinds = list(Kind)
    for (label, kind), row in sorted(
        table.items(), key=lambda item: (item[0][0], kinds.index(item[0][1]))
    ):
        cells = [_cell(row[loop]) if loop in row else " " * len(columns) for loop in loops]
        print(f"{label:32}{kind.value:14}" + "".join(cells))
    print(f"{'total':46}" + "".join(_cell(_total(table, loop)) for loop in loops))


def _cell(tally: Tally) -> str:
    return f"   {tally.points:6}{tally.runs:7}{len(tally.violations):7}"


def _total(table: _Table, loop: str) -> Tally:
    total = Tally()
    for row in table.values():
        if loop in row:
            total.add(row[loop])
    return total


if __name__ == "__main__":
    sys.exit(main())
