"""`connect`: from a URI to an open connection, and its life (RFC 6455 §4.1).

Owns the order of the steps (dial, TLS, opening handshake) under one deadline, and the background
task that a driver may need. What is said on the connection is the business of `_connection.py`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from socket import socket as Socket
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Unpack

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus

from ._auth import BasicAuth
from ._connection import Connection
from ._cookies import CookieSource
from ._core.deflate import Deflate, with_compression
from ._core.extensions import Extension
from ._core.handshake import check_response, check_subprotocols
from ._core.headers import Headers, HeadersLike, Request, Response
from ._core.http1 import ClientHandshake
from ._core.uri import URI, parse_uri
from ._errors import HandshakeError, HandshakeRejected, InvalidHandshake
from ._io.bytestream import ByteStreamTransport
from ._io.dial import dial_tcp, dial_unix
from ._io.pull import PullReceiver
from ._io.reactors import new_reactor
from ._io.socket_transport import SocketTransport
from ._io.transport import Reactor, Receiver, Transport
from ._io.turns import Turn
from ._lifetime import Background, Block, TaskGroupLike
from ._options import (
    DEFAULT_USER_AGENT,
    OPEN_TIMEOUT,
    ConnectionKeywords,
    ConnectionOptions,
    check_count,
    check_seconds,
    connection_options,
)
from ._visit import Asking, Auth, Visit

if TYPE_CHECKING:
    import ssl as stdlib_ssl
    from http.cookiejar import CookieJar

    from ._tunnel import Tunnel

__all__ = ["ClientConnection", "Connecting", "connect", "wrap_client"]

# What `connect` may be given that is connected already.
Stream = ByteStream | Socket

# Makes something the receiver of a transport.
Begin = Callable[[Receiver], None]


class ClientConnection(Connection):
    """The client's end of a WebSocket connection; made by `connect`."""

    _is_client = True


def connect(
    uri: str,
    *,
    task_group: TaskGroup | TaskGroupLike | None = None,
    headers: HeadersLike | None = None,
    origin: str | None = None,
    user_agent: str | None = DEFAULT_USER_AGENT,
    auth: tuple[str, str] | Auth | None = None,
    cookies: Mapping[str, str] | CookieJar | None = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | Deflate | None = None,
    ssl: stdlib_ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: str | None = None,
    proxy_ssl: stdlib_ssl.SSLContext | None = None,
    path: str | bytes | os.PathLike[str] | None = None,
    stream: Stream | Callable[[], Awaitable[Stream]] | None = None,
    local_host: str | None = None,
    happy_eyeballs_delay: float = 0.25,
    one_at_a_time: bool = False,
    max_redirects: int = 0,
    open_timeout: float | None = OPEN_TIMEOUT,
    **options: Unpack[ConnectionKeywords],
) -> Connecting:
    """Connect to a WebSocket server (RFC 6455 §4.1).

    Either `async with connect(uri) as ws`, which closes the connection when the block is left:
    with code 1000, with 1011 after an exception, with 1001 when cancelled. What the block raises
    leaves it unchanged. Or `ws = await connect(uri, task_group=tg)`, where background work lives
    in `tg` and closing is the caller's; when `tg` is cancelled, the connection is closed.

    Args:
        uri: `ws://` or `wss://`. International names and paths are encoded. User information in
            it is taken as `auth`, and shown in no message.
        task_group: a task group of anyio or a nursery of trio. Needed for the form without
            `async with`; that form uses it too, instead of one of its own.
        headers: more fields for the request. Host may be replaced; the other fields of the
            handshake may not be given.
        origin: the value of Origin, where a server wants one.
        user_agent: the value of User-Agent; None sends none.
        auth: a name and a password, or a `BasicAuth`, which are sent at once; a `DigestAuth`, which
            waits to be asked; or an async function that gives header fields, called before each
            request, a token for instance.
        cookies: values by name; or a cookie jar of `http.cookiejar`, which is asked for cookies and
            gets those that servers set.
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
        stream: a connected byte stream to use, or a connected socket without TLS, or an async
            function that gives one; it is closed with the connection.
        local_host: an address of this machine to connect from.
        happy_eyeballs_delay: seconds between attempts on a host's addresses.
        one_at_a_time: wait while another `connect` of this event loop that was told so too is
            connecting to one of the same addresses (RFC 6455 §4.1), up to its opening handshake.
        max_redirects: how many redirects to follow (300 to 303, 307, 308); 0 follows none. None is
            followed from `wss` to `ws`. Another origin (scheme, host or port) gets neither `auth`
            nor `cookies` nor any of `headers` but Accept-Language and User-Agent, nor a token
            behind the subprotocol "bearer"; a cookie jar decides by itself.
        open_timeout: seconds for everything until the connection is open; None for no limit.
        options: see `ConnectionOptions`: `close_timeout`, `ping_interval`, `ping_timeout`,
            `max_size`, `max_fragments`, `max_buffer`, `write_limit`, `send_timeout`,
            `json_codec`, `logger`.

    Raises:
        InvalidURI: the URI is not one of WebSocket.
        OSError: no address could be reached.
        TimeoutError: `open_timeout` ran out; it says in which step.
        HandshakeRejected: the server answered with another status than 101.
        ProxyError: the proxy could not be reached, or did not let the connection through.
        TooManyRedirects: more than `max_redirects`, or in a circle.
        HandshakeError: TLS or the opening handshake failed.
        TypeError, ValueError, LocalProtocolError: an argument cannot be used.
        ImportError: the proxy speaks SOCKS, and python-socks is not installed.

    Cancelling: the socket is closed before `Cancelled` goes on. Leaving the block while cancelled
        takes at most one second, for the Close frame.
    """
    target = parse_uri(uri)
    if ssl is not None and not target.secure and not max_redirects:
        # Not the whole URI, which may have a password in it.
        raise ValueError(f"ssl is for wss URIs, not for {target.origin}")
    if path is not None and stream is not None:
        raise ValueError("path and stream exclude each other")
    check_seconds("open_timeout", open_timeout, optional=True)
    check_seconds("happy_eyeballs_delay", happy_eyeballs_delay)
    check_count("max_redirects", max_redirects, at_least=0)
    if auth is None:
        auth = target.user_info
    asking = Asking(
        Headers(headers or ()),
        origin,
        user_agent,
        check_subprotocols(subprotocols),
        with_compression(extensions, compression),
        BasicAuth(*auth) if isinstance(auth, tuple) else auth,
        None if cookies is None else CookieSource(cookies, target),
        max_redirects,
    )
    way = Way(
        path,
        stream,
        local_host,
        happy_eyeballs_delay,
        one_at_a_time,
        proxy,
        proxy_ssl,
        user_agent,
    )
    way.tunnel_to(target)  # what is wrong is found out now
    return Connecting(
        Visit(target, asking),
        way,
        task_group=task_group,
        ssl=ssl or _default_context,
        server_hostname=server_hostname,
        open_timeout=open_timeout,
        options=connection_options(options),
    )


def wrap_client(
    stream: ByteStream,
    uri: str,
    *,
    task_group: TaskGroup | TaskGroupLike | None = None,
    headers: HeadersLike | None = None,
    origin: str | None = None,
    user_agent: str | None = DEFAULT_USER_AGENT,
    auth: tuple[str, str] | Auth | None = None,
    cookies: Mapping[str, str] | CookieJar | None = None,
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
        auth=auth,
        cookies=cookies,
        subprotocols=subprotocols,
        extensions=extensions,
        compression=compression,
        open_timeout=open_timeout,
        **options,
    )
    connecting._ssl = None
    return connecting


@dataclass(frozen=True, slots=True)
class Way:
    """How to get to a server."""

    path: str | bytes | os.PathLike[str] | None
    stream: Stream | Callable[[], Awaitable[Stream]] | None
    local_host: str | None
    happy_eyeballs_delay: float
    one_at_a_time: bool
    proxy: str | None
    proxy_ssl: stdlib_ssl.SSLContext | None
    user_agent: str | None

    def leads_to(self, visit: Visit) -> bool:
        """Say whether it leads to whom a visit goes next, after it has led to somebody."""
        if self.stream is not None and not callable(self.stream):
            return False  # it was for one request
        return visit.is_at_home or (self.stream is None and self.path is None)

    def tunnel_to(self, uri: URI) -> Tunnel | None:
        """Return the way through a proxy, None if there is a direct one.

        Raises:
            InvalidURI, ValueError, ImportError: the proxy cannot be used.
        """
        if self.proxy is None and self.proxy_ssl is None:
            return None
        from ._tunnel import find_tunnel  # few need a proxy

        return find_tunnel(
            self.proxy,
            uri,
            self._dial_tcp,
            is_elsewhere=self.path is not None or self.stream is not None,
            ssl=self.proxy_ssl,
            default_ssl=_default_context,
            user_agent=self.user_agent,
        )

    async def dial(self, uri: URI) -> Stream:
        """Connect directly.

        Raises:
            OSError: nobody could be reached.

        Cancelling: nothing is left open.
        """
        if self.stream is not None:
            return await self.stream() if callable(self.stream) else self.stream
        if self.path is not None:
            return await dial_unix(self.path)
        return await self._dial_tcp(uri.host, uri.port)

    async def give_up(self) -> None:
        """Close a stream that was given, of which nobody has made a transport."""
        if isinstance(self.stream, Socket):
            self.stream.close()
        elif self.stream is not None and not callable(self.stream):
            await anyio.aclose_forcefully(self.stream)

    async def _dial_tcp(self, host: str, port: int) -> Socket:
        return await dial_tcp(
            host,
            port,
            local_host=self.local_host,
            happy_eyeballs_delay=self.happy_eyeballs_delay,
        )


class Connecting(Block[ClientConnection]):
    """What `connect` returns: to be entered with `async with`, or awaited with a task group."""

    _maker = "connect"

    def __init__(
        self,
        visit: Visit,
        way: Way,
        *,
        task_group: TaskGroup | TaskGroupLike | None,
        ssl: stdlib_ssl.SSLContext | Callable[[], stdlib_ssl.SSLContext] | None,
        server_hostname: str | None,
        open_timeout: float | None,
        options: ConnectionOptions,
    ) -> None:
        self._visit = visit
        self._way = way
        self._task_group = task_group
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._open_timeout = open_timeout
        self._options = options
        self._step = ""
        self._tunnel: Tunnel | None = None  # of this attempt
        self._refusal: Response | None = None  # whose body has not come whole

    def __await__(self) -> Generator[Any, Any, ClientConnection]:
        return self._start().__await__()

    if not TYPE_CHECKING:  # which finds it out by itself

        def __aiter__(self) -> NoReturn:
            raise TypeError(
                "connect gives one connection: for one after another use `async with "
                "reconnect(...) as attempts`, then `async for ws in attempts`"
            )

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
        if self._way.stream is not None and not isinstance(self._way.stream, Socket):
            await background.prepare()
        # The task group is open by now, if there is one: it outlives this scope.
        with anyio.move_on_after(self._open_timeout):
            while True:
                connection = await self._take_turn(reactor, background)
                if connection is not None:
                    return connection
        if self._refusal is not None:
            raise HandshakeRejected(self._refusal)
        raise TimeoutError(f"{self._phase()} took too long: open_timeout is {self._open_timeout} s")

    def _phase(self) -> str:
        """Say what is being done, for a timeout."""
        uri, tunnel = self._visit.uri, self._tunnel
        if tunnel is not None and tunnel.step:
            return tunnel.step
        return f"{self._step} {uri.host} port {uri.port}{self._through()}"

    def _through(self) -> str:
        return "" if self._tunnel is None else f" through proxy {self._tunnel.proxy}"

    async def _take_turn(self, reactor: Reactor, background: Background) -> ClientConnection | None:
        way, uri = self._way, self._visit.uri
        if not way.one_at_a_time or way.path is not None or way.stream is not None:
            return await self._attempt(reactor, background)
        self._step = "waiting for another attempt to connect to"
        async with Turn(uri.host, uri.port, is_looked_up=way.tunnel_to(uri) is None):
            return await self._attempt(reactor, background)

    async def _attempt(self, reactor: Reactor, background: Background) -> ClientConnection | None:
        """Make one request; None if its answer leads to another one."""
        visit = self._visit
        transport: Transport | None = None
        lowest: Transport | None = None  # without TLS
        try:
            self._step = "asking for the credentials for"
            request = await visit.next_request()
            transport, begin = await self._new_transport(reactor, background)
            lowest = transport
            if visit.uri.secure and self._ssl is not None:
                transport = await self._start_tls(transport, begin, self._ssl)
                begin = transport.start
            return await self._shake_hands(transport, begin, request)
        except BaseException as exc:
            if transport is not None:
                transport.abort()
            else:
                await self._way.give_up()
            if not isinstance(exc, HandshakeRejected) or not visit.take_answer(exc.response):
                raise
            self._refusal = None
            if not self._way.leads_to(visit):
                exc.add_note("The answer leads on, to where the way that was given does not lead")
                raise
        # A stream is closed in the background; the next one is asked for when it is.
        if lowest is not None:
            await background.stop(lowest)
        return None

    async def _new_transport(
        self, reactor: Reactor, background: Background
    ) -> tuple[Transport, Begin]:
        """Return a transport to the server, and the function that starts it."""
        self._step = "connecting to"
        self._tunnel = self._way.tunnel_to(self._visit.uri)
        if self._tunnel is not None:
            return await self._tunnel.open(reactor)
        source = await self._way.dial(self._visit.uri)
        if isinstance(source, Socket):
            sock = SocketTransport(reactor, source)
            return sock, sock.start
        transport = ByteStreamTransport(reactor, source)
        await background.start(transport)
        return transport, transport.start

    async def _start_tls(
        self,
        transport: Transport,
        begin: Begin,
        context: stdlib_ssl.SSLContext | Callable[[], stdlib_ssl.SSLContext],
    ) -> Transport:
        self._step = "the TLS handshake with"
        from ._io.tls import TLSTransport

        visit = self._visit
        # The name that the user gave is that of the server that the user named.
        given = self._server_hostname if visit.is_at_home else None
        hostname = given or visit.uri.host
        tls = TLSTransport(transport, context() if callable(context) else context, hostname)
        try:
            await tls.handshake(begin)
        except OSError as exc:  # an SSLError, or the end of the connection
            raise HandshakeError(
                f"the TLS handshake with {hostname}{self._through()} failed: {exc}"
            ) from exc
        return tls

    async def _shake_hands(
        self, transport: Transport, begin: Begin, request: Request
    ) -> ClientConnection:
        self._step = "the opening handshake with"
        visit = self._visit
        puller = PullReceiver(transport)
        begin(puller)
        http = ClientHandshake()
        transport.write(http.send_request(request))
        response = await self._receive_response(puller, http)
        subprotocol, agreed = check_response(
            response, visit.key, visit.subprotocols, visit.extensions
        )
        visit.take_answer(response)
        connection = ClientConnection(transport, self._options, request)
        connection._open(response, subprotocol, agreed)
        puller.hand_over(connection, http.trailing_data())
        return connection

    async def _receive_response(self, puller: PullReceiver, http: ClientHandshake) -> Response:
        """Receive the answer.

        Raises:
            HandshakeRejected: it is a refusal, and broke off; the cause says how, for `reconnect`.
            InvalidHandshake: it is none, or did not come.
        """
        while True:
            try:
                data = await puller.receive()
            except OSError as exc:
                if http.refusal is not None:
                    raise HandshakeRejected(http.refusal) from exc
                raise InvalidHandshake(
                    f"the connection broke before the server answered: {exc}"
                ) from exc
            try:
                response = http.receive_data(data)
            except InvalidHandshake as exc:
                if data:
                    raise
                # It may have been restarted, for all we know; `reconnect` tries again for this
                # cause.
                raise exc from EOFError("the server ended the byte stream")
            if http.is_cut and response is not None:
                raise HandshakeRejected(response) from EOFError("the server ended the byte stream")
            if response is not None:
                return response
            self._refusal = http.refusal


@functools.cache
def _default_context() -> stdlib_ssl.SSLContext:
    """The default context, made once: loading the authorities takes tens of milliseconds."""
    from ssl import create_default_context

    return create_default_context()
