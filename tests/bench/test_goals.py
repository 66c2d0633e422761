"""The table of goals, and how it is compared with runs."""

from __future__ import annotations

import pytest

from tests.bench.goals import (
    AGREED_LIMIT_KIB,
    GOALS,
    IMPORT_LIMIT_MS,
    Goal,
    parse_goals,
    peers_needed,
    reached,
    render_goals,
    rows_needed,
)
from tests.bench.measure import Outcome, Turn
from tests.bench.results import Run, circumstances_now
from tests.bench.rows import ROWS
from tests.bench.servers import SERVERS

PICOWS = Goal("e1", "anyws-asyncio", "picows-asyncio", 1.0)


def run_with(**costs: dict[str, float]) -> Run:
    """Return a run with these costs, by row and peer."""
    rows = {
        row: [Outcome(peer, [Turn(cost), Turn(cost + 1)]) for peer, cost in by_peer.items()]
        for row, by_peer in costs.items()
    }
    return Run(circumstances_now(2, 0.1), rows)


def test_rows_and_peers_of_the_table_exist() -> None:
    assert set(rows_needed()) <= set(ROWS)
    assert set(peers_needed()) <= set(SERVERS)


def test_cells_become_a_goal_for_each_loop() -> None:
    table = "against e1 pipe\nbare-trio 1.1 -\npicows 1.0 0.2"
    assert parse_goals(table) == [
        Goal("e1", "anyws-trio", "bare-trio", 1.1),
        PICOWS,
        Goal("e1", "anyws-uvloop", "picows-uvloop", 1.0),
        Goal("pipe", "anyws-asyncio", "picows-asyncio", 0.2),
        Goal("pipe", "anyws-uvloop", "picows-uvloop", 0.2),
    ]


@pytest.mark.parametrize(
    "table",
    ["against e1\npicows 1.0 0.2", "against e1 pipe\npicows 1.0", "against e1\nnobody 1.0"],
    ids=["a cell too many", "a cell too few", "an unknown peer"],
)
def test_a_table_that_does_not_fit_is_rejected(table: str) -> None:
    with pytest.raises(ValueError, match=r"zip\(\)|against nobody"):
        parse_goals(table)


def test_ratio_is_of_the_best_turns() -> None:
    run = run_with(e1={"anyws-asyncio": 30, "picows-asyncio": 60})
    assert reached(PICOWS, [run]) == 0.5


def test_ratio_is_never_of_two_runs() -> None:
    assert reached(PICOWS, [run_with(e1={"anyws-asyncio": 30})]) is None
    ours, theirs = run_with(e1={"anyws-asyncio": 30}), run_with(e1={"picows-asyncio": 60})
    assert reached(PICOWS, [ours, theirs]) is None


def test_last_run_that_has_both_sides_counts() -> None:
    first = run_with(e1={"anyws-asyncio": 30, "picows-asyncio": 60})
    second = run_with(e1={"anyws-asyncio": 45, "picows-asyncio": 60})
    third = run_with(e1={"anyws-asyncio": 99})
    assert reached(PICOWS, [first, second, third]) == 0.75


def test_missed_goals_are_marked() -> None:
    run = run_with(
        e1={"anyws-asyncio": 1.004, "picows-asyncio": 1, "anyws-uvloop": 1, "picows-uvloop": 1},
        **{"import": {"anyws": IMPORT_LIMIT_MS}},
    )
    text = "\n".join(render_goals([run]))
    assert "!1.004 / 1" in text
    assert " 1.00 / 1" in text
    assert "? / 1.1" in text
    assert f"2 of {len(GOALS) + 4} reached, 1 missed" in text


def test_agreement_to_compress_is_compared_with_plain_connections_of_the_same_run() -> None:
    first = run_with(
        idle={"anyws-trio": 5.0, "anyws-uvloop": 3.0},
        idledeflate={"anyws-trio": 5.5, "anyws-uvloop": 3.1 + AGREED_LIMIT_KIB},
    )
    second = run_with(idledeflate={"anyws-trio": 9.0})
    lines = list(render_goals([first, second]))
    assert "idledeflate of anyws-trio beyond idle, KiB: 0.5 / 1" in lines
    assert "idledeflate of anyws-asyncio beyond idle, KiB: ? / 1" in lines
    assert "idledeflate of anyws-uvloop beyond idle, KiB: !1.1 / 1" in lines
    assert lines[-1].startswith(f"1 of {len(GOALS) + 4} reached, 1 missed")
