"""Draws a script from a seed: everything that is random before a lifetime begins.

The odds are such that most lifetimes send and receive a dozen messages, and that what is rare in
a network is not rare here. Times are on a grid of eighths of a second, so that deadlines, arrivals
and faults often meet.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from .script import Fault, FaultKind, Part, Script, Settings, SideName, Step, Task

__all__ = ["draw"]

T = TypeVar("T")

_FAULTS: tuple[FaultKind, ...] = (
    "stall reading",
    "stall reading",
    "stall writing",
    "drop",
    "reset",
    "end",
)
_CODES = (1000, 1000, 1000, 1001, 1003, 1008, 1011, 3000, 4999)

#: The steps and how often each is drawn.
_STEPS: dict[str, float] = {
    "send": 30,
    "send pieces": 6,
    "send stream": 6,
    "send json": 3,
    "broadcast": 4,
    "receive": 22,
    "receive kind": 3,
    "receive json": 2,
    "iterate": 6,
    "receive stream": 9,
    "ping": 6,
    "pong": 2,
    "sleep": 8,
    "watch": 2,
    "discard": 0.5,
    "refuse": 0.2,
    "close": 0.6,
    "aclose": 0.3,
    "send eof": 0.6,
    "wait closed": 1,
    "mistake": 1,
}
_LARGEST = 1 << 21

_COUNTED = ("iterate", "receive stream", "receive kind")
_NAMES, _WEIGHTS = list(_STEPS), list(_STEPS.values())
_RECEIVING = ("receive", "receive kind", "receive json", "iterate", "receive stream")
_DEAF_WEIGHTS = [0.0 if name in _RECEIVING else odds for name, odds in _STEPS.items()]


def draw(seed: int) -> Script:
    """Return the script of a seed, the same each time."""
    random = Random(seed)
    is_faulty = random.random() < 0.6
    capacity = random.choice((None, None, None, None, None, 60, 700, 5000, 65536))
    splits = random.choice(((), (), (), (), (1,), (1, 2, 3), (2, 100), (7, 1000), (500,)))
    # What passes slowly has to be small, or a lifetime takes as long as a hundred others.
    largest = _LARGEST if capacity is None else 8 * capacity
    delay = _eighths(random, 6) if min(splits, default=9) > 2 and random.random() < 0.3 else 0.0
    faults = [_fault(random) for _ in range(random.choice((1, 1, 2)))] if is_faulty else []
    return Script(
        seed,
        client=_part(random, largest),
        server=_part(random, largest),
        faults=tuple(faults),
        capacity=capacity,
        delay=delay,
        splits=splits,
        compression=random.choice((None, None, "takeover", "no takeover")),
    )


def _eighths(random: Random, n: int) -> float:
    return random.randrange(1, n) / 8


def _maybe(random: Random, odds: float, value: Callable[[], T]) -> T | None:
    return value() if random.random() < odds else None


def _part(random: Random, largest: int) -> Part:
    n = random.choice((1, 1, 2, 2, 3))
    # Where several receive, most are refused, so mostly one does: the first, or one that iterates.
    iterates = random.random() < 0.5
    several = random.random() < 0.15
    tasks = [_task(random, largest, several or not (iterates or i)) for i in range(n)]
    if iterates:
        tasks.append(Task((Step("iterate", count=1000),)))
    random.shuffle(tasks)
    return Part(
        settings=_settings(random),
        tasks=tuple(tasks),
        quits_at=_eighths(random, 100),
        code=random.choice(_CODES),
        leaves="raising" if random.random() < 0.1 else "normally",
        cancelled_at=_maybe(random, 0.05, lambda: random.randrange(40) / 8),
    )


def _settings(random: Random) -> Settings:
    choose = random.choice
    return Settings(
        close_timeout=choose((0.5, 1.0, 2.0, 5.0)),
        ping_interval=choose((None, None, None, 1.0, 3.0)),
        ping_timeout=choose((None, 1.0, 4.0)),
        max_size=choose((None, 200, 4000, 1 << 20, 1 << 20, 1 << 20, 1 << 20)),
        max_fragments=choose((None, 3, 1024, 1024, 1024)),
        max_buffer=choose((1, 500, 5000, 1 << 20, 1 << 20)),
        write_limit=choose((1, 100, 4096, 1 << 16, 1 << 16)),
        send_timeout=choose((None, None, None, 1.0, 4.0)),
    )


def _task(random: Random, largest: int, receives: bool) -> Task:
    weights = _WEIGHTS if receives else _DEAF_WEIGHTS
    steps = [_step(random, largest, weights) for _ in range(random.randrange(1, 9))]
    return Task(tuple(steps), _maybe(random, 0.1, lambda: random.randrange(60) / 8))


def _step(random: Random, largest: int, weights: list[float]) -> Step:
    name = random.choices(_NAMES, weights)[0]
    within = turns = None
    if random.random() < 0.3:
        if random.random() < 0.5:
            within = random.randrange(20) / 8
        else:
            turns = random.randrange(12)
    is_fragmented = name in ("send pieces", "send stream")
    is_message = is_fragmented or name in ("send", "send json", "broadcast")
    may_pause = is_fragmented or name in ("sleep", "watch", "discard", "refuse", "receive stream")
    pieces = random.randrange(5) if is_fragmented else 1
    return Step(
        name,
        sizes=tuple(min(largest, _size(random)) for _ in range(pieces)) if is_message else (),
        text=is_message and random.random() < 0.5,
        compress=random.choice((None, None, True, False)) if is_message else None,
        pause=random.choice((0.0, 0.0, _eighths(random, 12))) if may_pause else 0.0,
        count=random.randrange(1, 6) if name in _COUNTED else 1,
        code=random.choice(_CODES) if name in ("close", "mistake") else 1000,
        within=within,
        turns=turns,
    )


def _size(random: Random) -> int:
    """Return a size: mostly near what matters, the bounds of lengths and of buffers."""
    odds = random.random()
    if odds < 0.1:
        return 0
    if odds < 0.5:
        return random.randrange(1, 40)
    if odds < 0.6:
        return random.randrange(120, 132)
    if odds < 0.8:
        return random.randrange(100, 700)
    if odds < 0.97:
        return random.randrange(700, 8000)
    if odds < 0.985:
        return random.randrange(65_500, 65_560)
    if odds < 0.9997:
        return random.randrange(60_000, 140_000)
    return random.randrange(1_048_500, 1_200_000)


def _fault(random: Random) -> Fault:
    side: SideName = "client" if random.random() < 0.5 else "server"
    if random.random() < 0.35:
        # The opening handshake takes 100 to 300 bytes each way, and is cut at times.
        after = random.randrange(random.choice((300, 1000, 10_000)))
        if random.random() < 0.8:
            after += 300
        return Fault("cut" if random.random() < 0.5 else "cut by reset", side, after=after)
    kind = random.choice(_FAULTS)
    at = random.randrange(64) / 8 if random.random() < 0.8 else 0.0
    seconds = _eighths(random, 60) if kind.startswith("stall") else 0.0
    return Fault(kind, side, at=at, seconds=seconds)
