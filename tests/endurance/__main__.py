"""`python -m tests.endurance`: run scenarios at full length, and print their figures.

The exit status is 1 if any of them failed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from collections.abc import Sequence

from .scenarios import LOOPS, SCENARIOS, run_on


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--loops", default=",".join(LOOPS), help="default: %(default)s")
    parser.add_argument("--connections", type=int, help="in place of what the scenarios take")
    options = parser.parse_args(arguments)
    names, loops = options.names or list(SCENARIOS), options.loops.split(",")
    if not set(names) <= set(SCENARIOS) or not set(loops) <= set(LOOPS):
        parser.error(f"scenarios are {', '.join(SCENARIOS)}; loops are {', '.join(LOOPS)}")
    # Two files for a connection: both ends are here.
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    failed = [name for name in names for loop in loops if not _run(name, loop, options.connections)]
    return 1 if failed else 0


def _run(name: str, loop: str, connections: int | None) -> bool:
    """Run a scenario and print what came of it; say whether that is well."""
    scenario = SCENARIOS[name]
    n = scenario.many
    if connections is not None and scenario.unit == "connections":
        n = connections
    began = time.monotonic()
    try:
        figures = run_on(loop, scenario, n)
    except Exception:
        traceback.print_exc()
        print(f"{name} on {loop}: FAILED", flush=True)
        return False
    print(f"{name} on {loop}, {n} {scenario.unit}, {time.monotonic() - began:.1f} s")
    for what, figure in figures.items():
        print(f"    {what}: {figure:.3f}" if isinstance(figure, float) else f"    {what}: {figure}")
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    sys.exit(main())
