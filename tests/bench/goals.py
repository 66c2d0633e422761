"""The goals: how much we may cost at most, in parts of what a peer costs in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.results import Run

# The largest ratio that reaches the goal; a dash is no goal. One line for each peer, or two of one
# library: each of our loops has to reach the goal against the same loop of theirs.
TABLE: Final = """
against              e1    e100  e100x1k  pipe  txt1k  deflate  64k   1M   shake  idle  fan
websockets-trio      0.5   0.17  0.17     0.04  0.09   0.6      0.3   0.4  0.22   0.3   0.6
bare-trio            1.1   0.6   0.6      -     -      -        0.9   1.0  1.3    -     -
picows-websockets    0.8   0.75  0.75     0.2   0.4    -        0.6   0.7  0.35   -     -
picows               1.0   1.0   1.0      0.2   0.5    -        0.85  0.9  0.75   0.25  -
websockets           0.5   0.28  0.28     0.05  0.12   0.6      0.45  0.55 0.3    0.45  0.6
"""

# Our side and theirs, by the first column of the table.
PAIRS: Final = {
    "websockets-trio": (("anyws-trio", "websockets-trio"),),
    "bare-trio": (("anyws-trio", "bare-trio"),),
    "picows-websockets": (
        ("anyws-asyncio", "picows-websockets"),
        ("anyws-uvloop", "picows-websockets-uvloop"),
    ),
    "picows": (("anyws-asyncio", "picows-asyncio"), ("anyws-uvloop", "picows-uvloop")),
    "websockets": (
        ("anyws-asyncio", "websockets-asyncio"),
        ("anyws-uvloop", "websockets-uvloop"),
    ),
}

IMPORT_ROW: Final = "import"
IMPORT_PEER: Final = "anyws"
IMPORT_LIMIT_MS: Final = 40.0

# What the agreement to compress may take on a connection that has not made use of it.
AGREED_ROW: Final = "idledeflate"
PLAIN_ROW: Final = "idle"
AGREED_LIMIT_KIB: Final = 1.0

NO_GOAL: Final = "-"
MISSED: Final = "!"
UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True)
class Goal:
    """One cell: the cost of `ours` is at most `limit` times that of `theirs`."""

    row: str
    ours: str
    theirs: str
    limit: float


def parse_goals(table: str) -> list[Goal]:
    """Read a table like TABLE.

    Raises:
        ValueError: a line has not as many cells as the first, or an unknown peer, or no number.
    """
    header, *lines = (line.split() for line in table.strip().splitlines())
    goals = []
    for against, *cells in lines:
        if against not in PAIRS:
            raise ValueError(f"goals against {against}, expected one of {', '.join(PAIRS)}")
        for row, cell in zip(header[1:], cells, strict=True):
            if cell != NO_GOAL:
                goals += [Goal(row, ours, theirs, float(cell)) for ours, theirs in PAIRS[against]]
    return goals


GOALS: Final = parse_goals(TABLE)


def rows_needed() -> list[str]:
    """Return the rows that have a goal, in the order of the table."""
    return [*dict.fromkeys([*(goal.row for goal in GOALS), PLAIN_ROW, AGREED_ROW, IMPORT_ROW])]


def peers_needed() -> list[str]:
    """Return the peers that have a goal, ours first."""
    return [
        *dict.fromkeys(goal.ours for goal in GOALS),
        *dict.fromkeys(goal.theirs for goal in GOALS),
    ]


def reached(goal: Goal, runs: Sequence[Run]) -> float | None:
    """Return the ratio of the last run that measured both sides; None if none did.

    Costs of different runs are never divided by each other.
    """
    for run in reversed(runs):
        ours, theirs = run.cost(goal.row, goal.ours), run.cost(goal.row, goal.theirs)
        if ours is not None and theirs:
            return ours / theirs
    return None


def render_goals(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the lines of the table of goals: "reached / limit", with a mark where it was missed."""
    rows = list(dict.fromkeys(goal.row for goal in GOALS))
    lines: dict[str, dict[str, str]] = {}
    missed = unknown = 0
    for goal in GOALS:
        ratio = reached(goal, runs)
        missed += ratio is not None and ratio > goal.limit
        unknown += ratio is None
        cells = lines.setdefault(f"{goal.ours} / {goal.theirs}", {})
        cells[goal.row] = _cell(ratio, goal.limit)
    yield f"reached / goal; {MISSED} missed, {UNKNOWN} not measured in one run"
    yield f"{'':<40}" + "".join(f"{row:>14}" for row in rows)
    for name, cells in lines.items():
        yield f"{name:<40}" + "".join(f"{cells.get(row, ''):>14}" for row in rows)
    count = len(GOALS)
    for name, figure, limit in _alone(runs):
        count += 1
        missed += figure is not None and figure > limit
        unknown += figure is None
        yield f"{name}: {_cell(figure, limit, digits=1)}"
    yield f"{count - missed - unknown} of {count} reached, {missed} missed, {unknown} not measured"


def _alone(runs: Sequence[Run]) -> Iterator[tuple[str, float | None, float]]:
    """Yield the figures that are compared with no peer, each by name and with its limit."""
    yield "import of anyws beyond anyio, cpu ms", _import_ms(runs), IMPORT_LIMIT_MS
    for ours in dict.fromkeys(goal.ours for goal in GOALS):
        name = f"{AGREED_ROW} of {ours} beyond {PLAIN_ROW}, KiB"
        yield name, _agreed_kib(ours, runs), AGREED_LIMIT_KIB


def _agreed_kib(ours: str, runs: Sequence[Run]) -> float | None:
    for run in reversed(runs):
        agreed, plain = run.cost(AGREED_ROW, ours), run.cost(PLAIN_ROW, ours)
        if agreed is not None and plain is not None:
            return agreed - plain
    return None


def _import_ms(runs: Sequence[Run]) -> float | None:
    costs = [run.cost(IMPORT_ROW, IMPORT_PEER) for run in reversed(runs)]
    return next((cost for cost in costs if cost is not None), None)


def _cell(figure: float | None, limit: float, *, digits: int = 2) -> str:
    if figure is None:
        return f"{UNKNOWN} / {limit:g}"
    # One digit more where rounding would hide on which side of the limit the figure is.
    shown = f"{figure:.{digits}f}"
    if (figure > limit) != (float(shown) > limit):
        shown = f"{figure:.{digits + 1}f}"
    return f"{MISSED if figure > limit else ''}{shown} / {limit:g}"
