"""`connect`: from a URI to an open connection, and its life (RFC 6455 §4.1).

Owns the order of the steps (dial, TLS, opening handshake) under one deadline, and the background
task that a driver may need. What is said on the connection is the business of `_connection.py`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from socket import socket as Socket
from typing import TYPE_CHECKING, Any, Literal, Unpack

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus

from ._connection import Connection
from ._core.deflate import Deflate, with_compression
from ._core.extensions import Extension
from ._core.handshake import build_request, check_response, check_subprotocols, make_key
from ._core.headers import HeadersLike, Response
from ._core.http1 import ClientHandshake
from ._core.uri import URI, parse_uri
from ._errors import HandshakeError, InvalidHandshake
from ._io.bytestream import ByteStreamTransport
from ._io.dial import dial_tcp, dial_unix
from ._io.pull import PullReceiver
from ._io.reactors import new_reactor
from ._io.socket_transport import SocketTransport
from ._io.transport import Reactor, Receiver, Transport
from ._lifetime import Background, Block, TaskGroupLike
from ._options import (
    DEFAULT_USER_AGENT,
    OPEN_TIMEOUT,
    ConnectionKeywords,
    ConnectionOptions,
    check_seconds,
    connection_options,
)

if TYPE_CHECKING:
    import ssl as stdlib_ssl

    from ._tunnel import Tunnel

__all__ = ["ClientConnection", "Connecting", "connect", "wrap_client"]


class ClientConnection(Connection):
    """The client's end of a WebSocket connection; made by `connect`."""

    _is_client = True


def connect(
    uri: str,
    *,
    task_group: TaskGroup | TaskGroupLike | None = None,
    headers: HeadersLike = (),
    origin: str | None = None,
    user_agent: str | None = DEFAULT_USER_AGENT,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | Deflate | None = None,
    ssl: stdlib_ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: str | None = None,
    proxy_ssl: stdlib_ssl.SSLContext | None = None,
    path: str | bytes | os.PathLike[str] | None = None,
    stream: ByteStream | Callable[[], Awaitable[ByteStream]] | None = None,
    local_host: str | None = None,
    happy_eyeballs_delay: float = 0.25,
    open_timeout: float | None = OPEN_TIMEOUT,
    **options: Unpack[ConnectionKeywords],
) -> Connecting:
    """Connect to a WebSocket server (RFC 6455 §4.1).

    Either `async with connect(uri) as ws`, which closes the connection when the block is left:
    with code 1000, with 1011 after an exception, with 1001 when cancelled. What the block raises
    leaves it unchanged. Or `ws = await connect(uri, task_group=tg)`, where background work lives
    in `tg` and closing is the caller's; when `tg` is cancelled, the connection is closed.

    Args:
        uri: `ws://` or `wss://`. International names and paths are encoded.
        task_group: a task group of anyio or a nursery of trio. Needed for the form without
            `async with`; that form uses it too, instead of one of its own.
        headers: more fields for the request. Host may be replaced; the other fields of the
            handshake may not be given.
        origin: the value of Origin, where a server wants one.
        user_agent: the value of User-Agent; None sends none.
        subprotocols: what to offer, in order of preference.
        extensions: what to offer, in order of preference; compression comes behind them.
        compression: "deflate", or a `Deflate` with settings of its own, offers to compress
            messages (RFC 7692). It takes CPU time, and memory for each connection.
        ssl: for `wss`; None is the default context, which verifies.
        server_hostname: the name in the server's certificate, if it is not the URI's host.
        proxy: the URI of a proxy to go through: `http`, `https`, `socks4`, `socks4a`, `socks5` or
            `socks5h`, with the user name and password for it, if it wants them. "env" takes what
            the environment names, if anything. SOCKS takes the extra `socks`.
        proxy_ssl: for an `https` proxy; None is the default context, which verifies.
        path: of a Unix socket to connect to; the URI still names Host and path.
        stream: a connected byte stream to use, or an async function that gives one; it is closed
            with the connection.
        local_host: an address of this machine to connect from.
        happy_eyeballs_delay: seconds between attempts on a host's addresses.
        open_timeout: seconds for everything until the connection is open; None for no limit.
        options: see `ConnectionOptions`: `close_timeout`, `ping_interval`, `ping_timeout`,
            `max_size`, `max_fragments`, `max_buffer`, `write_limit`, `send_timeout`, `logger`.

    Raises:
        InvalidURI: the URI is not one of WebSocket.
        OSError: no address could be reached.
        TimeoutError: `open_timeout` ran out; it says in which step.
        HandshakeRejected: the server answered with another status than 101.
        ProxyError: the proxy could not be reached, or did not let the connection through.
        HandshakeError: TLS or the opening handshake failed.
        TypeError, ValueError, LocalProtocolError: an argument cannot be used.
        ImportError: the proxy speaks SOCKS, and python-socks is not installed.

    Cancelling: the socket is closed before `Cancelled` goes on. Leaving the block while cancelled
        takes at most one second, for the Close frame.
    """
    target = parse_uri(uri)
    if ssl is not None and not target.secure:
        raise ValueError(f"ssl is for wss URIs, not for {uri!r}")
    if path is not None and stream is not None:
        raise ValueError("path and stream exclude each other")
    check_seconds("open_timeout", open_timeout, optional=True)
    check_seconds("happy_eyeballs_delay", happy_eyeballs_delay)

    async def dial() -> Socket | ByteStream:
        if stream is not None:
            return await stream() if callable(stream) else stream
        if path is not None:
            return await dial_unix(path)
        return await dial_tcp(
            target.host,
            target.port,
            local_host=local_host,
            happy_eyeballs_delay=happy_eyeballs_delay,
        )

    tunnel: Tunnel | None = None
    if proxy is not None or proxy_ssl is not None:
        from ._tunnel import find_tunnel  # few need a proxy

        tunnel = find_tunnel(
            proxy,
            target,
            functools.partial(
                dial_tcp, local_host=local_host, happy_eyeballs_delay=happy_eyeballs_delay
            ),
            is_elsewhere=path is not None or stream is not None,
            ssl=proxy_ssl,
            default_ssl=_default_context,
            user_agent=user_agent,
        )

    return Connecting(
        target,
        dial,
        over_stream=stream is not None,
        tunnel=tunnel,
        task_group=task_group,
        headers=headers,
        origin=origin,
        user_agent=user_agent,
        subprotocols=check_subprotocols(subprotocols),
        extensions=with_compression(extensions, compression),
        ssl=(ssl or _default_context) if target.secure else None,
        server_hostname=server_hostname or target.host,
        open_timeout=open_timeout,
        options=connection_options(options),
    )


def wrap_client(
    stream: ByteStream,
    uri: str,
    *,
    task_group: TaskGroup | TaskGroupLike | None = None,
    headers: HeadersLike = (),
    origin: str | None = None,
    user_agent: str | None = DEFAULT_USER_AGENT,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | Deflate | None = None,
    open_timeout: float | None = OPEN_TIMEOUT,
    **options: Unpack[ConnectionKeywords],
) -> Connecting:
    """Do the opening handshake over a connected byte stream, and use it as `connect` does.

    The same as `connect(uri, stream=stream, ...)`, except that no TLS is added for `wss`: the
    stream is taken to be as secure as it needs to be.
    """
    connecting = connect(
        uri,
        stream=stream,
        task_group=task_group,
        headers=headers,
        origin=origin,
        user_agent=user_agent,
        subprotocols=subprotocols,
        extensions=extensions,
        compression=compression,
        open_timeout=open_timeout,
        **options,
    )
    connecting._ssl = None
    return connecting


class Connecting(Block[ClientConnection]):
    """What `connect` returns: to be entered with `async with`, or awaited with a task group."""

    _maker = "connect"

    def __init__(
        self,
        uri: URI,
        dial: Callable[[], Awaitable[Socket | ByteStream]],
        *,
        over_stream: bool,
        tunnel: Tunnel | None,
        task_group: TaskGroup | TaskGroupLike | None,
        headers: HeadersLike,
        origin: str | None,
        user_agent: str | None,
        subprotocols: tuple[str, ...],
        extensions: tuple[Extension, ...],
        ssl: stdlib_ssl.SSLContext | Callable[[], stdlib_ssl.SSLContext] | None,
        server_hostname: str,
        open_timeout: float | None,
        options: ConnectionOptions,
    ) -> None:
        self._uri = uri
        self._dial = dial
        self._over_stream = over_stream
        self._tunnel = tunnel
        self._task_group = task_group
        self._subprotocols = subprotocols
        self._extensions = extensions
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._open_timeout = open_timeout
        self._options = options
        self._key = make_key(os.urandom(16))
        self._request = build_request(
            uri,
            self._key,
            headers=headers,
            origin=origin,
            user_agent=user_agent,
            subprotocols=subprotocols,
            extensions=extensions,
        )
        self._step = ""

    def __await__(self) -> Generator[Any, Any, ClientConnection]:
        return self._start().__await__()

    async def _start(self) -> ClientConnection:
        if self._task_group is None:
            raise RuntimeError(
                "a connection needs somewhere for its background work: use "
                "`async with connect(...) as ws`, or `await connect(..., task_group=tg)`"
            )
        connection = await self._task_group.start(self._guard)
        assert isinstance(connection, ClientConnection)
        return connection

    async def _guard(self, *, task_status: TaskStatus[ClientConnection]) -> None:
        """Hold the connection open in somebody's task group until it is closed."""
        async with self as connection:
            task_status.started(connection)
            await connection.wait_closed()

    async def _open(self, background: Background) -> ClientConnection:
        reactor = new_reactor()
        await background.start(reactor)
        if self._over_stream:
            await background.prepare()
        transport: Transport | None = None
        # The task group is open by now, if there is one: it outlives this scope.
        with anyio.move_on_after(self._open_timeout):
            try:
                transport, begin = await self._new_transport(reactor, background)
                if self._ssl is not None:
                    transport = await self._start_tls(transport, begin)
                    begin = transport.start
                return await self._shake_hands(transport, begin)
            except BaseException:
                if transport is not None:
                    transport.abort()
                raise
        raise TimeoutError(f"{self._phase()} took too long: open_timeout is {self._open_timeout} s")

    def _phase(self) -> str:
        """Say what is being done, for a timeout."""
        through = ""
        if self._tunnel is not None:
            if self._tunnel.step:
                return self._tunnel.step
            through = f" through proxy {self._tunnel.proxy}"
        return f"{self._step} {self._uri.host} port {self._uri.port}{through}"

    async def _new_transport(
        self, reactor: Reactor, background: Background
    ) -> tuple[Transport, Callable[[Receiver], None]]:
        """Return a transport to the server, and the function that starts it."""
        self._step = "connecting to"
        if self._tunnel is not None:
            return await self._tunnel.open(reactor)
        source = await self._dial()
        if isinstance(source, Socket):
            sock = SocketTransport(reactor, source)
            return sock, sock.start
        transport = ByteStreamTransport(reactor, source)
        await background.start(transport)
        return transport, transport.start

    async def _start_tls(
        self, transport: Transport, begin: Callable[[Receiver], None]
    ) -> Transport:
        self._step = "the TLS handshake with"
        context = self._ssl() if callable(self._ssl) else self._ssl
        assert context is not None
        from ._io.tls import TLSTransport

        tls = TLSTransport(transport, context, self._server_hostname)
        try:
            await tls.handshake(begin)
        except OSError as exc:  # an SSLError, or the end of the connection
            through = "" if self._tunnel is None else f" through proxy {self._tunnel.proxy}"
            raise HandshakeError(
                f"the TLS handshake with {self._server_hostname}{through} failed: {exc}"
            ) from exc
        return tls

    async def _shake_hands(
        self, transport: Transport, begin: Callable[[Receiver], None]
    ) -> ClientConnection:
        self._step = "the opening handshake with"
        puller = PullReceiver(transport)
        begin(puller)
        http = ClientHandshake()
        transport.write(http.send_request(self._request))
        response = await _receive_response(puller, http)
        subprotocol, agreed = check_response(
            response, self._key, self._subprotocols, self._extensions
        )
        connection = ClientConnection(transport, self._options, self._request)
        connection._open(response, subprotocol, agreed)
        puller.hand_over(connection, http.trailing_data())
        return connection


async def _receive_response(puller: PullReceiver, http: ClientHandshake) -> Response:
    while True:
        try:
            data = await puller.receive()
        except OSError as exc:
            raise InvalidHandshake(
                f"the connection broke before the server answered: {exc}"
            ) from exc
        try:
            response = http.receive_data(data)
        except InvalidHandshake as exc:
            if data:
                raise
            # It may have been restarted, for all we know; `reconnect` tries again for this cause.
            raise exc from EOFError("the server ended the byte stream")
        if response is not None:
            return response


@functools.cache
def _default_context() -> stdlib_ssl.SSLContext:
    """The default context, made once: loading the authorities takes tens of milliseconds."""
    from ssl import create_default_context

    return create_default_context()
