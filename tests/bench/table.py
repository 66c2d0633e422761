"""Write a run as a table.

`python -m tests.bench.table FILE.json docs/explanation/performance-table.rst`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.bench.plot import format_cost
from tests.bench.results import Circumstances, Run, read_run
from tests.bench.rows import ROWS, Kind
from tests.bench.servers import SERVERS, speaks_websocket

NOT_MEASURED: Final = "–"
# Its peers are other ones: libraries, and not servers.
IMPORT: Final = "import"


def main(words: Sequence[str] | None = None) -> int:
    """Write what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.table", description=__doc__)
    parser.add_argument("run", type=Path, metavar="FILE.json", help="what --json wrote")
    parser.add_argument("page", type=Path, metavar="FILE.rst")
    arguments = parser.parse_args(words)
    arguments.page.write_text("\n".join(write_table(read_run(arguments.run))) + "\n")
    return 0


def write_table(run: Run) -> Iterator[str]:
    """Yield the lines of the page: what ran, servers by rows, and imports."""
    yield ".. Written by tests.bench.table: do not edit."
    yield ""
    yield from _paragraph(run.circumstances)
    yield ""
    rows = [name for name, row in ROWS.items() if name in run.rows and row.kind is not Kind.IMPORT]
    yield from _list_table(
        ["", *rows],
        [
            [_shown(peer), *(_cell(run.cost(row, peer)) for row in rows)]
            for peer in SERVERS
            if any(run.cost(row, peer) is not None for row in rows)
        ],
    )
    if IMPORT in run.rows:
        yield ""
        yield f"Milliseconds of CPU time of {Kind.IMPORT.value}:"
        yield ""
        yield from _list_table(
            [outcome.peer for outcome in run.rows[IMPORT]],
            [[_cell(run.cost(IMPORT, outcome.peer)) for outcome in run.rows[IMPORT]]],
        )


def _paragraph(circumstances: Circumstances) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in circumstances.versions.items())
    yield (
        f"{circumstances.date[:10]}, {circumstances.processor}, {circumstances.cores} cores, "
        f"{circumstances.kernel}, {circumstances.python}; {versions}."
    )
    yield f"The core of anyws: {circumstances.core_of_anyws}."
    yield f"The best of {circumstances.rounds} rounds of {circumstances.seconds:g} s each."


def _list_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for line in (header, *lines):
        for n, cell in enumerate(line):
            yield f"   {'*' if n == 0 else ' '} - {cell}".rstrip()


def _shown(peer: str) -> str:
    return peer if speaks_websocket(peer) else f"*{peer}*"


def _cell(cost: float | None) -> str:
    return NOT_MEASURED if cost is None else format_cost(cost)


if __name__ == "__main__":
    sys.exit(main())
