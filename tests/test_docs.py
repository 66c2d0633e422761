"""The documentation names what is there, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import anyws

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_DOCUMENTED = re.compile(r"^\.\. auto\w+:: (\w+)$", re.MULTILINE)
_IN_MATRIX = re.compile(r"``([\w/]+\.py)``")


def test_every_public_name_is_in_the_reference() -> None:
    documented = {
        name for page in DOCS.glob("*.rst") for name in _DOCUMENTED.findall(page.read_text())
    }
    assert documented == set(anyws.__all__)


@pytest.mark.parametrize(
    "path", sorted(set(_IN_MATRIX.findall((DOCS / "rfc-matrix.rst").read_text())))
)
def test_file_in_the_rfc_matrix_exists(path: str) -> None:
    place = ROOT / ("tests" if Path(path).name.startswith("test_") else "anyws")
    assert (place / path).is_file()
