"""Tests of `anyws._io.asyncio_transport`, on asyncio and uvloop, and of sockets on it."""

from __future__ import annotations

import ssl

import pytest

from anyws._io.asyncio_transport import AsyncioReactor

from ..conftest import UVLOOP_MISSING
from .conformance import Check, check_transport, linked, wire_sockets

pytestmark = pytest.mark.anyio


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="asyncio"),
        pytest.param(
            True,
            id="uvloop",
            marks=pytest.mark.skipif(UVLOOP_MISSING, reason="uvloop is not installed"),
        ),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run the tests of this module on asyncio and uvloop only."""
    return "asyncio", {"use_uvloop": request.param}


@check_transport
async def test_contract_is_kept(check: Check) -> None:
    async with linked(AsyncioReactor(), wire_sockets) as link:
        await check(link)


@check_transport
async def test_contract_is_kept_under_tls(
    check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with linked(AsyncioReactor(), wire_sockets, (server_ssl, client_ssl)) as link:
        await check(link)
