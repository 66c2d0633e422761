"""Runs faults, and prints what was seen of them."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Iterable
from contextlib import ExitStack

import anyio
import trustme

from ..loops import LOOPS
from ..scripted import Role
from . import doors, packets, processes, secure
from .faults import FAULTS, Fault
from .seen import Seen
from .stage import Stage
from .wire import Wire

__all__ = ["FAULTS", "bring_about", "print_table"]

# The modules of which each adds its faults to the list.
_MODULES = (packets, processes, secure, doors)

# Seconds for one fault.
_LIMIT = 90.0


def bring_about(fault: Fault, loop: str, stage: Stage) -> Seen:
    """Bring about a fault on a new loop."""
    backend, options = LOOPS[loop]
    run = functools.partial(_run, fault, stage)
    return anyio.run(run, backend=backend, backend_options=options)


async def _run(fault: Fault, stage: Stage) -> Seen:
    with anyio.fail_after(_LIMIT):
        return await fault.run(stage)


def print_table(
    faults: Iterable[Fault], loops: Iterable[str], roles: Iterable[Role], why_no_wire: str
) -> int:
    """Print a line for each fault, loop and role as it is known; return how many deviate."""
    loops, roles = tuple(loops), tuple(roles)
    authority = trustme.CA()
    deviations = 0
    for fault in faults:
        print(f"\n{fault.name}")
        if fault.needs_wire and why_no_wire:
            print(f"    skipped: {why_no_wire}")
            continue
        for role, promise in fault.promises.items():
            if role not in roles:
                continue
            print(f"    {role}: {promise}")
            for loop in loops:
                with ExitStack() as stack:
                    wire = stack.enter_context(Wire(0)) if fault.needs_wire else None
                    try:
                        seen = bring_about(fault, loop, Stage(role, authority, wire))
                    except Exception:
                        traceback.print_exc()
                        seen = Seen("the fault could not be brought about", 0.0)
                is_kept = promise.is_kept(seen)
                deviations += not is_kept
                mark = "" if is_kept else "  DEVIATES"
                print(f"        {loop:8} {seen.seconds:6.2f} s  {seen}{mark}", flush=True)
    return deviations
