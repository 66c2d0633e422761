"""What passes through nginx and HAProxy, configured as docs/howto/deploying.rst says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint

from anyws import (
    ClientConnection,
    HandshakeRejected,
    Request,
    Response,
    Server,
    ServerConnection,
    connect,
    serve,
)
from anyws._options import ConnectionKeywords

from ..raw import LIMIT
from ..serving import connections
from .programs import FRONT_ENDS, FrontEnd, HAProxy

pytestmark = pytest.mark.anyio

# Seconds after which a front end cuts a connection on which nothing is said, and between the Pings
# of one on which nothing else is: it may come late, on a busy machine.
_IDLE = 2
_PING_INTERVAL = 0.4

# So many that each server would get some.
_VISITS = 10


@dataclass(slots=True)
class Site:
    """Two servers, and a front end through which they are reached.

    Attributes:
        ends: code and reason of each connection that has ended, as its server knows them.
    """

    front_end: FrontEnd
    one: Server
    two: Server
    host: str
    ssl: ssl.SSLContext
    ends: list[tuple[int | None, str | None]] = field(default_factory=list)

    def connect(
        self, path: str = "/", *, origin: str | None = None, **options: Unpack[ConnectionKeywords]
    ) -> AbstractAsyncContextManager[ClientConnection]:
        """Connect as a page of the site would, or one of another origin."""
        uri = f"wss://{self.host}{path}"
        origin = origin or f"https://{self.host}"
        return connect(uri, ssl=self.ssl, origin=origin, **options)


OpenSite = Callable[..., AbstractAsyncContextManager[Site]]


def server_of(ws: ClientConnection) -> str:
    """Return which server it is that the front end has chosen."""
    assert ws.response is not None
    return ws.response.headers["Which"]


async def check(ws: ClientConnection) -> None:
    """See that the connection works."""
    await ws.send("hello")
    assert await ws.receive() == "hello"


@asynccontextmanager
async def holding_both(site: Site) -> AsyncIterator[dict[str, ClientConnection]]:
    """Connect to each of the servers: the second one has fewer connections then."""
    async with site.connect() as first, site.connect() as second:
        held = {server_of(each): each for each in (first, second)}
        assert held.keys() == {"one", "two"}
        yield held


async def visit(site: Site, expected: str) -> None:
    """Connect again and again, and meet one server only."""
    for _ in range(_VISITS):
        async with site.connect() as ws:
            assert server_of(ws) == expected
            await check(ws)


def tell_which(
    which: str, _connection: ServerConnection, _request: Request, response: Response
) -> None:
    response.headers["Which"] = which


@pytest.fixture(params=["tcp", "unix"])
def addresses(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], ...]:
    """Return where the two servers listen."""
    if request.param == "tcp":
        return {"host": "127.0.0.1"}, {"host": "127.0.0.1"}
    return {"path": tmp_path / "one"}, {"path": tmp_path / "two"}


@pytest.fixture
def open_site(
    tmp_path: Path,
    addresses: tuple[dict[str, Any], ...],
    certificate_authority: trustme.CA,
    client_ssl: ssl.SSLContext,
) -> OpenSite:
    """Return a function of a front end's class, which opens a site of two servers behind it."""

    @asynccontextmanager
    async def open_site(
        kind: type[FrontEnd], *, idle: str | None = None, **options: Any
    ) -> AsyncIterator[Site]:
        ends: list[tuple[int | None, str | None]] = []

        async def handle(ws: ServerConnection) -> None:
            if ws.request.path == "/leave":
                await ws.close(4002, "enough")
            try:
                async for message in ws:
                    await ws.send(message)
                    if message == "leave":
                        break
            finally:
                ends.append((ws.close_code, ws.close_reason))

        front_end = kind(tmp_path, certificate_authority.issue_cert("127.0.0.1"), idle)
        options = {"health": "/healthz", **options}
        with anyio.fail_after(LIMIT):
            async with (
                serve(
                    handle, **addresses[0], process_response=partial(tell_which, "one"), **options
                ) as one,
                serve(
                    handle, **addresses[1], process_response=partial(tell_which, "two"), **options
                ) as two,
            ):
                with front_end.running([one, two]) as port:
                    yield Site(front_end, one, two, f"127.0.0.1:{port}", client_ssl, ends)

    return open_site


@pytest.mark.parametrize("kind", FRONT_ENDS)
async def test_messages_pass_both_ways(open_site: OpenSite, kind: type[FrontEnd]) -> None:
    """TLS ends at the front end, and a page of the host may connect all the same."""
    async with open_site(kind) as site, site.connect() as ws:
        for size in (1, 1 << 16, 1 << 20):
            for message in ("x" * size, bytes(size)):
                await ws.send(message)
                assert await ws.receive() == message


@pytest.mark.parametrize("kind", FRONT_ENDS)
async def test_pages_of_other_hosts_are_refused(open_site: OpenSite, kind: type[FrontEnd]) -> None:
    async with open_site(kind) as site:
        with pytest.raises(HandshakeRejected) as caught:
            async with site.connect(origin="https://example.net"):
                pass
        assert caught.value.response.status_code == 403


@pytest.mark.parametrize("kind", FRONT_ENDS)
async def test_close_codes_pass_both_ways(open_site: OpenSite, kind: type[FrontEnd]) -> None:
    async with open_site(kind) as site:
        async with site.connect() as ws:
            await ws.close(4001, "goodbye")
        async with site.connect("/leave") as ws:
            await ws.wait_closed()
            assert (ws.close_code, ws.close_reason) == (4002, "enough")
        await connections(site.one, 0)
        await connections(site.two, 0)
        assert (4001, "goodbye") in site.ends
        async with site.connect() as ws:
            server = site.one if server_of(ws) == "one" else site.two
            await server.shutdown(code=1012)
            await ws.wait_closed()
            assert ws.close_code == 1012


@pytest.mark.parametrize("addresses", ["tcp"], indirect=True)  # it is the same with both
@pytest.mark.parametrize("kind", FRONT_ENDS)
async def test_idle_connections_live_by_keepalive(
    open_site: OpenSite, kind: type[FrontEnd]
) -> None:
    """Longer than the front end leaves one alone on which nothing is said."""
    async with (
        open_site(kind, idle=f"{_IDLE}s", ping_interval=None) as site,
        site.connect(ping_interval=_PING_INTERVAL) as kept,
        site.connect(ping_interval=None) as idle,
    ):
        await idle.wait_closed()  # for which time nothing else was said on the other one
        assert idle.close_code == 1006
        await check(kept)


@pytest.mark.parametrize("kind", FRONT_ENDS)
async def test_a_server_that_drains_keeps_its_connections_and_gets_no_others(
    open_site: OpenSite, kind: type[FrontEnd]
) -> None:
    """No client sees an error: neither while the server refuses, nor when it is gone."""
    async with open_site(kind) as site, holding_both(site) as held:
        await site.one.drain()
        await visit(site, "two")
        await check(held["one"])
        await held["one"].send("leave")
        await site.one.wait_closed()
        await visit(site, "two")
        await check(held["two"])


@pytest.mark.skipif(HAProxy.find() is None, reason="haproxy is not installed")
async def test_a_health_check_sees_that_a_server_drains(open_site: OpenSite) -> None:
    async with open_site(HAProxy) as site, holding_both(site) as held:
        assert isinstance(site.front_end, HAProxy)
        await until(site.front_end, one="UP", two="UP")
        await site.one.drain()
        await until(site.front_end, one="DOWN", two="UP")
        await visit(site, "two")
        await check(held["one"])


async def until(front_end: HAProxy, **statuses: str) -> None:
    """Wait until HAProxy thinks so of its servers."""
    while (await front_end.statuses()).items() & statuses.items() != statuses.items():
        await checkpoint()
