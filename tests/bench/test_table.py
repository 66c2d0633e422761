"""The table of a run in the documentation."""

from __future__ import annotations

from tests.bench.results import Run
from tests.bench.table import write_table


def test_cells_are_the_best_costs_by_row_and_peer(run: Run) -> None:
    servers, imports = "\n".join(write_table(run)).split("Milliseconds")
    assert _cells(servers) == [
        ["", "e100", "1M"],
        ["anyws-trio", "8.2", "1,500"],
        ["trio-websocket", "900", "–"],
        ["*bare-trio*", "8.0", "–"],
    ]
    assert _cells(imports) == [["anyws"], ["35.0"]]


def _cells(text: str) -> list[list[str]]:
    """Take the list-table at the end of the text apart."""
    _, *rows = text.split("\n   * -")
    return [[cell.strip() for cell in row.split("\n     -")] for row in rows]
