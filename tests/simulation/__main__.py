"""`python -m tests.simulation`: run lifetimes, or find planted bugs, and print figures.

The exit status is 1 if there was a violation, or if a bug was not found.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence

from .figures import Tally, run_many
from .shrink import shrink

__all__ = ["main"]

# 10,000 lifetimes take a minute or two.
_A_LINE = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["run", "plant"], default="run")
    parser.add_argument("--lifetimes", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="the first one; default: %(default)s")
    parser.add_argument("--show", type=int, default=3, help="violations to shrink and print")
    parser.add_argument(
        "--tries", type=int, default=2000, help="lifetimes to spend on making one smaller"
    )
    options = parser.parse_args(arguments)
    # What keepalive warns of is no news here.
    logging.getLogger("anyws").setLevel(logging.CRITICAL)
    if options.what == "plant":
        return _plant(options.seed, options.lifetimes)
    return _run(options.seed, options.lifetimes, options.show, options.tries)


def _run(seed: int, lifetimes: int, show: int, tries: int) -> int:
    total = Tally()
    began = time.monotonic()
    for at in range(seed, seed + lifetimes, _A_LINE):
        total.add(run_many(range(at, min(at + _A_LINE, seed + lifetimes))))
        print(total.line(time.monotonic() - began), flush=True)
    for what, n in sorted(total.counts.items()):
        print(f"    {what}: {n}")
    for failed in total.failed[:show]:
        print(shrink(failed, tries=tries).text, flush=True)
    return 1 if total.failed or total.leaks else 0


def _plant(seed: int, lifetimes: int) -> int:
    from .planted import PLANTED, find

    missed = 0
    for bug in PLANTED:
        found = find(bug, range(seed, seed + lifetimes))
        if found is None:
            print(f"{bug.name}: not found within {lifetimes} lifetimes")
            missed += 1
        else:
            print(f"{bug.name}: found within {found.lifetimes}: {found.violation}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
