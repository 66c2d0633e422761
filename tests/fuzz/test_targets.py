"""What the fuzz targets were given before, they are given again: the inputs of the corpus."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from anyws._build import COMPILED

from ..builds import INSTALLED, load_pure
from . import corpus, frame_targets, guided
from .source import Source
from .targets import SCRIPTS, TARGETS
from .test_builds import Deaf, two_builds
from .transcripts import difference

if COMPILED:
    PURE: Final = load_pure()


def run_all(name: str) -> None:
    for data in corpus.load(name):
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_gives_only_documented_outcomes(name: str) -> None:
    assert corpus.load(name)
    run_all(name)


@pytest.mark.parametrize("name", TARGETS)
def test_target_takes_an_empty_input(name: str) -> None:
    TARGETS[name].run(b"")


@two_builds
@pytest.mark.parametrize("name", SCRIPTS)
def test_both_builds_do_alike_with_the_corpus(name: str) -> None:
    for data in corpus.load(name):
        assert difference(SCRIPTS[name](data), (INSTALLED, PURE)) is None


def test_corpus_finds_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_targets, "Protocol", Deaf)
    with pytest.raises(AssertionError):
        run_all("frames")


def test_corpus_has_no_file_without_a_target() -> None:
    assert {path.name for path in corpus.CORPUS.iterdir()} == {f"{name}.txt" for name in TARGETS}


def test_corpus_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path / "corpus")
    assert corpus.load("frames") == []
    assert corpus.save("frames", [b"\r\n'\"\\\xff", b"", b"a", b"a"]) == 3
    assert corpus.load("frames") == [b"", b"a", b"\r\n'\"\\\xff"]


def test_source_gives_the_first_choice_behind_its_end() -> None:
    source = Source(b"\x05\x02abc")
    assert source.choice("pqr") == "r"
    assert source.some(at_most=10) == b"ab"
    assert source
    assert source.rest() == b"c"
    assert not source
    assert (source.flag(), source.choice("pqr"), source.some(at_most=10)) == (False, "p", b"")
    assert (source.fractions(), source.rest()) == ([], b"")


def test_program_knows_its_targets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        guided.main(["none"])
    assert "targets are frames, calls, request" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is installed")
def test_program_needs_atheris(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        guided.main(["uri"])
    assert "it needs atheris" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_program_fuzzes_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert guided.main(["retry", "--seconds", "1"]) == 0
    heading, figures, total = capsys.readouterr().out.splitlines()
    assert heading.split() == ["target", "executions", "CPU", "s", "corpus", "edges"]
    name, *numbers = figures.split()
    assert name == "retry"
    assert all(int(number) > 0 for number in numbers)
    assert total.endswith(" CPU seconds in all")
