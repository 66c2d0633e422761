"""Runs as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.results import Run, read_run, write_run


def test_a_run_survives_its_file(run: Run, tmp_path: Path) -> None:
    write_run(tmp_path / "run.json", run)
    assert read_run(tmp_path / "run.json") == run


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": {}}', '{"rows": []}'])
def test_another_file_is_rejected(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not a file that --json wrote"):
        read_run(path)


def test_cost_is_that_of_the_best_turn(run: Run) -> None:
    assert run.cost("e100", "anyws-trio") == 8.25


@pytest.mark.parametrize(
    ("row", "peer"), [("1M", "bare-trio"), ("e100", "aiohttp"), ("shake", "anyws-trio")]
)
def test_a_peer_that_failed_or_was_not_there_has_no_cost(run: Run, row: str, peer: str) -> None:
    assert run.cost(row, peer) is None
