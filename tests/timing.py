"""The time that a call takes, to tell what is linear in the size of its input from what is not."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["HOSTILE_SIZE", "is_linear"]

#: Characters of a hostile value: four times what the head of a request may have.
HOSTILE_SIZE = 65536


def is_linear(call: Callable[[], object]) -> bool:
    """Say whether a call on a hostile value takes no longer than a linear one would."""
    seconds = []
    # CPU time, and the best of several, since a machine may be busy.
    for _ in range(5):
        begun = time.thread_time()
        call()
        seconds.append(time.thread_time() - begun)
    # What is quadratic takes seconds.
    return min(seconds) < 0.1
