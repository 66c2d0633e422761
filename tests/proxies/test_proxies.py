"""Through proxies that others wrote to a server of ours, with TLS and without."""

from __future__ import annotations

import ssl as stdlib_ssl
from collections.abc import Callable, Iterator
from typing import Any, cast

import anyio
import pytest
import trustme

from anyws import ConnectionClosedError, ProxyError, connect, serve
from anyws._retry import is_transient
from tests.raw import LIMIT, closed_port
from tests.serving import echo
from tests.test_client import enter

from .programs import DENIED_PORT, PROGRAMS, Program

pytestmark = pytest.mark.anyio

#: One MiB: more than any buffer on the way.
DATA = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def certificate(certificate_authority: trustme.CA) -> trustme.LeafCert:
    return certificate_authority.issue_cert("localhost", "127.0.0.1")


@pytest.fixture(scope="module", params=PROGRAMS)
def proxy(request: pytest.FixtureRequest, certificate: trustme.LeafCert) -> Iterator[Program]:
    """Run a proxy for all tests of this module."""
    with request.param.running(certificate) as program:
        yield program


def those_that(can: Callable[[type[Program]], bool]) -> pytest.MarkDecorator:
    """Run a test with some of the proxies."""
    # Of a parameter, the type of its value is not known.
    some = [program for program in PROGRAMS if can(cast(type[Program], program.values[0]))]
    return pytest.mark.parametrize("proxy", some, indirect=True, scope="module")


def options(scheme: str, client_ssl: stdlib_ssl.SSLContext) -> dict[str, Any]:
    return {"proxy_ssl": client_ssl} if scheme == "https" else {}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_messages_go_through(
    proxy: Program,
    secure: bool,
    host: str,
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
) -> None:
    """R-B8: by every scheme that the proxy speaks, and to a clean end."""
    async with serve(echo, "127.0.0.1", ssl=server_ssl if secure else None) as server:
        for scheme in proxy.schemes:
            with anyio.fail_after(LIMIT):
                async with connect(
                    f"{'wss' if secure else 'ws'}://{host}:{server.port}/",
                    ssl=client_ssl if secure else None,
                    proxy=proxy.uri(scheme),
                    **options(scheme, client_ssl),
                ) as ws:
                    assert ws.remote_address == ("127.0.0.1", proxy.ports[scheme])
                    for message in ("hello", DATA):
                        await ws.send(message)
                        assert await ws.receive() == message
            assert ws.close_code == 1000


@those_that(lambda kind: kind.wants_password)
async def test_a_wrong_password_is_refused(
    proxy: Program, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B8"""
    for scheme in proxy.schemes:
        uri = proxy.uri(scheme, password="hidden")
        with anyio.fail_after(LIMIT), pytest.raises(ProxyError) as caught:
            await enter(connect("ws://127.0.0.1:1/", proxy=uri, **options(scheme, client_ssl)))
        assert caught.value.step == "authentication"
        assert caught.value.proxy == f"{scheme}://127.0.0.1:{proxy.ports[scheme]}"
        assert "hidden" not in str(caught.value)
        assert not is_transient(caught.value)


@those_that(lambda kind: kind.wants_password)
async def test_a_password_that_is_wanted_and_not_given_is_asked_for(proxy: Program) -> None:
    """R-B8"""
    scheme = proxy.schemes[0]
    uri = f"{scheme}://127.0.0.1:{proxy.ports[scheme]}"
    with anyio.fail_after(LIMIT):
        with pytest.raises(ProxyError, match="asks for a user name and a password") as caught:
            await enter(connect("ws://127.0.0.1:1/", proxy=uri))
    assert caught.value.step == "authentication"


async def test_a_server_that_refuses_is_told_from_the_proxy(
    proxy: Program, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B8"""
    for scheme in proxy.schemes:
        with closed_port() as port:
            message = f"the proxy could not reach 127.0.0.1:{port}"
            with anyio.fail_after(LIMIT), pytest.raises(ProxyError, match=message) as caught:
                await enter(
                    connect(
                        f"ws://127.0.0.1:{port}/",
                        proxy=proxy.uri(scheme),
                        **options(scheme, client_ssl),
                    )
                )
        answer = caught.value.response
        code = caught.value.socks_reply if answer is None else answer.status_code
        assert code == (91 if scheme.startswith("socks4") else proxy.unreachable)
        assert is_transient(caught.value)


@those_that(lambda kind: kind.denied is not None)
async def test_a_server_that_is_forbidden_is_refused(proxy: Program) -> None:
    """R-B8"""
    message = f"the proxy refuses to connect to 127.0.0.1:{DENIED_PORT}"
    with anyio.fail_after(LIMIT), pytest.raises(ProxyError, match=message) as caught:
        await enter(connect(f"ws://127.0.0.1:{DENIED_PORT}/", proxy=proxy.uri(proxy.schemes[0])))
    answer = caught.value.response
    assert proxy.denied == (caught.value.socks_reply if answer is None else answer.status_code)
    assert not is_transient(caught.value)


async def test_a_silent_proxy_ends_in_a_timeout(
    proxy: Program, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B8: within the deadline, and with the step."""
    for scheme in proxy.schemes:
        step = {"http": "CONNECT", "https": "the TLS handshake with proxy"}.get(scheme, "SOCKS")
        message = f"{step} .*{scheme}://127.0.0.1:{proxy.ports[scheme]} took too long"
        connecting = connect(
            "ws://127.0.0.1:1/",
            proxy=proxy.uri(scheme),
            open_timeout=0.3,
            **options(scheme, client_ssl),
        )
        with (
            proxy.stopped(),
            anyio.fail_after(LIMIT),
            pytest.raises(TimeoutError, match=message),
        ):
            await enter(connecting)


@pytest.mark.parametrize("kind", PROGRAMS)
async def test_a_proxy_that_dies_ends_the_connection(
    kind: type[Program], certificate: trustme.LeafCert
) -> None:
    with anyio.fail_after(3 * LIMIT), kind.running(certificate) as proxy:
        uri = proxy.uri(proxy.schemes[0])
        async with (
            serve(echo, "127.0.0.1") as server,
            connect(server.uri, proxy=uri) as ws,
        ):
            await ws.send("hello")
            assert await ws.receive() == "hello"
            proxy.kill()
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.receive()
    assert caught.value.initiator == "transport"
