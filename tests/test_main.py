"""`python -m anyws`."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from anyws import __main__, _build
from anyws.__main__ import main

ROOT = Path(__file__).parent.parent


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own, which has these environment variables besides."""
    return subprocess.run(
        [sys.executable, "-m", "anyws", *arguments],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_version_is_one_line_with_all_that_matters() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"anyws-structured {metadata.version('anyws-structured')}, ")
    assert f", {_build.describe()}, " in line
    assert f"Python {platform.python_version()}, anyio {metadata.version('anyio')}" in line
    assert f", trio {metadata.version('trio')}" in line


def test_version_says_that_the_sources_run() -> None:
    assert ", pure Python, " in run("--version", ANYWS_PURE_PYTHON="1").stdout


@pytest.mark.parametrize("arguments", [[], ["connect"], ["--no-such-option"]])
def test_anything_else_is_answered_with_help(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: python -m anyws [-h] [--version]")


def test_without_arguments_the_whole_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "print what is installed" in capsys.readouterr().err


def test_what_is_not_installed_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(distribution: str) -> str:
        if distribution == "anyio":
            return "4.99"
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(__main__, "version", version)
    assert main(["--version"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("anyws-structured (not installed), ")
    assert re.search(r"Python 3[\w.]+, anyio 4\.99\n$", line)
