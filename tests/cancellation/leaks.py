"""What there is, to be compared with what there is later: tasks, files, timers, parked tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

import trio

from anyws import Connection

from .places import waiting_at

__all__ = ["Census", "parked"]


_Task = trio.lowlevel.Task | asyncio.Task[Any]


class Census:
    """The tasks, files and timers that there were when this was made."""

    def __init__(self) -> None:
        self._tasks = _tasks()
        self._files = len(_files())
        self._timers = len(_timers())

    def waiting(self) -> list[str]:
        """Say what tasks wait at that were not there."""
        new = _tasks() - self._tasks
        return [f"{_name(task)} waits at {waiting_at(_coroutine(task))}" for task in new]

    def left(self) -> list[str]:
        """Say what there is more of by now."""
        left = [f"the task {_name(task)}" for task in _tasks() - self._tasks]
        files = _files()
        if len(files) > self._files:
            left.append(f"{len(files) - self._files} of the files {sorted(map(_target, files))}")
        timers = _timers()
        if len(timers) > self._timers:
            left.append(f"{len(timers) - self._timers} of the timers {timers}")
        return left


def _tasks() -> set[_Task]:
    if trio.lowlevel.in_trio_run():
        root = trio.lowlevel.current_root_task()
        assert root is not None
        return set(_tasks_below(root))
    return set(asyncio.all_tasks())


def _coroutine(task: _Task) -> object:
    return task.coro if isinstance(task, trio.lowlevel.Task) else task.get_coro()


def _name(task: _Task) -> str:
    return task.name if isinstance(task, trio.lowlevel.Task) else repr(task.get_coro())


def _tasks_below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _tasks_below(child)


def _files() -> Sequence[str]:
    """Return the open file descriptors, where the system lists them."""
    try:
        return os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return ()


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:
        return "the list itself"


def _timers() -> list[str]:
    """Return the timers of asyncio that are set; uvloop and trio do not tell."""
    if trio.lowlevel.in_trio_run():
        return []
    scheduled: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return [repr(timer) for timer in scheduled if not timer.cancelled()]


def parked(connection: Connection) -> list[str]:
    """Say where tasks are parked on a connection, and what else is left once all calls ended."""
    places: dict[str, object] = {
        "_turns": connection._turns,
        "_room": connection._room,
        "_end_waiters": connection._end_waiters,
        "_pings": [data for data, ping in connection._pings.items() if ping.awaited],
        "_receiving": connection._receiving,
        "_fragmenting": connection._fragmenting is not None,
        "_arrival": _is_occupied(connection._arrival),
        "_close_scopes": connection._close_scopes,
        "timers of the reactor": _live_timers(connection._reactor),
    }
    return [f"{place} of {connection!r}: {left}" for place, left in places.items() if left]


def _is_occupied(waiter: object) -> bool:
    """Say whether a task is parked there: as each loop's waiter has it."""
    return any(getattr(waiter, name, None) is not None for name in ("_task", "_callback", "_event"))


def _live_timers(reactor: object) -> int:
    """Count the timers of trio's reactor that are not cancelled."""
    timers = getattr(reactor, "_timers", ())
    return sum(entry[2].callback is not None for entry in timers)
