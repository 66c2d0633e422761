"""Where a suspended coroutine waits, in words."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

__all__ = ["shorten", "waiting_at"]

_ROOT = Path(__file__).parents[2]


def waiting_at(coroutine: object) -> str:
    """Say where a suspended coroutine waits: the innermost lines of `anyws`, and that of all."""
    places = [
        f"{shorten(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}"
        for frame in _frames(coroutine)
    ]
    if not places:
        return "no known place"
    ours = [place for place in places if place.startswith("anyws/")]
    return " > ".join(dict.fromkeys([*ours[-3:], places[-1]]))


def shorten(path: str) -> str:
    """Return a path from the root of the repository, or the end of one that is outside of it."""
    try:
        return str(Path(path).relative_to(_ROOT))
    except ValueError:
        return "/".join(Path(path).parts[-2:])


def _frames(awaitable: object) -> Iterator[FrameType]:
    """Go down what a coroutine awaits."""
    while True:
        frame: FrameType | None
        if inspect.iscoroutine(awaitable):
            frame, awaitable = awaitable.cr_frame, awaitable.cr_await
        elif inspect.isgenerator(awaitable):
            frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
        elif inspect.isasyncgen(awaitable):
            frame, awaitable = awaitable.ag_frame, awaitable.ag_await
        else:
            # What steps an async generator, or came of `coroutine.__await__()`, does not tell.
            inner = [each for each in gc.get_referents(awaitable) if _has_frame(each)]
            if not inner:
                return
            awaitable = inner[0]
            continue
        if frame is not None:
            yield frame


def _has_frame(thing: object) -> bool:
    return inspect.iscoroutine(thing) or inspect.isgenerator(thing) or inspect.isasyncgen(thing)
