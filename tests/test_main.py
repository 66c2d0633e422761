"""`python -m anyws`: that the program is found, and that nobody pays for it who does not run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_module_is_a_program() -> None:
    done = run("-m", "anyws", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("anyws-structured ")


def test_exit_status_is_that_of_the_program() -> None:
    done = run("-m", "anyws")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m anyws [-h] [--version]")


def test_package_loads_nothing_of_it() -> None:
    program = (
        "import anyws, anyws.testing, sys; "
        "print([name for name in sys.modules if name.startswith('anyws._cli.')])"
    )
    assert run("-c", program).stdout == "[]\n"
