"""The server's part of the opening handshake, over any transport (RFC 6455 §4.2).

Owns the way from an accepted byte stream to an open connection, or to a refusal that the peer can
read. It must not know listeners, handlers or other connections: that is `_server.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Unpack

import anyio
from anyio.abc import ByteStream

from ._accepting import Accepting, AcceptKeywords, ProcessRequest
from ._admission import Admission, Limits
from ._answer import Answer, Steps, answer_steps
from ._core.handshake import BadRequest, refuse
from ._core.headers import Headers, Response
from ._core.http1 import ServerHandshake
from ._errors import InvalidHandshake, LocalProtocolError
from ._io.bytestream import ByteStreamTransport
from ._io.reactors import interrupted, new_reactor, uninterrupted
from ._io.transport import READ_SIZE, Timer, Transport
from ._lifetime import Background, Block
from ._server_connection import ServerConnection

if TYPE_CHECKING:
    import ssl as stdlib_ssl

__all__ = ["LINGER", "Opening", "WrappedServer", "start_tls", "wrap_server"]

StartTask = Callable[..., object]

#: 1 s for the peer to read a refusal and close: closing first, with bytes of its unread, would
#: reset the connection and take the refusal away from it.
LINGER = 1.0


def wrap_server(stream: ByteStream, **options: Unpack[AcceptKeywords]) -> WrappedServer:
    """Do the server's part of the opening handshake over a byte stream that has been accepted.

    Use it as `async with wrap_server(stream) as connection`; leaving the block closes the
    connection as with `connect`, and the stream with it.

    Args:
        stream: connected, with TLS done if there is to be any.
        options: as for `serve`: `subprotocols`, `select_subprotocol`, `extensions`, `compression`,
            `origins`, `auth`, `process_request`, `process_response`, `server_header`,
            `open_timeout`, and those of `ConnectionOptions`.

    Raises:
        InvalidHandshake: the request was answered otherwise; the peer has been told why.
        TimeoutError: `open_timeout` ran out; the peer has been told so.
        OSError: the stream ended or broke before there was a request.
        TypeError, ValueError, LocalProtocolError: an option cannot be used.

    Cancelling: the stream is closed.
    """
    return WrappedServer(stream, Accepting().changed(options))


class WrappedServer(Block[ServerConnection]):
    """What `wrap_server` returns, to be entered with `async with`."""

    _maker = "wrap_server"

    def __init__(
        self,
        stream: ByteStream,
        accepting: Accepting,
        handler_hook: ProcessRequest | None = None,
    ) -> None:
        self._stream = stream
        self._accepting = accepting
        self._handler_hook = handler_hook

    async def _open(self, background: Background) -> ServerConnection:
        reactor = new_reactor()
        transport = ByteStreamTransport(reactor, self._stream)
        arrival = reactor.new_waiter()
        results: list[ServerConnection | Exception] = []
        hooks: list[Callable[[], Awaitable[None]]] = []  # that have to be waited for

        def start(function: Callable[..., Awaitable[None]], *args: object) -> None:
            hooks.append(partial(function, *args))
            arrival.wake()

        def ended(_: Opening, result: ServerConnection | Exception) -> None:
            results.append(result)
            arrival.wake()

        try:
            await background.start(reactor)
            await background.start(transport)
            everybody = Admission(Limits(), ())
            opening = Opening(
                transport, self._accepting, ended, start, everybody, self._handler_hook
            )
            opening.start(self._accepting.open_timeout)
            while not results:
                if hooks:
                    await hooks.pop()()
                else:
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

    It takes no task, unless a hook of the application has something to wait for: what most requests
    need is an answer at once. A refusal is sent, and then the peer has a moment to read it before
    the transport is closed.

    Args:
        transport: not started; aborted if the handshake fails.
        accepting: how to answer.
        ended: called once, with the open connection, or with what the handshake failed by:
            `InvalidHandshake`, `TimeoutError`, or another `OSError`. May not raise.
        start_task: runs an async function in a task, for hooks that wait.
        admission: of the server.
        handler_hook: the `process_request` of a handler that has one.

    Attributes:
        connection: once there is a request; open only once the handshake has succeeded.
        refusal: what was answered instead of 101, if it was.
    """

    __slots__ = (
        "_accepting",
        "_admission",
        "_answering",
        "_deadline",
        "_early",
        "_ended",
        "_error",
        "_handler_hook",
        "_has_begun",
        "_http",
        "_peer_is_done",
        "_start_task",
        "_timer",
        "_transport",
        "connection",
        "refusal",
    )

    def __init__(
        self,
        transport: Transport,
        accepting: Accepting,
        ended: Callable[[Opening, ServerConnection | Exception], None],
        start_task: StartTask,
        admission: Admission,
        handler_hook: ProcessRequest | None = None,
    ) -> None:
        self._transport = transport
        self._accepting = accepting
        self._ended = ended
        self._start_task = start_task
        self._admission = admission
        self._handler_hook = handler_hook
        self._http = ServerHandshake()
        self._has_begun = False
        self.connection: ServerConnection | None = None
        self.refusal: Response | None = None
        self._answering: anyio.CancelScope | None = None  # a hook that is waited for
        self._early: bytearray | None = None  # what came while it was
        self._peer_is_done = False
        self._error: Exception | None = None  # what it was refused for
        self._deadline = inf
        self._timer: Timer | None = None

    def start(self, seconds: float | None) -> None:
        """Begin; the request has to come, and be answered, within so many seconds."""
        if seconds is not None:
            reactor = self._transport.reactor
            self._deadline = reactor.clock() + seconds
            self._timer = reactor.call_later(seconds, self._time_out)
        self._transport.start(self)

    def cancel(self) -> None:
        """Refuse it, for the server is stopping; nothing if it has been refused or has ended."""
        self._refuse(refuse(503, "the server is stopping\n"))

    def cut_short(self, text: str) -> None:
        """Refuse it with 503 for want of room, and close at once."""
        self._refuse(refuse(503, f"{text}\n"))
        self._transport.abort()

    # Called by the transport

    def feed(self, data: bytes) -> None:
        """Take bytes of the request, and answer it once it is complete."""
        if self._error is not None:
            return
        if self._early is not None:
            self._early += data
            if len(self._early) >= READ_SIZE:
                self._transport.pause_reading()
            return
        if self._transport.reactor.clock() >= self._deadline:
            self._time_out()
            return
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        self._has_begun = True
        try:
            request = self._http.receive_data(data)
        except BadRequest as exc:
            self._refuse(refuse(exc.status_code, f"{exc}\n"))
            return
        if request is not None:
            self.connection = ServerConnection(self._transport, self._accepting, request)
            self._answer(answer_steps(self.connection, self._admission, self._handler_hook))

    def eof(self) -> None:
        """Take note that the peer will send no more; it may still want to read an answer."""
        self._peer_is_done = True
        if self._error is not None:
            self._leave_if_sent()
        elif not self._has_begun:
            self._error = ConnectionResetError("the peer left before it had sent a request")
            self._transport.abort()
        elif self.connection is None:
            self._receive(b"")

    def lost(self, exc: Exception | None) -> None:
        """Take note of the end of the transport."""
        error = self._error or exc
        if not isinstance(error, OSError | InvalidHandshake):
            error = ConnectionResetError(f"the byte stream broke: {exc!r}")
            error.__cause__ = exc
        self._error = error
        self._stop_answering()
        if self.connection is not None:
            self.connection.lost(exc)
        self._end(error)

    def drained(self) -> None:
        """Take note that there is room to write again."""

    # Answering

    def _answer(self, steps: Steps) -> None:
        """Find out what to answer, in a task if a hook has to be waited for."""
        try:
            awaitable = next(steps)
        except StopIteration as stop:
            self._send(stop.value)
        else:
            self._early = bytearray()
            self._start_task(self._await_steps, steps, awaitable)

    @uninterrupted
    async def _await_steps(self, steps: Steps, awaitable: Awaitable[object]) -> None:
        """Wait for what the hooks wait for; cancelled when the handshake is over without that."""
        answer: Answer | None = None
        try:
            with anyio.CancelScope() as self._answering:
                if self._error is not None:  # since the task was started
                    self._answering.cancel()
                answer = await _drive(steps, awaitable)
        finally:
            self._answering = None
            steps.close()
            if answer is None:
                self.cancel()  # nothing, unless it was from outside
        if self._error is None and answer is not None:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        if answer.response.status_code == 101:
            self._accept(answer)
        else:
            self._refuse(answer.response)

    def _accept(self, answer: Answer) -> None:
        connection, transport = self.connection, self._transport
        assert connection is not None
        try:
            data = self._http.send_response(answer.response)
        except LocalProtocolError as exc:
            self._refuse_unsendable(exc)
            return
        transport.write(data)
        transport.flush_soon()
        connection._open(answer.response, answer.subprotocol, answer.extensions)
        transport.receiver = connection
        early, self._early = self._early, None
        trailing = self._http.trailing_data() + bytes(early or b"")
        if early:
            transport.resume_reading()
        if trailing:
            connection.feed(trailing)
        self._end(connection)
        if self._peer_is_done:
            connection.eof()

    def _refuse(self, response: Response) -> None:
        """Send a refusal, and give the peer a moment to read it before the connection goes."""
        if self._error is not None:
            return
        try:
            data = self._http.send_response(_finished(response, self._accepting.server_header))
        except LocalProtocolError as exc:
            self._refuse_unsendable(exc)
            return
        message = f"answered with {response.status_code} {response.reason_phrase}".rstrip()
        if response.headers.get("Content-Type", "").startswith("text/plain"):
            message += f": {response.body[:200].decode(errors='replace').strip()}"
        self.refusal = response
        is_late = response.status_code == 408
        self._error = TimeoutError(message) if is_late else InvalidHandshake(message)
        self._stop_answering()
        self._transport.write(data)
        self._transport.write_eof()
        self._linger()
        if self._early is not None:
            self._transport.resume_reading()
        if self._peer_is_done:
            self._leave_if_sent()

    def _refuse_unsendable(self, exc: LocalProtocolError) -> None:
        """Answer for a hook whose response cannot be put on the wire."""
        assert self.connection is not None, "only hooks make such a response"
        self.connection._log_hook_error(exc)
        self._refuse(refuse(500, "the server failed to answer the request\n"))

    def _linger(self) -> None:
        """Give the peer a moment to read a refusal, and a long one what is left of the time."""
        self._stop_timer()
        self._timer = self._transport.reactor.call_later(LINGER, self._linger_on)

    def _linger_on(self) -> None:
        if self._transport.unsent and self._transport.reactor.clock() < self._deadline:
            self._linger()
        else:
            self._transport.abort()

    def _leave_if_sent(self) -> None:
        """Close: the peer has the refusal, and will send nothing that would reset it."""
        if not self._transport.unsent:
            self._transport.abort()

    def _time_out(self) -> None:
        if self.connection is None:
            self._refuse(refuse(408, "the request took too long\n"))
        else:
            self._refuse(refuse(503, "the server took too long to answer\n"))

    def _stop_answering(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    def _end(self, result: ServerConnection | Exception) -> None:
        self._stop_timer()
        self._ended(self, result)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _drive(steps: Steps, awaitable: Awaitable[object]) -> Answer:
    """Await what the steps yield until they end."""
    while True:
        try:
            try:
                value = await _wait_for(awaitable)
            except Exception as exc:
                awaitable = steps.throw(exc)
            else:
                awaitable = steps.send(value)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer


@interrupted
async def _wait_for(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _finished(response: Response, server_header: str | None) -> Response:
    """Return a final response with the fields that every one has (RFC 9110 §6.6.1, §7.6.1)."""
    # Imported late, for refusals only.
    from email.utils import formatdate

    headers = Headers(response.headers)
    connection = headers.get_all("Connection")
    if "close" not in (token.strip().lower() for token in ",".join(connection).split(",")):
        headers["Connection"] = ", ".join([*connection, "close"])
    if "Date" not in headers:
        headers.add("Date", formatdate(usegmt=True))
    if server_header is not None and "Server" not in headers:
        headers.add("Server", server_header)
    return replace(response, headers=headers)


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
