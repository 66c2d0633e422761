"""`python -m tests.endurance`: run scenarios at full length, and print their figures.

The exit status is 1 if any of them failed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

from .scenarios import LOOPS, SCENARIOS, run_on


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--loops", default=",".join(LOOPS), help="default: %(default)s")
    parser.add_argument("--connections", type=int, help="in place of what the scenarios take")
    parser.add_argument("--seconds", type=int, help="the same, for how long they take")
    options = parser.parse_args(arguments)
    names, loops = options.names or list(SCENARIOS), options.loops.split(",")
    if not set(names) <= set(SCENARIOS) or not set(loops) <= set(LOOPS):
        parser.error(f"scenarios are {', '.join(SCENARIOS)}; loops are {', '.join(LOOPS)}")
    # Two files for a connection: both ends are here.
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    sizes = {"connections": options.connections, "seconds": options.seconds}
    failed = [name for name in names for loop in loops if not _run(name, loop, sizes)]
    return 1 if failed else 0


def _run(name: str, loop: str, sizes: Mapping[str, int | None]) -> bool:
    """Run a scenario and print what came of it; say whether that is well.

    Args:
        sizes: by unit, in place of what the scenarios take.
    """
    scenario = SCENARIOS[name]
    n = sizes.get(scenario.unit) or scenario.many
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
