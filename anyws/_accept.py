"""The server's part of the opening handshake, over any transport (RFC 6455 §4.2).

Owns the way from an accepted byte stream to an open connection, or to a refusal that the peer can
read. It must not know listeners, handlers or other connections: that is `_server.py`.
"""

from __future__ import annotations

import ssl as stdlib_ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import anyio
from anyio.abc import ByteStream

from ._connection import Connection
from ._core.handshake import (
    accept_request,
    check_request,
    check_subprotocols,
    refuse,
    select_subprotocol,
)
from ._core.headers import Request, Response
from ._core.http1 import BadRequest, ServerHandshake
from ._core.protocol import Protocol
from ._errors import InvalidHandshake
from ._io.bytestream import ByteStreamTransport
from ._io.pull import PullReceiver
from ._io.reactors import new_reactor
from ._io.tls import TLSTransport
from ._io.transport import Transport
from ._lifetime import Background, Block
from ._options import (
    DEFAULT_USER_AGENT,
    OPEN_TIMEOUT,
    ConnectionKeywords,
    ConnectionOptions,
    check_seconds,
    connection_options,
)

__all__ = ["LINGER", "Accepting", "ServerConnection", "WrappedServer", "shake_hands", "wrap_server"]

#: 1 s for the peer to read a refusal and close: closing first, with bytes of its unread, would
#: reset the connection and take the refusal away from it.
LINGER = 1.0


class ServerConnection(Connection):
    """The server's end of a WebSocket connection; made by `serve`."""

    _is_client = False


@dataclass(frozen=True, slots=True)
class Accepting:
    """What the server's part of an opening handshake needs to know."""

    subprotocols: tuple[str, ...]
    server_header: str | None
    open_timeout: float | None
    ssl: stdlib_ssl.SSLContext | None
    connection: ConnectionOptions


def wrap_server(
    stream: ByteStream,
    *,
    subprotocols: Sequence[str] = (),
    server_header: str | None = DEFAULT_USER_AGENT,
    open_timeout: float | None = OPEN_TIMEOUT,
    **options: Unpack[ConnectionKeywords],
) -> WrappedServer:
    """Do the server's part of the opening handshake over a byte stream that has been accepted.

    Use it as `async with wrap_server(stream) as connection`; leaving the block closes the
    connection as with `connect`, and the stream with it.

    Args:
        stream: connected, with TLS done if there is to be any.
        subprotocols, server_header, open_timeout, options: as for `serve`.

    Raises:
        InvalidHandshake: the request was refused; the peer has been told why.
        TimeoutError: `open_timeout` ran out; the peer has been told so.
        OSError: the stream ended or broke before there was a request.

    Cancelling: the stream is closed.
    """
    check_seconds("open_timeout", open_timeout, optional=True)
    accepting = Accepting(
        check_subprotocols(subprotocols),
        server_header,
        open_timeout,
        None,
        connection_options(options),
    )
    return WrappedServer(stream, accepting)


class WrappedServer(Block[ServerConnection]):
    """What `wrap_server` returns, to be entered with `async with`."""

    _maker = "wrap_server"

    def __init__(self, stream: ByteStream, accepting: Accepting) -> None:
        self._stream = stream
        self._accepting = accepting

    async def _open(self, background: Background) -> ServerConnection:
        reactor = new_reactor()
        transport = ByteStreamTransport(reactor, self._stream)
        try:
            await background.start(reactor)
            await background.start(transport)
            return await shake_hands(transport, self._accepting, anyio.CancelScope())
        except BaseException:
            transport.abort()
            raise


async def shake_hands(
    transport: Transport, accepting: Accepting, scope: anyio.CancelScope
) -> ServerConnection:
    """Do the server's part of the opening handshake (§4.2), under one deadline for all of it.

    `scope` is entered here; cancelling it from outside answers 503, since the server is stopping.

    Raises:
        InvalidHandshake: refused, and the peer told so where that was possible.
        OSError: the transport broke.
        TimeoutError: the deadline passed.
    """
    http = ServerHandshake()
    puller: PullReceiver | None = None
    if accepting.open_timeout is not None:
        scope.deadline = anyio.current_time() + accepting.open_timeout
    refusal: Response | None = None
    with scope:
        if accepting.ssl is not None:
            transport = await _start_tls(transport, accepting.ssl)
        puller = PullReceiver(transport)
        transport.start(puller)
        try:
            request = await _receive_request(puller, http)
        except BadRequest as exc:
            refusal = refuse(exc.status_code, f"{exc}\n")
        else:
            # The server may have begun to stop since the request came.
            if not scope.cancel_called:
                answer = _answer(request, accepting)
                if isinstance(answer, tuple):
                    return _accept(transport, puller, http, request, accepting, *answer)
                refusal = answer
    if puller is None:
        raise TimeoutError("the TLS handshake took too long, or the server stopped")
    if refusal is None:
        refusal = (
            refuse(408, "the request took too long\n")
            if anyio.current_time() >= scope.deadline
            else refuse(503, "the server is stopping\n")
        )
    await _refuse(transport, puller, http, refusal)
    message = f"refused with {refusal.status_code}: {refusal.body.decode().strip()}"
    raise TimeoutError(message) if refusal.status_code == 408 else InvalidHandshake(message)


async def _start_tls(transport: Transport, context: stdlib_ssl.SSLContext) -> Transport:
    tls = TLSTransport(transport, context)
    try:
        await tls.handshake()
    except stdlib_ssl.SSLError as exc:
        transport.abort()
        raise InvalidHandshake(f"the TLS handshake failed: {exc}") from exc
    return tls


async def _receive_request(puller: PullReceiver, http: ServerHandshake) -> Request:
    while True:
        data = await puller.receive()
        if not data:
            raise ConnectionResetError("the peer left before it had sent a request")
        request = http.receive_data(data)
        if request is not None:
            return request


def _answer(request: Request, accepting: Accepting) -> Response | tuple[str, str | None]:
    """Return the key and the subprotocol of a request that is accepted, or a refusal."""
    checked = check_request(request)
    if isinstance(checked, Response):
        return checked
    key, offered = checked
    return key, select_subprotocol(accepting.subprotocols, offered)


def _accept(
    transport: Transport,
    puller: PullReceiver,
    http: ServerHandshake,
    request: Request,
    accepting: Accepting,
    key: str,
    subprotocol: str | None,
) -> ServerConnection:
    response = accept_request(key, subprotocol, accepting.server_header)
    transport.write(http.send_response(response))
    options = accepting.connection
    connection = ServerConnection(
        transport,
        Protocol(is_client=False, max_size=options.max_size, max_fragments=options.max_fragments),
        options,
        request=request,
        response=response,
        subprotocol=subprotocol,
    )
    puller.hand_over(connection, http.trailing_data())
    return connection


async def _refuse(
    transport: Transport, puller: PullReceiver, http: ServerHandshake, response: Response
) -> None:
    """Send a refusal, and give the peer a moment to read it before the connection goes."""
    transport.write(http.send_response(response))
    transport.write_eof()
    with anyio.move_on_after(LINGER):
        try:
            while await puller.receive():
                pass
        except OSError:
            pass  # it went without reading
