"""The picture of a run."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.bench.plot import draw, longest_shown
from tests.bench.results import Run

SVG = "{http://www.w3.org/2000/svg}"


def test_picture_is_well_formed(run: Run) -> None:
    picture = ElementTree.fromstring(draw(run))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert picture.tag == f"{SVG}svg"
    assert texts.count("anyws-trio") == 2
    assert "8.2" in texts
    assert "… 900" in texts  # cut, or the others would be dots
    assert all(float(bar.get("width", "-1")) >= 0 for bar in picture.iter(f"{SVG}rect"))


def test_longest_bar_is_never_out_of_proportion() -> None:
    assert longest_shown([5.0]) == 5
    assert longest_shown([1.0, 2.0, 3.0]) == 3
    assert longest_shown([1.0, 2.0, 100.0]) == 2
