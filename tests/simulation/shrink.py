"""Makes a script that fails smaller, for as long as it still fails.

Owns the ways to make one smaller: each is tried again and again until none helps. What fails may
change on the way, which is all right: it should not fail at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from .lifetime import Outcome, run
from .script import Part, Script, Settings, Step, Task

__all__ = ["Shrunk", "shrink"]

T = TypeVar("T")
Some = TypeVar("Some", Script, Part, Settings, Step)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A script that fails, and what came of it.

    Attributes:
        script: as small as it got.
        tries: lifetimes that it took.
    """

    script: Script
    outcome: Outcome
    tries: int

    @property
    def text(self) -> str:
        """What to read, and the script to keep in `kept.py`."""
        lines = [
            f"seed {self.script.seed}, made smaller in {self.tries} lifetimes:",
            *(f"    {violation}" for violation in self.outcome.violations),
            "what happened:",
            *(f"    {event}" for event in self.outcome.trace),
            "to be kept in tests/simulation/kept.py:",
            f"    {self.script!r},",
        ]
        return "\n".join(lines)


def shrink(script: Script, run: Callable[[Script], Outcome] = run, tries: int = 1000) -> Shrunk:
    """Make a script that fails smaller.

    Args:
        script: one that fails.
        run: runs it.
        tries: lifetimes at most.
    """
    outcome = run(script)
    assert outcome.violations, f"the script does not fail: {script!r}"
    n = 0
    has_changed = True
    while has_changed:
        has_changed = False
        for smaller in _smaller(script):
            if n >= tries:
                return Shrunk(script, outcome, n)
            n += 1
            other = run(smaller)
            if other.violations:
                script, outcome, has_changed = smaller, other, True
                break
    return Shrunk(script, outcome, n)


def _smaller(script: Script) -> Iterator[Script]:
    """Yield scripts that are a little smaller, those that lose most first."""
    for i in range(len(script.faults)):
        yield replace(script, faults=_without(script.faults, i))
    for part in _smaller_parts(script.client):
        yield replace(script, client=part)
    for part in _smaller_parts(script.server):
        yield replace(script, server=part)
    yield from _with_defaults(script, "capacity", "delay", "splits", "compression")


def _smaller_parts(part: Part) -> Iterator[Part]:
    for i in range(len(part.tasks)):
        yield replace(part, tasks=_without(part.tasks, i))
    for i, task in enumerate(part.tasks):
        for smaller in _smaller_tasks(task):
            yield replace(part, tasks=(*part.tasks[:i], smaller, *part.tasks[i + 1 :]))
    for settings in _with_defaults(part.settings, *(field.name for field in fields(Settings))):
        yield replace(part, settings=settings)
    yield from _with_defaults(part, "leaves", "cancelled_at", "code")


def _smaller_tasks(task: Task) -> Iterator[Task]:
    n = len(task.steps)
    if n > 3:
        yield replace(task, steps=task.steps[: n // 2])
        yield replace(task, steps=task.steps[n // 2 :])
    if n > 1:
        for i in range(n):
            yield replace(task, steps=_without(task.steps, i))
    if task.cancelled_at is not None:
        yield replace(task, cancelled_at=None)
    for i, step in enumerate(task.steps):
        for smaller in _smaller_steps(step):
            yield replace(task, steps=(*task.steps[:i], smaller, *task.steps[i + 1 :]))


def _smaller_steps(step: Step) -> Iterator[Step]:
    yield from _with_defaults(step, "within", "turns", "pause", "compress", "text", "code", "count")
    if len(step.sizes) > 1:
        for i in range(len(step.sizes)):
            yield replace(step, sizes=_without(step.sizes, i))
    for i, size in enumerate(step.sizes):
        for smaller in (0, 1, size // 2, size * 7 // 8):
            if smaller < size:
                yield replace(step, sizes=(*step.sizes[:i], smaller, *step.sizes[i + 1 :]))


def _with_defaults(thing: Some, *names: str) -> Iterator[Some]:
    """Yield a part of a script with the default of one of its fields, for each that has another."""
    for name in names:
        # Any: a value of whatever type the field has.
        default: Any = type(thing).__dataclass_fields__[name].default
        if getattr(thing, name) != default:
            yield replace(thing, **{name: default})


def _without(things: tuple[T, ...], i: int) -> tuple[T, ...]:
    return (*things[:i], *things[i + 1 :])
