"""Each piece of Python in docs/ and in a docstring runs."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import anyws
import anyws.sansio
import anyws.testing

from .loops import LOOPS
from .snippets import Snippet, run_snippet, snippets

DOCS = Path(__file__).parents[1] / "docs"

PIECES = [
    snippet
    for page in sorted(DOCS.rglob("*.rst"))
    for snippet in snippets(page, str(page.relative_to(DOCS)))
]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("snippet", PIECES, ids=lambda snippet: snippet.name)
def test_piece_of_the_documentation_runs(
    snippet: Snippet, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_snippet(snippet, LOOPS[loop])


DOCSTRINGS = [
    example
    for module in (anyws, anyws.sansio, anyws.testing)
    for name in module.__all__
    # Not all of them are functions or classes, which alone have docstrings of their own.
    if callable(value := getattr(module, name))
    for example in doctest.DocTestFinder(exclude_empty=True).find(
        value, name, module=False, globs=vars(module)
    )
    if example.examples and "._" not in example.name
]


@pytest.mark.parametrize("example", DOCSTRINGS, ids=lambda example: example.name)
def test_example_in_a_docstring_is_right(example: doctest.DocTest) -> None:
    doctest.DebugRunner().run(example)


# The checks themselves


PAGE = """\
Title

.. before:
   x = 1

.. code-block:: python
   :caption: y.py

   y = x

   assert y == 1

Text

.. code-block:: python

   z = 2

.. after:
   assert z == 2

.. code-block:: sh

   ls
"""


def test_pieces_are_found_with_what_comes_before_and_after(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(PAGE)
    assert list(snippets(page, "page")) == [
        Snippet("page:6", "y = x\n\nassert y == 1\n", before="x = 1\n"),
        Snippet("page:15", "z = 2\n", after="assert z == 2\n"),
    ]


@pytest.mark.parametrize("code", ["assert 1 == 2", "await ws.ping()\nassert 1 == 2"])
def test_piece_that_fails_is_found(code: str) -> None:
    with pytest.raises(AssertionError):
        run_snippet(Snippet("page:1", code), LOOPS["trio"])


def test_tests_among_the_pieces_are_run() -> None:
    code = "async def test_it():\n    raise ZeroDivisionError\n"
    with pytest.raises(ZeroDivisionError):
        run_snippet(Snippet("page:1", code), LOOPS["asyncio"])
