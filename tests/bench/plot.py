"""Draw a run as bars: `python -m tests.bench.plot FILE.json docs/_static/performance.svg`.

The picture is as wide as a page of the documentation and has no background. Its greys and its blue
can be read on white and on black, because an image does not learn which of the two the page is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final
from xml.sax.saxutils import escape

from tests.bench.report import OURS
from tests.bench.results import Run, read_run
from tests.bench.servers import SERVERS, speaks_websocket

PLOTTED: Final = ("e100", "e100x1k", "pipe", "txt1k", "64k", "1M")
TITLES: Final = {
    "e100": "32 bytes, 100 connections",
    "e100x1k": "1 KiB, 100 connections",
    "pipe": "32 bytes, 100 in flight on each of 10",
    "txt1k": "1 KiB of text, 10 in flight on each of 10",
    "64k": "64 KiB, 4 connections",
    "1M": "1 MiB, 2 connections",
}

UNIT: Final = "microseconds of server CPU time per message"

# All lengths are pixels.
WIDTH: Final = 800
COLUMNS: Final = 2
GAP: Final = 24
PANEL_WIDTH: Final = (WIDTH - GAP * (COLUMNS - 1)) // COLUMNS
LABEL_WIDTH: Final = 172
FIGURE_WIDTH: Final = 56
BAR_WIDTH: Final = PANEL_WIDTH - LABEL_WIDTH - FIGURE_WIDTH
TITLE_HEIGHT: Final = 26
LINE_HEIGHT: Final = 17
BAR_HEIGHT: Final = 11
LOOP_GAP: Final = 6
LEGEND_HEIGHT: Final = 24

# A bar more than so many times the median is cut, so that one slow peer does not flatten the rest.
CUT_ABOVE: Final = 8.0

STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #7d8590; }
  .title { font-weight: 600; }
  .figure { font-variant-numeric: tabular-nums; }
  .ours { fill: #2f81f7; }
  .peer { fill: #8b949e; }
  .bare { fill: none; stroke: #8b949e; stroke-dasharray: 2 2; }
""".rstrip()


@dataclass(frozen=True, slots=True)
class Bar:
    """One peer in one panel; `cost` is microseconds."""

    peer: str
    cost: float


def main(words: Sequence[str] | None = None) -> int:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plot", description=__doc__)
    parser.add_argument("run", type=Path, metavar="FILE.json", help="what --json wrote")
    parser.add_argument("picture", type=Path, metavar="FILE.svg")
    arguments = parser.parse_args(words)
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    arguments.picture.write_text(draw(read_run(arguments.run)))
    return 0


def draw(run: Run) -> str:
    """Return the picture as SVG: a panel for each row of the run that is plotted."""
    panels = {row: bars for row in PLOTTED if (bars := _bars(run, row))}
    body: list[str] = []
    top = LEGEND_HEIGHT
    names = list(panels)
    for first in range(0, len(names), COLUMNS):
        beside = names[first : first + COLUMNS]
        for column, row in enumerate(beside):
            left = column * (PANEL_WIDTH + GAP)
            body += _panel(f"{row}: {TITLES[row]}", panels[row], left, top)
        top += max(_height(panels[row]) for row in beside) + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" '
        f'width="{WIDTH}" height="{top}" role="img">'
    )
    title = f"<title>What a message costs: {UNIT}</title>"
    return "\n".join([head, title, f"<style>{STYLE}\n</style>", *_legend(), *body, "</svg>", ""])


def _bars(run: Run, row: str) -> list[Bar]:
    """Return what was measured, every loop with its servers together."""
    costs = ((peer, run.cost(row, peer)) for peer in sorted(SERVERS, key=_loop_first))
    return [Bar(peer, cost) for peer, cost in costs if cost is not None]


def _loop_first(peer: str) -> tuple[int, int]:
    """Sort by loop, ours first and the bare server last."""
    return _loop(peer), ("ours", "peer", "bare").index(_class(peer))


def _loop(peer: str) -> int:
    return 0 if "trio" in peer else 2 if "uvloop" in peer else 1


def _height(bars: Sequence[Bar]) -> int:
    return TITLE_HEIGHT + LINE_HEIGHT * len(bars) + LOOP_GAP * _loops_before(bars, len(bars) - 1)


def _loops_before(bars: Sequence[Bar], n: int) -> int:
    """Return how many loops other than that of bar `n` come before it."""
    return len({_loop(bar.peer) for bar in bars[: n + 1]}) - 1


def _panel(title: str, bars: Sequence[Bar], left: int, top: int) -> Iterator[str]:
    longest = longest_shown([bar.cost for bar in bars])
    yield f'<text class="title" x="{left}" y="{top + 14}">{escape(title)}</text>'
    for n, bar in enumerate(bars):
        y = top + TITLE_HEIGHT + n * LINE_HEIGHT + LOOP_GAP * _loops_before(bars, n)
        is_cut = bar.cost > longest
        width = BAR_WIDTH * min(bar.cost / longest, 1)
        x = left + LABEL_WIDTH
        foot = y + BAR_HEIGHT - 1
        yield f'<text x="{x - 6}" y="{foot}" text-anchor="end">{escape(bar.peer)}</text>'
        yield (
            f'<rect class="{_class(bar.peer)}" x="{x}" y="{y}" '
            f'width="{width:.1f}" height="{BAR_HEIGHT}"/>'
        )
        figure = f"{'… ' if is_cut else ''}{format_cost(bar.cost)}"
        yield f'<text class="figure" x="{x + width + 5:.1f}" y="{foot}">{figure}</text>'


def _legend() -> Iterator[str]:
    """Yield what the three kinds of bars are, and the unit."""
    entries = (("ours", "anyws"), ("peer", "other libraries"), ("bare", "no WebSocket at all"))
    for n, (kind, words) in enumerate(entries):
        x = n * 150
        yield f'<rect class="{kind}" x="{x}" y="3" width="{BAR_HEIGHT}" height="{BAR_HEIGHT}"/>'
        yield f'<text x="{x + BAR_HEIGHT + 6}" y="13">{words}</text>'
    yield f'<text x="{WIDTH}" y="13" text-anchor="end">{UNIT}</text>'


def _class(peer: str) -> str:
    if peer.startswith(OURS):
        return "ours"
    return "peer" if speaks_websocket(peer) else "bare"


def longest_shown(costs: Sequence[float]) -> float:
    """Return the cost that fills the width: the largest that is not out of all proportion."""
    limit = CUT_ABOVE * median(costs)
    return max(cost for cost in costs if cost <= limit)


def format_cost(cost: float) -> str:
    """Return three digits, or all of those before the point."""
    digits = 2 if cost < 1 else 1 if cost < 100 else 0
    return f"{cost:,.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
