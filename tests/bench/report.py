"""Turn outcomes into a table to read and a document for other programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from tests.bench.measure import Outcome, Settings
from tests.bench.rows import Kind, Row

OURS: Final = "anyws-"
DISTRIBUTIONS: Final = (
    "trio",
    "anyio",
    "uvloop",
    "websockets",
    "trio-websocket",
    "picows",
    "aiohttp",
)


def render_row(row: Row, outcomes: list[Outcome]) -> Iterator[str]:
    """Yield the lines of the table of one row.

    The columns that start with "anyws" are ratios: the cost of that side of ours, divided by
    that of the peer on the line. Less is better, and below 1 is cheaper than the peer.
    """
    ours = [outcome for outcome in outcomes if outcome.peer.startswith(OURS) and outcome.best]
    yield f"{row.name}: {row.describe()}"
    unit = "KiB" if row.kind is Kind.IDLE else "cpu us"
    seen = [] if row.kind is Kind.IDLE else ["per s", "p50 us", "p99 us"]
    ratios = [f"{outcome.peer} /" for outcome in ours]
    yield _line("", [unit, *seen, *ratios])
    for outcome in outcomes:
        best = outcome.best
        if best is None or outcome.failure is not None:
            yield f"  {outcome.peer:<26}  {outcome.failure}"
            continue
        figures = [f"{best.cost:.1f}"]
        if row.kind is not Kind.IDLE:
            figures += [f"{best.rate:.0f}", f"{best.p50_us:.0f}", f"{best.p99_us:.0f}"]
        yield _line(outcome.peer, figures + [_ratio(side, best.cost) for side in ours])


def write_json(path: Path, results: dict[str, list[Outcome]], settings: Settings) -> None:
    """Write every turn, with what ran and how."""
    document = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": dict(_versions()),
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "rows": {name: list(map(_as_dict, outcomes)) for name, outcomes in results.items()},
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def _line(peer: str, cells: list[str]) -> str:
    return f"  {peer:<26}" + "".join(f"{cell:>{max(10, len(cell) + 2)}}" for cell in cells)


def _ratio(side: Outcome, cost: float) -> str:
    best = side.best
    assert best is not None
    ratio = f"{best.cost / cost:.2f}" if cost > 0 else "-"
    return ratio.rjust(len(side.peer) + 2)


def _as_dict(outcome: Outcome) -> dict[str, object]:
    turns = [
        {"cost": turn.cost, "rate": turn.rate, "p50_us": turn.p50_us, "p99_us": turn.p99_us}
        for turn in outcome.turns
    ]
    cost = outcome.best.cost if outcome.best else None
    return {"peer": outcome.peer, "cost": cost, "failure": outcome.failure, "turns": turns}


def _versions() -> Iterator[tuple[str, str]]:
    for name in DISTRIBUTIONS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
