"""Runs many lifetimes, and adds up what came of them."""

from __future__ import annotations

import gc
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import ref

from anyws import Connection

from .draw import draw
from .lifetime import run
from .script import Script

__all__ = ["Tally", "run_many"]

# 1,000 lifetimes leave some 20 MB of garbage, and collecting it takes a few milliseconds.
_A_COLLECTION = 1000


@dataclass(slots=True)
class Tally:
    """What came of many lifetimes.

    Attributes:
        lifetimes: how many there were.
        cpu: seconds that they took.
        counts: how often each step ended how, each fault, each end.
        failed: the scripts that violated something.
        leaks: connections that were still there when the garbage had been collected, by the seeds
            of their collections.
    """

    lifetimes: int = 0
    cpu: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Script] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what came of others."""
        self.lifetimes += other.lifetimes
        self.cpu += other.cpu
        self.counts.update(other.counts)
        self.failed += other.failed
        self.leaks += other.leaks

    def line(self, seconds: float) -> str:
        """Return the figures in one line.

        Args:
            seconds: how long it took, which on a busy machine is longer than the time of the CPU.
        """
        return (
            f"{self.lifetimes} lifetimes in {seconds:.0f} s, {self.lifetimes / seconds:.0f} a "
            f"second; {self.lifetimes / self.cpu:.0f} a second of CPU; "
            f"{len(self.failed)} with violations"
            + (f" (seeds {[script.seed for script in self.failed[:10]]})" if self.failed else "")
            + "".join(f"; {leak}" for leak in self.leaks)
        )


def run_many(seeds: Iterable[int]) -> Tally:
    """Run the lifetimes of these seeds.

    The garbage is collected every now and then only: a fifth of the time goes there otherwise.
    """
    tally = Tally()
    began = time.process_time()
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            batch: list[ref[Connection]] = []
            for seed in seeds:
                script = draw(seed)
                outcome = run(script)
                tally.lifetimes += 1
                tally.counts.update(outcome.counts)
                batch += outcome.connections
                if outcome.violations:
                    tally.failed.append(script)
                del outcome
                if not tally.lifetimes % _A_COLLECTION:
                    _collect(tally, batch, seed)
                    batch = []
            _collect(tally, batch, seed)
    finally:
        if was_enabled:
            gc.enable()
    tally.cpu = time.process_time() - began
    return tally


def _collect(tally: Tally, connections: list[ref[Connection]], seed: int) -> None:
    """Collect the garbage; connections that are still there then are leaked."""
    gc.collect()
    left = sum(connection() is not None for connection in connections)
    if left:
        tally.leaks.append(f"{left} connections are left after the seed {seed}")
