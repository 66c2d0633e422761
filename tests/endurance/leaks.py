"""Connections that have ended leave nothing behind: memory, files, tasks, timers, cycles."""

from __future__ import annotations

import time

from .ends import ENDS, open_place
from .figures import Figures
from .measure import (
    break_cycles_of_anyio,
    collect_garbage_of_package,
    take_footprint,
    without_collector,
)

__all__ = ["leaks"]

# 20 of each kind, or fewer, before anything is counted: caches fill, and the heap takes its size.
_WARM_UP = 20

# What may come and go, however many connections there were: the heap of timers, for one, is swept
# of cancelled ones only when it has at least 64 too many.
_OBJECTS = 2000

# 8 MiB: what the collector would have freed is there until it is called, and a heap is not as
# tidy in the end as in the beginning.
_RESIDENT_KIB = 8 << 10


async def leaks(connections: int) -> Figures:
    """Open and end connections in every way there is, without the garbage collector (R-D2).

    Fails if files, tasks or timers are left, if objects or memory grow with the number of
    connections, or if a cycle has kept something of the package alive.
    """
    n = max(connections // len(ENDS), 1)
    problems: list[str] = []
    async with open_place() as place:
        reactors = (place.server._entrance._reactor, place.tls_server._entrance._reactor)
        for end in ENDS.values():
            for _ in range(min(n, _WARM_UP)):
                await end(place)
        began = time.monotonic()
        first = await take_footprint(*reactors)
        for name, end in ENDS.items():
            with without_collector():
                before = await take_footprint(*reactors)
                for number in range(n):
                    await end(place)
                    if not number % 50:
                        break_cycles_of_anyio()
                left = await take_footprint(*reactors) - before
                garbage = collect_garbage_of_package()
            if left.files or left.tasks or left.timers or left.objects > _OBJECTS or garbage:
                problems.append(f"{n} x {name}: {left}, in cycles {dict(garbage)}")
        grown = await take_footprint(*reactors) - first
    if grown.resident_kib > _RESIDENT_KIB:
        problems.append(f"memory grew by {grown.resident_kib} KiB")
    assert not problems, "\n".join(problems)
    return {
        "connections": n * len(ENDS),
        "ways to end": len(ENDS),
        "seconds": time.monotonic() - began,
        "KiB more": grown.resident_kib,
        "files, tasks, timers more": (grown.files, grown.tasks, grown.timers),
        "objects more": grown.objects,
    }
