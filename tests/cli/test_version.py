"""`--version`."""

from __future__ import annotations

import platform
import re
from importlib import metadata

import pytest

from anyws import _build
from anyws._cli import version
from anyws._cli.version import versions


def test_version_is_one_line_with_all_that_matters() -> None:
    line = versions()
    assert line.startswith(f"anyws-structured {metadata.version('anyws-structured')}, ")
    assert f", {_build.describe()}, " in line
    assert f"Python {platform.python_version()}, anyio {metadata.version('anyio')}" in line
    assert f", trio {metadata.version('trio')}" in line
    assert "\n" not in line


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(distribution: str) -> str:
        if distribution == "anyio":
            return "4.99"
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(version, "version", installed)
    line = versions()
    assert line.startswith("anyws-structured (not installed), ")
    assert re.search(r"Python 3[\w.]+, anyio 4\.99$", line)
