"""Tests of `anyws._io.bytestream`, and of TLS over it."""

from __future__ import annotations

import ssl

import pytest

from anyws._io.reactors import new_reactor

from .conformance import (
    Check,
    Wiring,
    check_transport,
    linked,
    wire_memory,
    wire_streams,
)

pytestmark = pytest.mark.anyio

over_memory_and_sockets = pytest.mark.parametrize(
    "wire", [wire_memory, wire_streams], ids=["memory", "socket stream"]
)


@over_memory_and_sockets
@check_transport
async def test_contract_of_a_transport_is_kept(wire: Wiring, check: Check) -> None:
    async with linked(new_reactor(), wire) as link:
        await check(link)


@over_memory_and_sockets
@check_transport
async def test_contract_of_a_transport_is_kept_under_tls(
    wire: Wiring, check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire, (server_ssl, client_ssl)) as link:
        await check(link)
