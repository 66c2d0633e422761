"""The command, where it measures nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.results import Run, write_run


def test_goals_are_printed_from_files(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run.json", run)
    assert main(["--goals", "--from", str(tmp_path / "run.json")]) == 0
    assert "!1.03 / 0.6" in capsys.readouterr().out


def test_a_file_of_something_else_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert main(["--from", str(tmp_path / "run.json")]) == 2
    assert "is not a file that --json wrote" in capsys.readouterr().err


def test_reading_and_measuring_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--from", "run.json", "--rows", "e1"])
    assert "it excludes --rows" in capsys.readouterr().err
