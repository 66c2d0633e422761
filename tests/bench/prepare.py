"""What every measuring command does first: take a core, and as many files as it may have."""

from __future__ import annotations

import os
import sys


def check_system() -> str | None:
    """Return why nothing can be measured here, if so."""
    if sys.platform != "linux":
        return "the figures come from /proc, which only Linux has"
    return None


def take_own_core() -> int:
    """Pin this process, which makes the load, to one core; return the core for the servers."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("only one core: the load and the servers share it", file=sys.stderr)
    os.sched_setaffinity(0, {cores[0]})
    return cores[-1]


def raise_file_limit() -> int:
    """Allow this process all the open files that it may have; return their number.

    Thousands of connections are more than most systems allow at first.
    """
    import resource  # which Windows lacks; this module is imported there by tests

    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return limit
