"""Tests of `anyws._io.trio_transport`, and of sockets on it."""

from __future__ import annotations

import ssl

import pytest

from anyws._io.trio_transport import TrioReactor

from .conformance import Check, check_transport, linked, wire_sockets

pytestmark = pytest.mark.trio


@check_transport
async def test_contract_is_kept(check: Check) -> None:
    async with linked(TrioReactor(), wire_sockets) as link:
        await check(link)


@check_transport
async def test_contract_is_kept_under_tls(
    check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with linked(TrioReactor(), wire_sockets, (server_ssl, client_ssl)) as link:
        await check(link)
