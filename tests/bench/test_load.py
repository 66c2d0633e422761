"""What the load records, and the bytes it sends."""

from __future__ import annotations

import pytest

from tests.bench.clients import CLIENTS
from tests.bench.samples import Latencies
from tests.bench.servers import SERVERS
from tests.bench.wire import (
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY,
    encode_frame,
    encode_response,
    exchange_of,
    exchange_with_client,
    unmask,
)


def test_percentiles_are_of_messages_not_of_readings() -> None:
    latencies = Latencies()
    for value, weight in ((3000, 1), (1000, 98), (2000, 1)):
        latencies.values.append(value)
        latencies.weights.append(weight)
    sample = latencies.sample(0)
    assert (sample.count, sample.p50_us, sample.p99_us) == (100, 1, 2)


def test_percentiles_of_nothing_are_zero() -> None:
    assert Latencies().sample(0).p99_us == 0


def test_frames_are_masked_one_way() -> None:
    exchange = exchange_of(1000)
    assert len(exchange.sent) == len(exchange.expected) + 4 == 1008
    assert exchange.sent[8:] != exchange.expected[4:]
    assert exchange_of(1000, websocket=False).expected == exchange.sent
    assert encode_frame(2, b"", masked=False) == b"\x82\x00"


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_echo_of_a_client_is_the_message_masked(size: int) -> None:
    exchange = exchange_with_client(size, websocket=True)
    header, payload = unmask(exchange.expected)
    assert len(header) + len(payload) == len(exchange.sent)
    assert header[1] == exchange.sent[1] | 0x80
    assert payload == exchange.sent[len(header) :]


def test_key_of_the_client_is_answered() -> None:
    response = encode_response(SEC_WEBSOCKET_KEY)
    assert response.endswith(b"Sec-WebSocket-Accept: " + SEC_WEBSOCKET_ACCEPT + b"\r\n\r\n")


def test_every_peer_has_both_sides() -> None:
    assert list(CLIENTS) == list(SERVERS)
