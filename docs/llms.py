"""Write the documentation for language models: `llms.txt`, and all pages as plain text.

`python docs/llms.py docs/_build/text docs/_build/html`, once both are built: each page of the first
is copied beside its page in the second; `llms.txt` lists them, as https://llmstxt.org has it, and
`llms-full.txt` has all of them, one after another.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["main"]

DOCS: Final = Path(__file__).parent

_SENTENCE: Final = re.compile(r"(?<=\.) (?=[A-Z\"])")
_SECTIONS: Final = re.compile(r"^(.+)\n=+$", re.MULTILINE)
_ENTRIES: Final = re.compile(r"^\.\. toctree::\n(?:   :.*\n)*\n((?:   [\w/-]+\n)+)", re.MULTILINE)


def main(arguments: Sequence[str]) -> None:
    """Write the files."""
    text, html = map(Path, arguments)
    pages = list(_pages("index"))
    lines: list[str] = []
    whole: list[str] = []
    for name, depth in pages:
        page = (text / f"{name}.txt").read_text(encoding="utf-8")
        title, _, rest = page.partition("\n")
        shutil.copyfile(text / f"{name}.txt", html / f"{name}.txt")
        summary = _summary(rest)
        if name == "index":
            lines += [f"# {title}", "", f"> {summary}", ""]
        elif depth == 1 and name.endswith("/index"):
            lines += ["", f"## {title}", "", summary, ""]
        else:
            lines.append(f"- [{title}]({name}.txt): {summary}")
        whole += [page, "\n"]
    (html / "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (html / "llms-full.txt").write_text("\n".join(whole), encoding="utf-8")
    print(f"llms.txt lists {len(pages)} pages")


def _summary(page: str) -> str:
    """Return the first sentence of a page, or what its sections are called."""
    first = page.strip("*\n ").partition("\n\n")[0]
    if not first.startswith("+") and "\n====" not in first:
        return _SENTENCE.split(" ".join(first.split()), maxsplit=1)[0].rstrip(":")
    return "; ".join(_SECTIONS.findall(page))


def _pages(name: str, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the pages in the order of the table of contents, and how deep in it they are."""
    yield name, depth
    page = DOCS / f"{name}.rst"
    for entries in _ENTRIES.findall(page.read_text(encoding="utf-8")):
        for entry in entries.split():
            inner = (page.parent / entry).relative_to(DOCS).as_posix()
            yield from _pages(inner, depth + 1)


if __name__ == "__main__":
    main(sys.argv[1:])
