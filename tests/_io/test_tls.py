"""Tests of `anyws._io.tls`.

The contract that it shares with the other transports is tested over each of them as the server,
and here as the client.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
import trustme
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from anyws._io.bytestream import ByteStreamTransport
from anyws._io.pull import PullReceiver
from anyws._io.reactors import new_reactor
from anyws._io.socket_transport import SocketTransport
from anyws._io.tls import TLSTransport
from anyws._io.transport import Reactor, Transport
from anyws.testing import MemoryStream, memory_pair

from .conformance import (
    HUGE,
    Check,
    Recorder,
    add_tls,
    check_transport,
    linked,
    settle,
    wire_memory,
    wire_sockets,
)
from .reactor_conformance import running, socket_pair

pytestmark = pytest.mark.anyio

on_both_versions = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"]
)


@pytest.fixture
def server_context(certificate_authority: trustme.CA) -> ssl.SSLContext:
    """Return a context as `server_ssl`, which the test may change."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate_authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def client_context(certificate_authority: trustme.CA) -> ssl.SSLContext:
    """Return a context as `client_ssl`, which the test may change."""
    context = ssl.create_default_context()
    certificate_authority.configure_trust(context)
    return context


class End:
    """One end of two TLS transports that are joined in memory."""

    def __init__(self, transport: TLSTransport) -> None:
        self.transport = transport
        self.recorder = Recorder()

    def start(self) -> None:
        self.transport.start(self.recorder)


@asynccontextmanager
async def unshaken(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, name: str = "localhost"
) -> AsyncIterator[tuple[End, End]]:
    """Give a server and a client over sockets that have not shaken hands."""
    async with running(new_reactor()) as reactor:
        with socket_pair() as (ours, theirs):
            server = End(TLSTransport(SocketTransport(reactor, ours), server_context))
            client = End(TLSTransport(SocketTransport(reactor, theirs), client_context, name))
            yield server, client
            for end in (server, client):
                end.transport.abort()
                assert end.recorder.problems == []


@asynccontextmanager
async def shaken(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> AsyncIterator[tuple[End, End]]:
    """Give a server and a client that are started."""
    async with unshaken(server_context, client_context) as (server, client):
        async with anyio.create_task_group() as shaking:
            shaking.start_soon(server.transport.handshake)
            shaking.start_soon(client.transport.handshake)
        server.start()
        client.start()
        yield server, client


@asynccontextmanager
async def raw(
    context: ssl.SSLContext, name: str | None = None
) -> AsyncIterator[tuple[TLSTransport, MemoryStream]]:
    """Give a transport without its handshake, and the bytes at the other end."""
    async with linked(new_reactor(), wire_memory) as link:
        assert isinstance(link.wire, MemoryStream)
        yield TLSTransport(link.transport, context, name), link.wire


@check_transport
async def test_contract_of_a_transport_is_kept_by_a_client(
    check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    contexts = server_ssl, client_ssl
    async with linked(new_reactor(), wire_sockets, contexts, is_client=True) as link:
        await check(link)


@check_transport
async def test_contract_of_a_transport_is_kept_within_tls(
    check: Check, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    """As through a proxy that speaks TLS."""
    contexts = server_ssl, client_ssl

    async def wire(reactor: Reactor) -> tuple[Transport, ByteStream]:
        return await add_tls(*await wire_sockets(reactor), contexts, is_client=True)

    async with linked(new_reactor(), wire, contexts, is_client=True) as link:
        await check(link)


# The handshake


async def test_inner_transport_may_be_taken_over(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """What came before is given to the handshake: it may be the beginning of it."""
    async with unshaken(server_context, client_context) as (server, client):
        inner = client.transport._inner
        puller = PullReceiver(inner)
        inner.start(puller)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.transport.handshake)
            tasks.start_soon(
                client.transport.handshake, lambda receiver: puller.hand_over(receiver, b"")
            )
        server.start()
        client.start()
        server.transport.write(HUGE)
        await client.recorder.until_bytes(len(HUGE))
        assert client.recorder.data == HUGE


async def test_inner_transport_that_is_gone_when_it_is_taken_over_is_told(
    client_context: ssl.SSLContext,
) -> None:
    async with raw(client_context, "localhost") as (transport, _):
        inner = transport._inner
        puller = PullReceiver(inner)
        inner.start(puller)
        inner.abort()
        with pytest.raises(ConnectionAbortedError):
            await transport.handshake(lambda receiver: puller.hand_over(receiver, b""))


@on_both_versions
async def test_client_and_server_exchange_bytes(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    client_context.minimum_version = client_context.maximum_version = version
    async with shaken(server_context, client_context) as (server, client):
        for one, other in ((server, client), (client, server)):
            one.transport.write(HUGE)
            await other.recorder.until_bytes(len(HUGE))
            assert other.recorder.data == HUGE
        assert (
            client.transport.attributes[TLSAttribute.tls_version]()
            == {
                ssl.TLSVersion.TLSv1_2: "TLSv1.2",
                ssl.TLSVersion.TLSv1_3: "TLSv1.3",
            }[version]
        )


@on_both_versions
async def test_half_close_leaves_reading_open(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    client_context.minimum_version = client_context.maximum_version = version
    async with shaken(server_context, client_context) as (server, client):
        server.transport.write(b"last")
        server.transport.write_eof()
        await client.recorder.until_call("eof")
        assert client.recorder.data == b"last"
        client.transport.write(HUGE)
        client.transport.write_eof()
        await server.recorder.until_call("eof")
        assert server.recorder.data == HUGE
        assert "lost" not in server.recorder.calls + client.recorder.calls


async def test_certificate_of_an_unknown_authority_is_refused(
    server_context: ssl.SSLContext,
) -> None:
    client_context = ssl.create_default_context()
    async with (
        unshaken(server_context, client_context) as (server, client),
        anyio.create_task_group() as shaking,
    ):
        shaking.start_soon(_fails, server.transport, "ALERT_UNKNOWN_CA")
        with pytest.raises(ssl.SSLCertVerificationError, match="local issuer certificate"):
            await client.transport.handshake()


async def test_certificate_for_another_host_is_refused(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with (
        unshaken(server_context, client_context, "example.org") as (server, client),
        anyio.create_task_group() as shaking,
    ):
        shaking.start_soon(_fails, server.transport, "ALERT")
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await client.transport.handshake()


async def test_client_without_the_certificate_that_is_wanted_is_refused(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server_context.verify_mode = ssl.CERT_REQUIRED
    async with unshaken(server_context, client_context) as (server, client):
        async with anyio.create_task_group() as shaking:
            shaking.start_soon(_fails, server.transport, "PEER_DID_NOT_RETURN_A_CERTIFICATE")
            # In TLS 1.3 the client's handshake is over before the server has seen its part.
            await client.transport.handshake()
        client.start()
        await client.recorder.until_call("lost")
        assert client.recorder.calls == ["lost"]
        assert isinstance(client.recorder.lost_by, ssl.SSLError)
        assert "CERTIFICATE_REQUIRED" in str(client.recorder.lost_by)


async def test_certificate_of_the_client_can_be_asked_for(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    certificate_authority: trustme.CA,
) -> None:
    server_context.verify_mode = ssl.CERT_REQUIRED
    certificate_authority.configure_trust(server_context)
    certificate_authority.issue_cert("ada@example.org").configure_cert(client_context)
    async with shaken(server_context, client_context) as (server, client):
        certificate = server.transport.attributes[TLSAttribute.peer_certificate]()
        assert certificate["subjectAltName"] == (("email", "ada@example.org"),)
        binary = server.transport.attributes[TLSAttribute.peer_certificate_binary]()
        assert ssl.DER_cert_to_PEM_cert(binary).startswith("-----BEGIN CERTIFICATE-----")
        name = client.transport.attributes[TLSAttribute.peer_certificate]()["subjectAltName"]
        assert name == (("DNS", "localhost"),)


async def test_application_protocol_is_agreed_on(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    client_context.set_alpn_protocols(["http/1.1"])
    async with shaken(server_context, client_context) as ends:
        for end in ends:
            assert end.transport.attributes[TLSAttribute.alpn_protocol]() == "http/1.1"


async def test_other_attributes_are_known(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    client_context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with shaken(server_context, client_context) as (server, client):
        of_server, of_client = server.transport.attributes, client.transport.attributes
        unique = of_server[TLSAttribute.channel_binding_tls_unique]()
        assert unique == of_client[TLSAttribute.channel_binding_tls_unique]()
        assert of_server[TLSAttribute.server_side]() is True
        assert of_client[TLSAttribute.server_side]() is False
        assert of_server[TLSAttribute.cipher]() in of_server[TLSAttribute.shared_ciphers]()
        assert isinstance(of_client[TLSAttribute.ssl_object](), ssl.SSLObject)


async def test_plaintext_is_refused(server_context: ssl.SSLContext) -> None:
    async with raw(server_context) as (transport, peer):
        await peer.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError, match="HTTP_REQUEST"):
            await transport.handshake()


async def test_plaintext_of_a_server_is_refused(client_context: ssl.SSLContext) -> None:
    async with raw(client_context, "localhost") as (transport, peer):
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError, match=r"WRONG_VERSION_NUMBER|PACKET_LENGTH"):
            await transport.handshake()


@pytest.mark.parametrize("part", [0, 1, 100], ids=lambda part: f"{part} bytes")
async def test_end_within_the_handshake_is_a_connection_reset(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, part: int
) -> None:
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        client_context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="x").do_handshake()
    async with raw(server_context) as (transport, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(_resets, transport, "the peer ended the TLS handshake")
        await settle()
        if part:
            await peer.send(hello.read(part))
        await peer.send_eof()


async def test_reset_within_the_handshake_is_raised(server_context: ssl.SSLContext) -> None:
    async with linked(new_reactor(), wire_sockets) as link:
        transport = TLSTransport(link.transport, server_context)
        await link.reset()
        with pytest.raises(ConnectionResetError):
            await transport.handshake()


async def test_abort_within_the_handshake_is_raised(server_context: ssl.SSLContext) -> None:
    async with raw(server_context) as (transport, _), anyio.create_task_group() as tasks:
        tasks.start_soon(_aborted, transport)
        await settle()
        transport.abort()


async def test_cancelled_handshake_can_be_aborted(server_context: ssl.SSLContext) -> None:
    async with raw(server_context) as (transport, peer):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transport.handshake)
                await settle()
                scope.cancel()
        transport.abort()
        with pytest.raises(anyio.EndOfStream):
            await peer.receive()


async def test_what_came_with_the_handshake_is_pushed_after_the_start(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with raw(server_context) as (transport, wire):
        async with anyio.create_task_group() as shaking:
            shaking.start_soon(transport.handshake)
            peer = await TLSStream.wrap(wire, hostname="localhost", ssl_context=client_context)
            # Nothing has let the server read the client's last part yet.
            await peer.send(b"early")
        recorder = Recorder()
        await settle()
        transport.start(recorder)
        assert recorder.calls == []
        await recorder.until_bytes(5)
        assert recorder.data == b"early"


async def test_nothing_is_pushed_after_an_abort_right_after_the_start(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with raw(server_context) as (transport, wire):
        async with anyio.create_task_group() as shaking:
            shaking.start_soon(transport.handshake)
            peer = await TLSStream.wrap(wire, hostname="localhost", ssl_context=client_context)
            await peer.send(b"early")
        recorder = Recorder()
        transport.start(recorder)
        transport.abort()
        await settle()
        assert recorder.calls == ["lost"]
        assert recorder.problems == []


async def test_writes_before_the_handshake_wait_for_its_end(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with unshaken(server_context, client_context) as (server, client):
        client.transport.set_low_water(1000)
        for _ in range(3):
            client.transport.write(bytes(1000))
            client.transport.flush()
        assert client.transport.unsent >= 3000
        async with anyio.create_task_group() as shaking:
            shaking.start_soon(server.transport.handshake)
            shaking.start_soon(client.transport.handshake)
        client.start()
        server.start()
        await server.recorder.until_bytes(3000)
        assert server.recorder.data == bytes(3000)
        await client.recorder.until_call("drained")
        assert client.transport.unsent == 0


async def test_writes_before_the_handshake_are_no_reason_to_call_drained_if_they_are_small(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with unshaken(server_context, client_context) as (server, client):
        client.transport.write(b"", b"small")
        async with anyio.create_task_group() as shaking:
            shaking.start_soon(server.transport.handshake)
            shaking.start_soon(client.transport.handshake)
        client.start()
        server.start()
        await server.recorder.until_bytes(5)
        await settle()
        assert client.recorder.calls == []


# Records


async def test_writes_of_one_step_share_a_record(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire_memory, (server_context, client_context)) as link:
        link.start()
        for n in range(1, 10):
            link.transport.write(b"%d" % n)
        link.transport.flush()
        await settle()
        received = await link.wire.receive()
    lengths = []
    while received:
        # A type, which is that of application data, a version, a length (RFC 8446 §5.2).
        assert received[0] == 23
        length = int.from_bytes(received[3:5], "big")
        lengths.append(length)
        received = received[5 + length :]
    # Session tickets come first.
    first, second = lengths[-2:]
    assert second - first == 7


async def test_garbage_is_told_by_lost_and_by_an_alert(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire_sockets, (server_context, client_context)) as link:
        link.start()
        await link.peer.send(b"whole")
        await link.wire.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await link.recorder.until_call("lost")
        assert link.recorder.data == b"whole"
        assert link.recorder.calls == ["feed", "lost"]
        assert isinstance(link.recorder.lost_by, ssl.SSLError)
        with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
            await link.peer.receive()


async def test_end_without_a_goodbye_is_an_end_and_then_a_loss(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire_sockets, (server_context, client_context)) as link:
        link.start()
        await link.peer.send(b"last")
        await link.wire.send_eof()
        await link.recorder.until_call("lost")
        assert link.recorder.data == b"last"
        assert link.recorder.calls == ["feed", "eof", "lost"]
        assert isinstance(link.recorder.lost_by, ssl.SSLEOFError)


async def test_end_within_a_record_is_an_end_and_then_a_loss(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire_sockets, (server_context, client_context)) as link:
        link.start()
        await link.wire.send(b"\x17\x03\x03\x00\x20")
        await link.wire.send_eof()
        await link.recorder.until_call("lost")
        assert link.recorder.calls == ["eof", "lost"]


async def test_bytes_after_the_goodbye_are_not_read(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire_sockets, (server_context, client_context)) as link:
        link.start()
        await link.end_peer()
        await link.recorder.until_call("eof")
        link.transport.resume_reading()
        await settle()
        assert link.recorder.calls == ["eof"]


async def test_end_that_comes_with_the_bytes_of_an_abort_is_not_told(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with linked(new_reactor(), wire_sockets, (server_context, client_context)) as link:
        link.recorder.on_feed = link.transport.abort
        link.start()
        link.transport.pause_reading()
        await link.peer.send(b"last")
        await link.end_peer()
        await settle()
        link.transport.resume_reading()
        await link.recorder.until_call("lost")
        assert link.recorder.calls == ["feed", "lost"]


async def test_run_is_that_of_the_transport_below(server_context: ssl.SSLContext) -> None:
    ours, theirs = memory_pair()
    transport = TLSTransport(ByteStreamTransport(new_reactor(), ours), server_context)
    assert transport.needs_task
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.run)
        await settle()
        tasks.cancel_scope.cancel()
    with pytest.raises(anyio.EndOfStream):
        await theirs.receive()


async def test_write_after_the_session_has_ended_is_ignored(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with shaken(server_context, client_context) as (server, client):
        server.transport.write_eof()
        unsent = server.transport.unsent
        server.transport.write(b"ignored")
        server.transport.write(b"ignored")
        server.transport.flush()
        assert server.transport.unsent == unsent
        await client.recorder.until_call("eof")
        assert client.recorder.data == b""


async def _fails(transport: TLSTransport, reason: str) -> None:
    with pytest.raises(ssl.SSLError, match=reason):
        await transport.handshake()
    transport.abort()


async def _resets(transport: TLSTransport, reason: str) -> None:
    with pytest.raises(ConnectionResetError, match=reason):
        await transport.handshake()


async def _aborted(transport: TLSTransport) -> None:
    with pytest.raises(ConnectionAbortedError, match="closed"):
        await transport.handshake()
