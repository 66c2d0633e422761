"""`python -m tests.hostile`: run the test of each advisory, and print a table of them.

`python -m tests.hostile floods` attacks a connection with every flood instead, in full size, and
prints what that came to. The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..loops import LOOPS
from ..scripted import Role
from .advisories import ADVISORIES
from .attacks import FLOODS, KIB
from .floods import Measured, bound, measure
from .table import Table, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("advisories", "floods"), default="advisories")
    parser.add_argument("names", nargs="*", help="parts of the names of floods; default: all")
    parser.add_argument("--loops", default=",".join(LOOPS), help="of floods; default: %(default)s")
    options = parser.parse_args(arguments)
    loops = options.loops.split(",")
    if not set(loops) <= set(LOOPS):
        parser.error(f"loops are of {', '.join(LOOPS)}")
    if options.what == "advisories":
        return _advisories()
    return _floods(options.names or [""], loops)


def _advisories() -> int:
    table = run(ADVISORIES)
    _print_advisories(table)
    return 1 if table.failed else 0


def _print_advisories(table: Table) -> None:
    roles: list[tuple[Role, str]] = [
        *(("server", loop) for loop in LOOPS),
        *(("client", loop) for loop in LOOPS),
    ]
    print(f"{'':120}" + "".join(f"{role:>10}" for role, _ in roles))
    print(f"{'advisory':60}{'what was wrong there':60}", end="")
    print("".join(f"{loop:>10}" for _, loop in roles))
    for advisory in ADVISORIES:
        cells = [table.cell(advisory, role, loop) for role, loop in roles]
        print(f"{advisory.ids:60}{advisory.fault:60}" + "".join(f"{c:>10}" for c in cells))
        for test in advisory.tests:
            print(f"    {test.node}  ({table.count(test)})")
    print(table.summary())


def _floods(parts: Sequence[str], loops: Sequence[str]) -> int:
    print(f"{'flood':42}{'role':8}{'loop':9}{'units':>10}", end="")
    print(f"{'peak KiB':>10}{'bound KiB':>11}{'RSS KiB':>9}{'us/byte':>9}{'bytes':>12}  ended by")
    failed = 0
    for name, flood in FLOODS.items():
        if not any(part in name for part in parts):
            continue
        for role in flood.roles:
            for loop in loops:
                measured = measure(loop, flood, role)
                print(f"{name:42}{role:8}{loop:9}{_line(measured)}", flush=True)
                for problem in measured.problems():
                    print(f"    WRONG: {problem}", flush=True)
                    failed += 1
    print(f"{failed} bounds passed" if failed else "every bound held")
    return 1 if failed else 0


def _line(measured: Measured) -> str:
    flood, traced, fast = measured.flood, measured.traced, measured.fast
    return (
        f"{flood.many:10}{traced.figures.peak / KIB:10.0f}{bound(flood) / KIB:11.0f}"
        f"{fast.figures.resident / KIB:9.0f}{measured.seconds_a_byte * 1e6:9.3f}"
        f"{fast.taken:12}  {fast.end}"
    )


if __name__ == "__main__":
    sys.exit(main())
