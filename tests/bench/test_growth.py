"""What `growth` computes, apart from measuring."""

from __future__ import annotations

import pytest

from tests.bench.growth import render, steps_up_to


@pytest.mark.parametrize(
    ("most", "steps"), [(100, [1, 10, 100]), (50, [1, 10, 50]), (10, [1, 10]), (7, [1, 7])]
)
def test_steps_end_where_they_must(most: int, steps: list[int]) -> None:
    assert steps_up_to(most, (1, 10, 100)) == steps


def test_growth_is_the_largest_divided_by_the_smallest() -> None:
    title, header, figures = render({"bytes": {"anyws-trio": {65536: 2.0, 1 << 20: 3.0}}})
    assert title.startswith("bytes:")
    assert header.split() == ["64", "KiB", "1", "MiB", "max/min"]
    assert figures.split() == ["anyws-trio", "2.00", "3.00", "1.50"]


def test_a_step_that_was_not_reached_is_shown_as_such() -> None:
    figures = {"anyws-trio": {1: 2.0, 10: 3.0}, "bare-trio": {1: 2.0}, "bare-whole": {}}
    *_, first, second = render({"each": figures})
    assert first.split() == ["anyws-trio", "2.00", "3.00", "1.50"]
    assert second.split() == ["bare-trio", "2.00", "?", "1.00"]
