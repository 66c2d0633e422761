"""`python -m anyws --version`: what is installed, in one line for a bug report."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ._build import describe

__all__ = ["main"]

_DISTRIBUTION = "anyws-structured"
_RUNS_ON = ("anyio", "trio", "uvloop")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m anyws", description=__doc__)
    parser.add_argument("--version", action="store_true", help="print what is installed, and exit")
    if parser.parse_args(arguments).version:
        print(_versions())
        return 0
    parser.print_help(sys.stderr)
    return 2


def _versions() -> str:
    """Return the versions of the package, its build, Python and the event loops."""
    return ", ".join(
        [
            f"{_DISTRIBUTION} {_version_of(_DISTRIBUTION) or '(not installed)'}",
            describe(),
            f"{platform.python_implementation()} {platform.python_version()}",
            *(f"{name} {found}" for name in _RUNS_ON if (found := _version_of(name)) is not None),
        ]
    )


def _version_of(distribution: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
