"""`python -m tests.faults`: bring about every fault, and print what was seen of each.

The exit status is 1 if anything was not as the documentation promises.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..loops import LOOPS
from .faults import BOTH
from .table import FAULTS, print_table
from .wire import enter_namespace, why_no_wire


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("words", nargs="*", help="of the names of faults; default: all")
    parser.add_argument("--loops", default=",".join(LOOPS), help="default: %(default)s")
    parser.add_argument("--roles", default=",".join(BOTH), help="default: %(default)s")
    options = parser.parse_args(arguments)
    loops, roles = options.loops.split(","), options.roles.split(",")
    if not set(loops) <= set(LOOPS) or not set(roles) <= set(BOTH):
        parser.error(f"loops are {', '.join(LOOPS)}; roles are {', '.join(BOTH)}")
    faults = [fault for fault in FAULTS if all(word in fault.name for word in options.words)]
    if not faults:
        parser.error("no fault has these words in its name")
    problem = why_no_wire() if any(fault.needs_wire for fault in faults) else ""
    if not problem:
        enter_namespace("tests.faults", list(arguments or sys.argv[1:]))
    deviations = print_table(faults, loops, roles, problem)
    print(f"\n{deviations} deviate from what is promised")
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main())
