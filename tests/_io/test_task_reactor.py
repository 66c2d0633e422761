"""Tests of `anyws._io.task_reactor`, and of sockets on it."""

from __future__ import annotations

import ssl

import pytest

from anyws._io.task_reactor import TaskReactor

from .conformance import Check, check_transport, linked, wire_sockets
from .reactor_conformance import ReactorCheck, check_reactor, running

pytestmark = pytest.mark.anyio


@check_reactor
async def test_contract_of_a_reactor_is_kept(check: ReactorCheck) -> None:
    async with running(TaskReactor()) as reactor:
        await check(reactor)


@check_transport
async def test_contract_of_a_transport_is_kept(check: Check) -> None:
    async with linked(TaskReactor(), wire_sockets) as link:
        await check(link)


@check_transport
async def test_contract_of_a_transport_is_kept_under_tls(
    check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with linked(TaskReactor(), wire_sockets, (server_ssl, client_ssl)) as link:
        await check(link)
