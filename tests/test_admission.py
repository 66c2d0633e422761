"""Who gets in: the counting of those who come and those who are in, and what they are told."""

from __future__ import annotations

from typing import Any

import pytest

from anyws import Headers, Request, ServerConnection
from anyws._admission import Admission, Arrival, Limits
from anyws.testing import connection_pair


def asked(path: str = "/", method: str = "GET") -> Request:
    return Request(path, Headers({"Host": "localhost"}), method)


def admission(*inside: ServerConnection, **limits: Any) -> Admission:
    return Admission(Limits(**limits), inside)


# Settings


@pytest.mark.parametrize(
    "name", ["max_connections", "max_pending_handshakes", "max_connections_per_address"]
)
def test_a_limit_is_a_whole_number_from_1_on_or_none(name: str) -> None:
    admission(**{name: None})
    admission(**{name: 1})
    with pytest.raises(ValueError, match=f"{name} is 0"):
        admission(**{name: 0})
    with pytest.raises(TypeError, match=name):
        admission(**{name: 1.5})


def test_health_is_a_path() -> None:
    with pytest.raises(ValueError, match="health is 'healthz', expected a path"):
        Limits(health="healthz")


# Requests


def test_everybody_is_let_in_by_default() -> None:
    assert admission().greet(asked()) is None
    assert admission().refusal_if_full() is None


@pytest.mark.anyio
async def test_nobody_is_let_in_who_would_be_one_too_many() -> None:
    async with connection_pair() as (_, ws):
        full = admission(ws, max_connections=1, health="/healthz")
        for refusal in (full.greet(asked()), full.refusal_if_full()):
            assert refusal is not None
            assert refusal.status_code == 503
            assert refusal.body == b"the server is full: it takes 1 connections\n"
        health = full.greet(asked("/healthz"))
        assert health is not None
        assert health.status_code == 200
        assert admission(ws, max_connections=2).greet(asked()) is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/healthz", "/healthz?a=b", "http://localhost/healthz"])
def test_health_is_told(path: str, method: str) -> None:
    # R-B6b
    door = admission(health="/healthz")
    response = door.greet(asked(path, method))
    assert response is not None
    assert (response.status_code, response.body) == (200, b"ok\n")
    assert response.headers["Cache-Control"] == "no-store"
    door.is_stopping = True
    response = door.greet(asked(path, method))
    assert response is not None
    assert (response.status_code, response.body) == (503, b"draining\n")


@pytest.mark.parametrize("path", ["/", "/healthz/", "/healthz/a", "//healthz", "/a?/healthz"])
def test_other_paths_are_not_the_health_check(path: str) -> None:
    door = admission(health="/healthz")
    assert door.greet(asked(path)) is None
    door.is_stopping = True
    refusal = door.greet(asked(path))
    assert refusal is not None
    assert (refusal.status_code, refusal.body) == (503, b"the server is stopping\n")


def test_health_is_for_reading() -> None:
    # RFC 9110 §15.5.6
    response = admission(health="/healthz").greet(asked("/healthz", "POST"))
    assert response is not None
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")


# Arrivals


def test_it_is_crowded_when_as_many_have_come_as_may() -> None:
    door = admission(max_pending_handshakes=2)
    assert not door.is_crowded()
    first = door.arrive(1.0, ("192.0.2.1", 1))
    assert not door.is_crowded()
    second = door.arrive(2.0, ("192.0.2.1", 2))
    assert door.is_crowded()
    assert door.oldest() is first
    door.depart(first)
    assert not door.is_crowded()
    assert door.oldest() is second


def test_it_is_never_crowded_without_a_limit() -> None:
    door = admission(max_pending_handshakes=None)
    for number in range(2000):
        door.arrive(0.0, ("192.0.2.1", number))
    assert not door.is_crowded()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(("192.0.2.1", 1), ("192.0.2.1", 2), True, id="IPv4"),
        pytest.param(("192.0.2.1", 1), ("192.0.2.2", 1), False, id="two of IPv4"),
        pytest.param(
            ("2001:db8::1", 1, 0, 0), ("2001:db8::ffff:1", 2, 0, 0), True, id="one /64 of IPv6"
        ),
        pytest.param(
            ("2001:db8::1", 1, 0, 0), ("2001:db8:0:1::1", 1, 0, 0), False, id="two /64 of IPv6"
        ),
        pytest.param(("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.1", 2), True, id="mapped"),
        pytest.param(
            ("::ffff:192.0.2.1", 1, 0, 0), ("::ffff:192.0.2.2", 1, 0, 0), False, id="two mapped"
        ),
        pytest.param(("fe80::1%eth0", 1, 0, 2), ("fe80::2", 1, 0, 2), True, id="with a zone"),
    ],
)
def test_those_from_one_address_are_counted_together(one: Any, other: Any, same: bool) -> None:
    door = admission(max_connections_per_address=1)
    assert door.objection(door.arrive(0.0, one)) is None
    second = door.arrive(0.0, other)
    expected = "there are 1 connections from this address, which is the limit"
    assert door.objection(second) == (expected if same else None)
    door.depart(second)
    assert door.objection(door.arrive(0.0, ("198.51.100.1", 1))) is None


@pytest.mark.parametrize("address", ["", b"\0name", "/run/socket", None])
def test_those_without_an_address_are_not_counted(address: Any) -> None:
    # Unix sockets, and those who are gone before they are asked.
    door = admission(max_connections_per_address=1)
    for _ in range(3):
        assert door.objection(door.arrive(0.0, address)) is None


@pytest.mark.anyio
async def test_counts_go_back_to_nothing() -> None:
    """Whoever comes and goes, by whatever way: nothing is kept of an address."""
    door = admission(max_connections_per_address=2)
    async with connection_pair() as (_, ws):
        in_, gone = (door.arrive(0.0, ("192.0.2.1", port)) for port in (1, 2))
        unwanted = door.arrive(0.0, ("192.0.2.1", 3))
        assert door.objection(unwanted) is not None
        door.depart(unwanted)
        door.enter(in_, ws)
        door.depart(gone)
        assert door.arrivals == {}
        second = door.arrive(0.0, ("192.0.2.1", 4))
        assert door.objection(second) is None
        third = door.arrive(0.0, ("192.0.2.1", 5))
        assert door.objection(third) is not None
        door.leave(ws)
        assert door.objection(third) is None
        door.depart(second)
        door.depart(third)
        door.leave(ws)  # of whom nothing is known any more
    assert (door.arrivals, door._counts, door._addresses) == ({}, {}, {})


@pytest.mark.anyio
async def test_nothing_is_counted_where_nobody_asked_for_it() -> None:
    door = admission()
    async with connection_pair() as (_, ws):
        arrival = door.arrive(0.0, ("192.0.2.1", 1))
        assert arrival.address is None
        door.enter(arrival, ws)
        assert (door._counts, door._addresses) == ({}, {})
        door.leave(ws)


def test_an_arrival_has_no_dictionary() -> None:
    assert not hasattr(Arrival(0.0, None), "__dict__")
