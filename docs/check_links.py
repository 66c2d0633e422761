"""Check that the links within the documentation lead to a page, and to a place, that is there.

`python docs/check_links.py docs/_build/html`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken_links", "main"]


class _Page(HTMLParser):
    """Where a page leads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value is None:
                continue
            if name == "id":
                self.places.add(value)
            elif name in {"href", "src"}:
                self.links.append(value)


def broken_links(root: Path) -> tuple[int, list[str]]:
    """Return how many links there are within a tree of HTML, and those that lead nowhere."""
    pages = {
        path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")
    }
    found = [(path, link) for path, page in pages.items() for link in _inner(page)]
    broken = []
    for path, link in found:
        parts = urlsplit(link)
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        page = pages.get(target)
        if not target.exists() or (page is not None and unquote(parts.fragment) not in page.places):
            broken.append(f"{path.relative_to(root.resolve())}: {link}")
    return len(found), broken


def _inner(page: _Page) -> Iterator[str]:
    for link in page.links:
        parts = urlsplit(link)
        # A name without a place in the page is for scripts: "#" is the page itself.
        if not parts.scheme and not parts.netloc:
            yield link


def main(arguments: Sequence[str]) -> int:
    """Check a tree, print what is broken, and return the exit status."""
    (root,) = arguments
    number, broken = broken_links(Path(root))
    print(*broken, sep="\n", end="\n" if broken else "")
    print(f"{number} links, {len(broken)} of them lead nowhere")
    return 1 if broken or not number else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
