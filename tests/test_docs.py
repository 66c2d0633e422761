"""The documentation names what is there, and all of it."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import anyws
import anyws.sansio
import anyws.testing

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_DOCUMENTED = re.compile(r"^\.\. (?:auto\w+|data):: (\w+)$", re.MULTILINE)
_CURRENT_MODULE = re.compile(r"^\.\. currentmodule:: ([\w.]+)$", re.MULTILINE)
_IN_MATRIX = re.compile(r"``([\w/]+\.py)``")
_IN_GUARANTEES = re.compile(r"``([\w/]+\.py)::(\w+)``")
_ROLE = re.compile(r":(?:func|class|meth|attr|exc|data|mod):`~?([\w.]+)`")


def test_every_public_name_is_in_the_reference() -> None:
    documented = {
        f"{module}.{name}"
        for page in DOCS.rglob("*.rst")
        for module, part in _modules(page.read_text())
        for name in _DOCUMENTED.findall(part)
    }
    modules = (anyws, anyws.sansio, anyws.testing)
    assert documented == {
        f"{module.__name__}.{name}" for module in modules for name in module.__all__
    }


def _modules(page: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a page, each with the module that its names are looked up in."""
    _, *parts = _CURRENT_MODULE.split(page)
    yield from zip(parts[::2], parts[1::2], strict=True)


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here"><a href="b/c.html#there"><a href="b/c.html#nowhere">'
        '<a href="https://example.org/"><img src="none.png">'
    )
    (tmp_path / "b" / "c.html").write_text('<p id="there"><a href="../a.html"><a href="a.html">')
    broken_links = runpy.run_path(str(DOCS / "check_links.py"))["broken_links"]
    number, broken = broken_links(tmp_path)
    assert number == 6
    assert sorted(broken) == [
        "a.html: b/c.html#nowhere",
        "a.html: none.png",
        str(Path("b", "c.html")) + ": a.html",
    ]


def test_state_diagram_is_drawn_from_the_table() -> None:
    draw = runpy.run_path(str(DOCS / "state_diagram.py"))["draw"]
    assert (DOCS / "_static" / "states.svg").read_text() == draw()


@pytest.mark.parametrize(
    "path", sorted(set(_IN_MATRIX.findall((DOCS / "explanation" / "rfc-matrix.rst").read_text())))
)
def test_file_in_the_rfc_matrix_exists(path: str) -> None:
    place = ROOT / ("tests" if Path(path).name.startswith("test_") else "anyws")
    assert (place / path).is_file()


@pytest.mark.parametrize(
    ("path", "name"),
    sorted(set(_IN_GUARANTEES.findall((DOCS / "explanation" / "guarantees.rst").read_text()))),
)
def test_test_of_a_guarantee_exists(path: str, name: str) -> None:
    tests = (ROOT / "tests" / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", tests, re.MULTILINE)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.rst")), ids=lambda page: page.stem)
def test_names_that_a_page_links_to_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    module = re.search(r"^\.\. currentmodule:: ([\w.]+)$", text, re.MULTILINE)
    home = module[1] if module else "anyws"
    missing = [name for name in _ROLE.findall(text) if not _exists(name, home)]
    assert missing == []


def _exists(name: str, home: str) -> bool:
    for module in (home, "", "builtins"):
        thing: Any = None
        parts = f"{module}.{name}".strip(".").split(".")
        for i, part in enumerate(parts):
            try:
                thing = importlib.import_module(".".join(parts[: i + 1]))
            except ImportError:
                if hasattr(thing, part):
                    thing = getattr(thing, part)
                # Some attributes are only told of in the docstring of their class.
                elif not re.search(rf"\b{part}: ", inspect.getdoc(thing) or ""):
                    break
        else:
            return True
    return False
