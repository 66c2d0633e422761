"""Seconds that a call takes, to tell what is linear in the size of its input from what is not."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["HOSTILE_SIZE", "is_linear"]

#: Characters of a hostile value: four times what the head of a request may have.
HOSTILE_SIZE = 65536


def is_linear(call: Callable[[], object]) -> bool:
    """Say whether a call on a hostile value takes no longer than a linear one would."""
    seconds = []
    # The best of several, since a machine may be busy.
    for _ in range(5):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    # What is quadratic takes seconds.
    return min(seconds) < 0.1
