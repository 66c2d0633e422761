"""What `held` computes, apart from measuring."""

from __future__ import annotations

import zlib

import pytest

from tests.bench.held import COLUMNS, line, middle
from tests.bench.held_ends import KINDS, Held, compression_of, make_message


def test_delays_are_the_medians_of_the_rounds() -> None:
    rounds = [{column: Held(n, 10 * n) for column in COLUMNS} for n in (1, 9, 2)]
    assert list(middle(rounds).values()) == [Held(2, 20)] * len(COLUMNS)


def test_a_delay_above_the_limit_is_marked() -> None:
    delays = {column: Held(10_000_000, 11_000_000) for column in COLUMNS}
    delays[COLUMNS[0]] = Held(10_100_000, 12_000_000)
    assert line("trio", delays).split() == ["trio", "!10.1", "(12.0)", *["10.0", "(11.0)"] * 3]


@pytest.mark.parametrize("kind", KINDS)
def test_message_has_its_size_on_the_wire(kind: str) -> None:
    message = make_message(kind, 1003)
    assert len(message if isinstance(message, bytes) else message.encode()) == 1003


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("deflate-ascii", 0.0, 0.01), ("deflate-json", 0.25, 0.4), ("deflate-noise", 0.85, 0.95)],
)
def test_compressed_kinds_shrink_as_they_are_said_to(kind: str, least: float, most: float) -> None:
    message = make_message(kind, 500_000)
    assert isinstance(message, str)
    assert least < len(zlib.compress(message.encode())) / len(message) < most
    assert compression_of(kind) == "deflate"


@pytest.mark.parametrize("kind", ["binary", "ascii", "unicode"])
def test_other_kinds_go_as_they_are(kind: str) -> None:
    assert compression_of(kind) is None
