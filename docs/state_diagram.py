"""Draw which frame may follow which, from the table that the protocol goes by.

`python docs/state_diagram.py > docs/_static/states.svg`
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from anyws.sansio import TRANSITIONS, Flow, Step

__all__ = ["draw"]

# Where each state is drawn: its middle.
PLACES: Final = {Flow.OPEN: (150, 150), Flow.IN_MESSAGE: (570, 150), Flow.CLOSED: (360, 330)}

# From one place to another: how the line goes, and where its words are, and on which side of that.
LINES: Final = {
    (Flow.OPEN, Flow.OPEN): ("M 110 122 C 90 52, 210 52, 190 121", 150, 60, "middle"),
    (Flow.IN_MESSAGE, Flow.IN_MESSAGE): ("M 610 122 C 630 52, 510 52, 530 121", 570, 60, "middle"),
    (Flow.OPEN, Flow.IN_MESSAGE): ("M 224 138 C 300 118, 420 118, 496 138", 360, 114, "middle"),
    (Flow.IN_MESSAGE, Flow.OPEN): ("M 496 162 C 420 182, 300 182, 224 162", 360, 196, "middle"),
    (Flow.OPEN, Flow.CLOSED): ("M 170 178 C 190 250, 230 305, 286 320", 185, 272, "end"),
    (Flow.IN_MESSAGE, Flow.CLOSED): ("M 550 178 C 530 250, 490 305, 434 320", 535, 272, "start"),
}

HALF_WIDTH, HALF_HEIGHT = 74, 28
LINE_HEIGHT = 17


def draw() -> str:
    """Return the diagram as SVG, in the colour of the text around it."""
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 28 720 340" role="img"',
            '     aria-label="The states of one direction, and the frames that lead from one'
            ' to another"',
            '     font-family="sans-serif" font-size="14" fill="currentColor"'
            ' stroke="currentColor">',
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8"'
            ' markerHeight="8" orient="auto"><path d="M 0 0 L 10 5 L 0 10 z"/></marker></defs>',
            *_lines(),
            *_states(),
            "</svg>",
            "",
        ]
    )


def _lines() -> Iterator[str]:
    steps: dict[tuple[Flow, Flow], list[Step]] = {}
    for before, following in TRANSITIONS.items():
        for step, after in following.items():
            steps.setdefault((before, after), []).append(step)
    for ends, which in steps.items():
        path, x, y, anchor = LINES[ends]
        yield f'<path d="{path}" fill="none" marker-end="url(#tip)"/>'
        yield f'<text text-anchor="{anchor}" stroke="none">'
        top = y - (len(which) - 1) * LINE_HEIGHT
        for i, step in enumerate(which):
            yield f'<tspan x="{x}" y="{top + i * LINE_HEIGHT}">{escape(step.value)}</tspan>'
        yield "</text>"


def _states() -> Iterator[str]:
    for flow, (x, y) in PLACES.items():
        yield (
            f'<rect x="{x - HALF_WIDTH}" y="{y - HALF_HEIGHT}" width="{2 * HALF_WIDTH}"'
            f' height="{2 * HALF_HEIGHT}" rx="14" fill="none"/>'
        )
        yield (
            f'<text x="{x}" y="{y + 5}" text-anchor="middle" font-weight="bold"'
            f' stroke="none">{escape(flow.value)}</text>'
        )


if __name__ == "__main__":
    print(draw(), end="")
