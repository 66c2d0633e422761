"""`--version`: what is installed, in one line for a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from .._build import describe

__all__ = ["versions"]

_DISTRIBUTION = "anyws-structured"
_RUNS_ON = ("anyio", "trio", "uvloop")


def versions() -> str:
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
