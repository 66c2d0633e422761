"""The server's part of the opening handshake, over any transport (RFC 6455 §4.2).

Owns the way from an accepted byte stream to an open connection, or to a refusal that the peer can
read. It must not know listeners, handlers or other connections: that is `_server.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, Unpack

from anyio.abc import ByteStream

from ._connection import Connection
from ._core.deflate import Deflate, with_compression
from ._core.extensions import Extension, new_codecs, select_extensions
from ._core.grammar import NamedExtension
from ._core.handshake import (
    BadRequest,
    accept_request,
    check_request,
    check_subprotocols,
    refuse,
    select_subprotocol,
)
from ._core.headers import Request, Response, check_text
from ._core.http1 import ServerHandshake
from ._core.protocol import Protocol
from ._errors import InvalidHandshake
from ._io.bytestream import ByteStreamTransport
from ._io.reactors import new_reactor
from ._io.transport import Timer, Transport
from ._lifetime import Background, Block
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

__all__ = [
    "LINGER",
    "Accepting",
    "Opening",
    "ServerConnection",
    "WrappedServer",
    "start_tls",
    "wrap_server",
]

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
    extensions: tuple[Extension, ...]
    server_header: str | None
    open_timeout: float | None
    ssl: stdlib_ssl.SSLContext | None
    connection: ConnectionOptions

    def __post_init__(self) -> None:
        if self.server_header is not None:
            check_text("server_header", self.server_header)


def wrap_server(
    stream: ByteStream,
    *,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
    compression: Literal["deflate"] | Deflate | None = None,
    server_header: str | None = DEFAULT_USER_AGENT,
    open_timeout: float | None = OPEN_TIMEOUT,
    **options: Unpack[ConnectionKeywords],
) -> WrappedServer:
    """Do the server's part of the opening handshake over a byte stream that has been accepted.

    Use it as `async with wrap_server(stream) as connection`; leaving the block closes the
    connection as with `connect`, and the stream with it.

    Args:
        stream: connected, with TLS done if there is to be any.
        subprotocols, extensions, compression, server_header, open_timeout, options: as for `serve`.

    Raises:
        InvalidHandshake: the request was refused; the peer has been told why.
        TimeoutError: `open_timeout` ran out; the peer has been told so.
        OSError: the stream ended or broke before there was a request.

    Cancelling: the stream is closed.
    """
    check_seconds("open_timeout", open_timeout, optional=True)
    accepting = Accepting(
        check_subprotocols(subprotocols),
        with_compression(extensions, compression),
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
        arrival = reactor.new_waiter()
        results: list[ServerConnection | Exception] = []

        def ended(_: Opening, result: ServerConnection | Exception) -> None:
            results.append(result)
            arrival.wake()

        try:
            await background.start(reactor)
            await background.start(transport)
            Opening(transport, self._accepting, ended).start(self._accepting.open_timeout)
            while not results:
                await arrival.wait()
        except BaseException:
            transport.abort()
            raise
        result = results.pop()
        if isinstance(result, ServerConnection):
            return result
        try:
            raise result
        finally:
            del result  # whose traceback has this frame


class Opening:
    """The opening handshake of one connection, driven by what its transport pushes.

    It takes no task: what most requests need is an answer at once. A refusal is sent, and then the
    peer has a moment to read it before the transport is closed.

    Args:
        transport: not started; aborted if the handshake fails.
        accepting: how to answer.
        ended: called once, with the open connection, or with what the handshake failed by:
            `InvalidHandshake`, `TimeoutError`, or another `OSError`. May not raise.
    """

    __slots__ = ("_accepting", "_deadline", "_ended", "_error", "_http", "_timer", "_transport")

    def __init__(
        self,
        transport: Transport,
        accepting: Accepting,
        ended: Callable[[Opening, ServerConnection | Exception], None],
    ) -> None:
        self._transport = transport
        self._accepting = accepting
        self._ended = ended
        self._http = ServerHandshake()
        self._error: Exception | None = None  # what it was refused for
        self._deadline = inf
        self._timer: Timer | None = None

    def start(self, seconds: float | None) -> None:
        """Begin; the request has to come within so many seconds."""
        if seconds is not None:
            reactor = self._transport.reactor
            self._deadline = reactor.clock() + seconds
            self._timer = reactor.call_later(seconds, self._time_out)
        self._transport.start(self)

    def cancel(self) -> None:
        """Refuse it, for the server is stopping; nothing if it has been refused or has ended."""
        self._refuse(refuse(503, "the server is stopping\n"))

    # Called by the transport

    def feed(self, data: bytes) -> None:
        """Take bytes of the request, and answer it once it is complete."""
        if self._error is not None:
            return
        if self._transport.reactor.clock() >= self._deadline:
            self._time_out()
            return
        try:
            request = self._http.receive_data(data)
        except BadRequest as exc:
            self._refuse(refuse(exc.status_code, f"{exc}\n"))
            return
        if request is not None:
            answer = check_request(request)
            if isinstance(answer, Response):
                self._refuse(answer)
            else:
                self._accept(request, *answer)

    def eof(self) -> None:
        """Take note that the peer will send no more."""
        self._error = self._error or ConnectionResetError(
            "the peer left before it had sent a request"
        )
        self._transport.abort()

    def lost(self, exc: Exception | None) -> None:
        """Take note of the end of the transport."""
        error = self._error or exc
        if not isinstance(error, OSError | InvalidHandshake):
            error = ConnectionResetError(f"the byte stream broke: {exc!r}")
            error.__cause__ = exc
        self._end(error)

    def drained(self) -> None:
        """Take note that there is room to write again."""

    def _accept(
        self,
        request: Request,
        key: str,
        offered: Sequence[str],
        offered_extensions: Sequence[NamedExtension],
    ) -> None:
        accepting = self._accepting
        options = accepting.connection
        subprotocol = select_subprotocol(accepting.subprotocols, offered)
        selected = select_extensions(accepting.extensions, offered_extensions)
        extensions = [named for _, named in selected]
        response = accept_request(key, subprotocol, extensions, accepting.server_header)
        transport = self._transport
        transport.write(self._http.send_response(response))
        transport.flush_soon()
        connection = ServerConnection(
            transport,
            Protocol(
                is_client=False,
                max_size=options.max_size,
                max_fragments=options.max_fragments,
                extensions=new_codecs(selected, is_client=False),
            ),
            options,
            request=request,
            response=response,
            subprotocol=subprotocol,
            extensions=extensions,
        )
        transport.receiver = connection
        trailing = self._http.trailing_data()
        if trailing:
            connection.feed(trailing)
        self._end(connection)

    def _refuse(self, response: Response) -> None:
        """Send a refusal, and give the peer a moment to read it before the connection goes."""
        if self._error is not None:
            return
        message = f"refused with {response.status_code}: {response.body.decode().strip()}"
        is_late = response.status_code == 408
        self._error = TimeoutError(message) if is_late else InvalidHandshake(message)
        self._stop_timer()
        self._transport.write(self._http.send_response(response))
        self._timer = self._transport.reactor.call_later(LINGER, self._transport.abort)
        self._transport.write_eof()

    def _time_out(self) -> None:
        self._refuse(refuse(408, "the request took too long\n"))

    def _end(self, result: ServerConnection | Exception) -> None:
        self._stop_timer()
        self._ended(self, result)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def start_tls(transport: Transport, context: stdlib_ssl.SSLContext) -> Transport:
    """Do the TLS handshake of a transport that has not started.

    Raises:
        InvalidHandshake: it failed.
        OSError: the transport broke.

    Cancelling: the transport is of no further use and must be aborted.
    """
    # Imported late, as in `_client`: together they take 10 ms.
    from ssl import SSLError

    from ._io.tls import TLSTransport

    tls = TLSTransport(transport, context)
    try:
        await tls.handshake()
    except SSLError as exc:
        raise InvalidHandshake(f"the TLS handshake failed: {exc}") from exc
    return tls
