"""What a process has of memory, files, tasks, timers and objects, and what only cycles keep.

Memory and files are counted on Linux only, and 0 elsewhere.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, CoroutineType, FrameType, FunctionType

import anyio
from anyio.lowlevel import checkpoint, current_token

import anyws
from anyws._io.transport import Reactor
from anyws._io.trio_transport import TrioReactor

__all__ = [
    "Footprint",
    "break_cycles_of_anyio",
    "collect_garbage_of_package",
    "take_footprint",
    "without_collector",
]

_LINUX = sys.platform == "linux"
_PACKAGE = str(Path(anyws.__file__).parent)

# The callback of anyio 4.16, on asyncio, for a child task that has ended.
_CALLBACK_OF_ANYIO = "TaskGroup._spawn.<locals>.task_done"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What there is at one moment, or the difference between two."""

    resident_kib: int
    files: int
    tasks: int
    timers: int
    objects: int

    def __sub__(self, before: Footprint) -> Footprint:
        return Footprint(
            self.resident_kib - before.resident_kib,
            self.files - before.files,
            self.tasks - before.tasks,
            self.timers - before.timers,
            self.objects - before.objects,
        )


async def take_footprint(*reactors: Reactor) -> Footprint:
    """Count, once everything that has ended is gone; the timers of these reactors."""
    for _ in range(100):
        await checkpoint()
    break_cycles_of_anyio()
    return Footprint(
        resident_kib=_resident_kib(),
        files=len(os.listdir("/proc/self/fd")) if _LINUX else 0,
        tasks=len(anyio.get_running_tasks()),
        timers=_timers(reactors),
        objects=len(gc.get_objects()),
    )


def _resident_kib() -> int:
    if not _LINUX:
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _timers(reactors: tuple[Reactor, ...]) -> int:
    """Count timers that are set. asyncio has one heap for all; uvloop shows nothing."""
    loop = current_token().native_token
    handles = getattr(loop, "_scheduled", ())
    return sum(not handle.cancelled() for handle in handles) + sum(
        timer.callback is not None
        for reactor in reactors
        if isinstance(reactor, TrioReactor)
        for _, _, timer in reactor._timers
    )


@contextmanager
def without_collector() -> Iterator[None]:
    """Leave cycles where they are."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def break_cycles_of_anyio() -> None:
    """Free what anyio keeps of child tasks that were cancelled.

    The callback above keeps the exception, whose traceback has its frame. A child that was started
    by `TaskGroup.start` has a handle, which keeps the exception, whose traceback has a frame with
    the handle.
    """
    for each in gc.get_objects():
        if isinstance(each, FrameType) and each.f_code.co_qualname == _CALLBACK_OF_ANYIO:
            with suppress(RuntimeError):  # it is running
                each.clear()
        elif isinstance(each, anyio.TaskHandle):
            each._exception = None


def collect_garbage_of_package() -> Counter[str]:
    """Collect what only cycles keep alive; count what the package has to do with it, by type."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(name for each in gc.garbage if (name := _name_in_package(each)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def _name_in_package(thing: object) -> str:
    """Name a thing of the package, or one of its frames; empty for others."""
    code: CodeType | None = None
    if isinstance(thing, FrameType):
        code = thing.f_code
    elif isinstance(thing, CoroutineType):
        code = thing.cr_code
    elif isinstance(thing, FunctionType):
        code = thing.__code__
    if code is not None:
        inside = code.co_filename.startswith(_PACKAGE)
        return f"{type(thing).__name__} {code.co_qualname}" if inside else ""
    kind = type(thing)
    inside = kind.__module__.partition(".")[0] == "anyws"
    return f"{kind.__module__}.{kind.__qualname__}" if inside else ""
