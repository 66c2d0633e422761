"""What a stretch of load saw: how many messages, and how late their replies were."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from time import perf_counter_ns


@dataclass(frozen=True, slots=True)
class Sample:
    """What one stretch of load saw: how many, for how long, and how late the replies were."""

    count: int
    seconds: float
    p50_us: float
    p99_us: float


class Latencies:
    """Latencies in nanoseconds, each with the number of messages that had it."""

    def __init__(self) -> None:
        self.values = array("q")
        self.weights = array("q")

    def sample(self, started: int) -> Sample:
        """Sum up what was recorded since `started`, a reading of the clock."""
        seconds = (perf_counter_ns() - started) / 1e9
        pairs = sorted(zip(self.values, self.weights, strict=True))
        count = sum(self.weights)
        return Sample(count, seconds, _percentile(pairs, count, 50), _percentile(pairs, count, 99))


def _percentile(pairs: list[tuple[int, int]], count: int, percent: int) -> float:
    """Return the value in microseconds that `percent` of all are not above."""
    left = count * percent / 100
    for value, weight in pairs:
        left -= weight
        if left <= 0:
            return value / 1000
    return 0.0
