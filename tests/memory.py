"""How much memory a block of a test takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["traced"]


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Trace memory; yield a function that tells the peak since the block began, in bytes.

    Not a fixture: between those and the test, pytest notes how far it has come.
    """
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield lambda: tracemalloc.get_traced_memory()[1] - start
    finally:
        tracemalloc.stop()
