"""The rows, and who takes part in them."""

from __future__ import annotations

import pytest

from tests.bench.measure import Settings, measure_row
from tests.bench.rows import ROWS
from tests.bench.servers import COMPRESSING, FANNING, SERVERS


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("deflate", "connections: 10, 1024 bytes of text a message, in flight on each: 10, with"),
        ("idledeflate", "2000 connections, left alone after the opening handshake, with"),
        ("useddeflate", "2000 connections, left alone after one message each, with"),
    ],
)
def test_compression_is_part_of_the_description(row: str, words: str) -> None:
    assert ROWS[row].describe() == f"{words} permessage-deflate"
    assert "deflate" not in ROWS["txt1k"].describe()


def test_memory_is_counted_in_kib() -> None:
    assert {ROWS[name].unit for name in ("idle", "idledeflate", "useddeflate")} == {"KiB"}


def test_peers_that_cannot_compress_are_left_out() -> None:
    nobody = [name for name in SERVERS if name not in COMPRESSING]
    assert nobody
    assert measure_row(ROWS["deflate"], nobody, Settings(1, 0.1, 0.1, 0)) == []


def test_peers_that_cannot_send_to_all_are_left_out() -> None:
    nobody = [name for name in SERVERS if name not in FANNING]
    assert nobody
    assert measure_row(ROWS["fan"], nobody, Settings(1, 0.1, 0.1, 0)) == []


def test_row_of_broadcasts_counts_deliveries() -> None:
    words = (
        "deliveries to 1000 connections of what one of them sends, 256 bytes of binary a message"
    )
    assert ROWS["fan"].describe() == words


def test_those_that_compress_or_send_to_all_are_servers() -> None:
    assert set(SERVERS) >= COMPRESSING | FANNING
