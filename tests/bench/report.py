"""Turn outcomes into a table to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.bench.measure import Outcome
from tests.bench.rows import Kind, Row

OURS: Final = "anyws"


def render_row(row: Row, outcomes: list[Outcome]) -> Iterator[str]:
    """Yield the lines of the table of one row.

    The columns that start with "anyws" are ratios: the cost of that side of ours, divided by
    that of the peer on the line. Less is better, and below 1 is cheaper than the peer.
    """
    ours = [outcome for outcome in outcomes if outcome.peer.startswith(OURS) and outcome.best]
    seen_outside = row.kind in (Kind.ECHO, Kind.CLIENT, Kind.FAN, Kind.SHAKE)
    yield f"{row.name}: {row.describe()}"
    seen = ["per s", "p50 us", "p99 us"] if seen_outside else []
    ratios = [f"{outcome.peer} /" for outcome in ours]
    yield _line("", [row.unit, *seen, *ratios])
    for outcome in outcomes:
        best = outcome.best
        if best is None or outcome.failure is not None:
            yield f"  {outcome.peer:<26}  {outcome.failure}"
            continue
        figures = [f"{best.cost:.1f}"]
        if seen_outside:
            figures += [f"{best.rate:.0f}", f"{best.p50_us:.0f}", f"{best.p99_us:.0f}"]
        yield _line(outcome.peer, figures + [_ratio(side, best.cost) for side in ours])


def _line(peer: str, cells: list[str]) -> str:
    return f"  {peer:<26}" + "".join(f"{cell:>{max(10, len(cell) + 2)}}" for cell in cells)


def _ratio(side: Outcome, cost: float) -> str:
    best = side.best
    assert best is not None
    ratio = f"{best.cost / cost:.2f}" if cost > 0 else "-"
    return ratio.rjust(len(side.peer) + 2)
