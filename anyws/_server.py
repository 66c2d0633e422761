"""`serve`: listening, a handler task per connection, and a graceful stop.

Owns the lives of a server's connections (RFC 6455 §4.2, §7.1). How one comes in is the business of
`_entrance.py`, what is said on it that of `_connection.py`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from logging import ERROR
from operator import itemgetter
from socket import AF_INET6
from socket import socket as Socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Unpack

import anyio
from anyio.abc import TaskGroup, TaskStatus

from ._accept import LINGER
from ._accepting import Accepting, AcceptKeywords
from ._admission import MAX_PENDING_HANDSHAKES, Admission, Limits
from ._core.frames import check_close
from ._core.headers import Response
from ._entrance import Entrance
from ._handlers import Handler, Report, call_handler
from ._io.listen import listen_tcp, listen_unix
from ._io.reactors import new_reactor, uninterrupted
from ._io.transport import Reactor
from ._lifetime import CANCELLED_GRACE, Background, TaskGroupLike
from ._logging import describe_address
from ._options import check_seconds
from ._server_connection import ServerConnection
from ._stats import ServerStats, ServerTotals
from ._tasks import Cancellable, HandlerTasks, new_handler_tasks

if TYPE_CHECKING:
    import ssl as stdlib_ssl

__all__ = ["Server", "Serving", "serve"]

#: 10 s for handlers to end by themselves when the server stops.
SHUTDOWN_TIMEOUT = 10.0

#: 4,096: as many as Linux holds unless it is told otherwise; other systems hold fewer. Measured
#: with 4,000 strangers at the door: with 100, the kernel turned most honest clients away for good.
BACKLOG = 4096


def serve(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    path: str | bytes | os.PathLike[str] | None = None,
    mode: int | None = None,
    sockets: Sequence[Socket] | None = None,
    backlog: int = BACKLOG,
    reuse_port: bool = False,
    ssl: stdlib_ssl.SSLContext | None = None,
    health: str | None = None,
    max_connections: int | None = None,
    max_pending_handshakes: int | None = MAX_PENDING_HANDSHAKES,
    max_connections_per_address: int | None = None,
    cancel_on_close: bool = False,
    on_handler_error: Literal["log", "raise"] = "log",
    handler_task_group: TaskGroup | TaskGroupLike | None = None,
    shutdown_timeout: float = SHUTDOWN_TIMEOUT,
    task_status: TaskStatus[Server] | None = None,
    **options: Unpack[AcceptKeywords],
) -> Serving:
    """Serve WebSocket connections (RFC 6455 §4.2).

    Three ways: `async with serve(handler, host, port) as server`, which stops gracefully when the
    block is left; `server = await task_group.start(serve, handler, host, port)`, with a task
    group of anyio or a nursery of trio, which runs until cancelled; `await serve(handler, host,
    port)` likewise. In each, the server is bound before anything goes on.

    Each connection runs `await handler(connection)` in a task of its own. When the handler
    returns, the connection is closed with code 1000; when it raises, with 1011, and the error is
    logged. A `ConnectionClosed` that escapes is a normal end.

    Args:
        handler: an async function of one `ServerConnection`. An object that has `process_request`
            too, such as a `Router`, takes part in the opening handshake by it.
        host: a name or an address; all of its addresses are bound. None: every interface.
        port: 0 picks a free one, the same for every address.
        path: of a Unix socket to listen on instead. One that nobody listens on is replaced.
        mode: the permissions of the Unix socket's file.
        sockets: bound sockets to use instead; see `inherited_sockets` for those of systemd.
        backlog: connections that the kernel holds until they are accepted, as far as it does.
        reuse_port: let several processes listen on one port.
        ssl: for `wss`; see `ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)`.
        health: a path that is answered with 200 to every GET or HEAD request, and with 503 once
            the server drains or shuts down. It goes on listening for that then, until its last
            handler has ended, unless it was given `sockets` or `reuse_port`, which others may want
            to accept from. No hook is asked, nor is `auth`.
        max_connections: further ones are refused with 503; None for no limit.
        max_pending_handshakes: connections that have been accepted and are not open yet. When
            there are so many, the oldest has to make room as soon as it has had one second, and
            until then nobody else is accepted. None for no limit.
        max_connections_per_address: open or not, from one IPv4 address, or from one /64 of IPv6;
            further ones are refused with 503 at once, over TLS without an answer. None for no
            limit. Behind a proxy all come from the same address.
        cancel_on_close: cancel a handler when its connection ends; see
            `Connection.cancel_on_close`.
        on_handler_error: "raise" lets a handler's exception end the server, for tests.
        handler_task_group: where handlers run, a task group of anyio or a nursery of trio; None is
            one of the server's own. The server waits for them as ever when it stops, so the group
            has to outlive it. With `on_handler_error="raise"`, handlers' errors end this group.
        shutdown_timeout: seconds that handlers have to end when the block is left.
        subprotocols: those that are supported, in order of preference. A client that offers none
            of them is served without one.
        select_subprotocol: a function of the `ServerConnection` and the subprotocols that the
            client offers, which returns one of them or None, or raises `NegotiationError` to
            refuse with 400. It takes the place of choosing the first of `subprotocols`.
        extensions: those that are accepted if a client offers them, in the order in which they
            work on a message that is sent; compression comes behind them.
        compression: "deflate", or a `Deflate` with settings of its own, accepts compression of
            messages (RFC 7692). It takes CPU time, and memory for each connection.
        origins: whose web pages may connect, others are refused with 403: "same-host", the
            default, is the pages of the host that the request names; or a list of origins and of
            compiled patterns that match a whole one; or a function of an origin and the request;
            or "*". Clients that are no browsers send no origin, and may always connect.
        auth: who may connect; others are refused with 401. See `ServerConnection.username`.
        process_request: a function, sync or async, of the `ServerConnection` and the `Request`. It
            sees every HTTP request before it is checked to be an opening handshake, whatever its
            method; a body is dropped. A `Response` that it returns is the answer; None lets the
            handshake go on. What it raises is logged, and answered with 500.
        process_response: a function, sync or async, of the `ServerConnection`, the `Request` and
            the `Response` that is about to be sent, with status 101 or another one. It may change
            the headers, or return another response.
        server_header: the value of Server; None sends none.
        open_timeout: seconds for TLS, the request and the hooks together; None for no limit.
        options: the ten above, and those of `ConnectionOptions`: `close_timeout`,
            `ping_interval`, `ping_timeout`, `max_size`, `max_fragments`, `max_buffer`,
            `write_limit`, `send_timeout`,
            `json_codec`, `logger`.

    Raises:
        OSError: an address cannot be bound.
        TypeError, ValueError, LocalProtocolError: an argument cannot be used.

    Cancelling: handlers are cancelled, and peers get 1001 within a grace of one second.
    """
    given = sum((path is not None, sockets is not None, host is not None or port != 0))
    if given > 1:
        raise ValueError("host and port, path, and sockets exclude each other")
    if sockets is not None and not sockets:
        raise ValueError("sockets is empty, expected at least one to listen on")
    if not 0 <= port <= 65535:
        raise ValueError(f"port is {port}, expected 0-65535")
    if on_handler_error not in ("log", "raise"):
        raise ValueError(f"on_handler_error is {on_handler_error!r}, expected 'log' or 'raise'")
    check_seconds("shutdown_timeout", shutdown_timeout)

    async def listen() -> list[Socket]:
        if sockets is not None:
            for sock in sockets:
                sock.listen(backlog)  # it may be bound only; again does no harm
            return list(sockets)
        if path is not None:
            return [listen_unix(path, mode=mode, backlog=backlog)]
        return await listen_tcp(host, port, backlog=backlog, reuse_port=reuse_port)

    limits = Limits(max_connections, max_pending_handshakes, max_connections_per_address, health)
    listening = Listening(listen, ssl, limits, shares=reuse_port, borrows=sockets is not None)
    handling = Handling(
        handler,
        raises=on_handler_error == "raise",
        cancel_on_close=cancel_on_close,
        task_group=handler_task_group,
        shutdown_timeout=shutdown_timeout,
    )
    return Serving(listening, Accepting().changed(options), handling, task_status)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where connections come from, and how many may.

    Attributes:
        shares: other processes listen on the same port by sockets of their own.
        borrows: the sockets are somebody else's too.
    """

    listen: Callable[[], Awaitable[list[Socket]]]
    ssl: stdlib_ssl.SSLContext | None
    limits: Limits
    shares: bool
    borrows: bool

    @property
    def goes_on(self) -> bool:
        """Whether to go on listening while the server stops, for the health check."""
        return self.limits.health is not None and not (self.shares or self.borrows)


@dataclass(frozen=True, slots=True)
class Handling:
    """How handlers run, and how they end."""

    handler: Handler
    raises: bool
    cancel_on_close: bool
    task_group: TaskGroup | TaskGroupLike | None
    shutdown_timeout: float


class Server:
    """A server that accepts connections; made by `serve`."""

    def __init__(
        self,
        sockets: Sequence[Socket],
        reactor: Reactor,
        tasks: TaskGroup,
        handlers: HandlerTasks,
        listening: Listening,
        accepting: Accepting,
        handling: Handling,
    ) -> None:
        self._tasks = tasks
        self._handlers = handlers
        self._listening = listening
        self._handling = handling
        self._logger = accepting.connection.logger
        self._handler_error: Exception | None = None
        self._ended = anyio.Event()
        self._connections: set[ServerConnection] = set()
        self._admission = Admission(listening.limits, self._connections)
        self._totals = ServerTotals()
        self._last_one_gone = anyio.Event()  # a new one each time
        self._lent = Cancellable()  # handlers in the user's task group
        handlers.when_cancelled = self._close_the_door

        self._sockets = tuple(sockets)
        self._addresses = tuple(sock.getsockname() for sock in sockets)
        self._entrance = Entrance(
            sockets,
            listening.borrows,
            reactor,
            listening.ssl,
            accepting,
            self._admission,
            getattr(handling.handler, "process_request", None),
            start_task=handlers.start,
            entered=self._take_in,
            left=self._take_leave,
        )

    @property
    def sockets(self) -> tuple[Socket, ...]:
        """The listening sockets; closed once the server stops."""
        return self._sockets

    @property
    def addresses(self) -> tuple[Any, ...]:
        """What each socket is bound to: host and port (and more for IPv6), or a path."""
        return self._addresses

    @property
    def port(self) -> int:
        """The TCP port.

        Raises:
            ValueError: the server listens on Unix sockets only.
        """
        for address in self._addresses:
            if isinstance(address, tuple):
                return int(address[1])
        raise ValueError("the server listens on Unix sockets only, which have no port")

    @property
    def uri(self) -> str:
        """A URI by which a client on this machine reaches the server over TCP."""
        scheme = "ws" if self._listening.ssl is None else "wss"
        for sock, address in zip(self._sockets, self._addresses, strict=True):
            if isinstance(address, tuple):
                host = address[0]
                if host in ("0.0.0.0", "::"):
                    host = "localhost"
                elif sock.family == AF_INET6 or ":" in host:
                    host = f"[{host}]"
                return f"{scheme}://{host}:{address[1]}/"
        return f"{scheme}://localhost/"

    @property
    def connections(self) -> frozenset[ServerConnection]:
        """The connections whose handlers run."""
        return frozenset(self._connections)

    @property
    def stats(self) -> ServerStats:
        """Figures of the server so far; some microseconds for each ten open connections."""
        traffic = [connection._traffic for connection in self._connections]
        return self._totals.with_open(traffic, len(self._admission.arrivals))

    async def shutdown(
        self, grace: float | None = None, code: int = 1001, reason: str = ""
    ) -> None:
        """Stop: accept no more, refuse handshakes with 503, close every connection, and wait.

        Handlers see `ConnectionClosed`. Those that have not ended after the grace are cancelled,
        which takes one second more at most.

        Args:
            grace: seconds; `shutdown_timeout` of `serve` if None.
            code: the close code for the peers, 1001 (going away) or 1012 (restart) for instance.
            reason: at most 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: `code` or `reason` is out of range; nothing was done.
            ValueError: `grace` is negative.

        Cancelling: the server accepts no more; its connections go on closing.
        Concurrency: any number of tasks; the first one's code counts.
        """
        grace = self._handling.shutdown_timeout if grace is None else grace
        check_seconds("grace", grace)
        check_close(code, reason)
        for connection in self.connections:
            connection._begin_close(code, reason)
        self._stop_accepting()
        with anyio.move_on_after(grace):
            await self._wait_for_handlers()
        if self._connections:
            self._logger.warning(
                "%d handlers had not ended %s s after the shutdown began; they are cancelled",
                len(self._connections),
                grace,
            )
            self._cancel_handlers()
            await self._wait_for_handlers()
        self._ended.set()

    async def drain(self, over: float = 0, *, code: int = 1001, reason: str = "") -> None:
        """Stop accepting, and leave the connections open, or close them one by one.

        Refuses handshakes with 503; with a `health` check those that still come too, if the port is
        this server's alone. Open connections go on, for a deploy that waits for their handlers:
        `wait_closed` tells when the last one has ended. Or, with `over`, each is closed
        at a random moment within so many seconds, so that the clients do not come back all at
        once; this returns when they are closed, then.

        Args:
            over: seconds; 0 leaves connections open.
            code: the close code for the peers.
            reason: at most 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: `code` or `reason` is out of range; nothing was done.
            ValueError: `over` is negative.

        Cancelling: the server accepts no more; connections not closed yet stay open.
        Concurrency: any number of tasks; the earliest moment of each connection counts.
        """
        check_seconds("over", over)
        check_close(code, reason)
        self._stop_accepting()
        if not over:
            return
        now = anyio.current_time()
        moments = [(now + random.uniform(0, over), each) for each in self._connections]
        for moment, connection in sorted(moments, key=itemgetter(0)):
            await anyio.sleep_until(moment)
            connection._begin_close(code, reason)
        for _, connection in moments:
            await connection.wait_closed()

    async def aclose(self) -> None:
        """Do as `shutdown()`. Cancelling: handlers are cancelled at once."""
        try:
            await self.shutdown()
        except BaseException:
            self._cancel_all()
            raise

    async def wait_closed(self) -> None:
        """Wait until the server has stopped and all its handlers have ended.

        Cancelling: nothing changes.
        """
        await self._ended.wait()

    def _stop_accepting(self) -> None:
        """Let nobody in any more; those who ask are told so, as long as there is a health check."""
        self._admission.is_stopping = True
        if not self._listening.goes_on:
            self._close_the_door()
            return
        self._entrance.turn_away()
        self._notice_end()

    def _close_the_door(self) -> None:
        """Accept nobody any more."""
        self._admission.is_stopping = True
        self._entrance.close()
        self._notice_end()

    def _cancel_all(self) -> None:
        self._close_the_door()
        self._cancel_handlers()

    def _cancel_handlers(self) -> None:
        self._handlers.cancel()
        self._lent.cancel()

    async def _wait_for_handlers(self) -> None:
        """Wait for handlers and handshakes to end."""
        while self._connections or self._admission.arrivals:
            await self._last_one_gone.wait()

    def _notice_end(self) -> None:
        """See whether the last handler, or handshake, has ended."""
        if self._connections:
            return
        stopping = self._admission.is_stopping
        if stopping and self._entrance.is_open:
            self._close_the_door()  # nobody is left to be asked after
        elif not self._admission.arrivals:
            self._last_one_gone.set()
            self._last_one_gone = anyio.Event()
            if stopping:
                self._ended.set()

    def _take_in(self, connection: ServerConnection) -> None:
        """Start a handler on an open connection."""
        self._connections.add(connection)
        self._totals.opened_connections += 1
        self._start_handler(connection)

    def _take_leave(self, refusal: Response | None) -> None:
        """Take note that somebody has not come in."""
        if refusal is not None and refusal.status_code >= 400:
            self._totals.refused_handshakes += 1
        self._notice_end()

    # Handlers

    def _start_handler(self, connection: ServerConnection) -> None:
        group = self._handling.task_group
        if group is not None:
            self._handlers.start(self._lend, group, connection)
        else:
            report = self._end_with if self._handling.raises else self._log_error
            self._handlers.start(self._run, connection, report)

    @uninterrupted
    async def _lend(
        self, task_group: TaskGroup | TaskGroupLike, connection: ServerConnection
    ) -> None:
        """Start a handler in the user's task group."""
        run = self._run_and_raise if self._handling.raises else self._run
        try:
            task_group.start_soon(self._lent.run, run, connection, self._log_error)
        except RuntimeError as exc:
            problem = exc.with_traceback(None)  # which has this frame

            async def fail(_: ServerConnection) -> None:
                raise RuntimeError("handler_task_group takes no more tasks") from problem

            await call_handler(fail, connection, self._log_error, self._forget)

    @uninterrupted
    async def _run_and_raise(self, connection: ServerConnection, _: Report) -> None:
        """Run a handler in the user's task group, which takes its error instead of the log."""
        errors: list[Exception] = []

        def take(_: ServerConnection, error: Exception) -> None:
            errors.append(error)

        await self._run(connection, take)
        if errors:
            raise errors.pop()

    def _run(self, connection: ServerConnection, report: Report) -> Coroutine[Any, Any, None]:
        """Return the handler's run on a connection."""
        handling = self._handling
        return call_handler(
            handling.handler,
            connection,
            report,
            self._forget,
            cancel_on_close=handling.cancel_on_close,
        )

    def _forget(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        self._totals.add(connection._traffic)
        self._admission.leave(connection)
        self._notice_end()

    def _log_error(self, connection: ServerConnection, error: Exception) -> None:
        self._totals.failed_handlers += 1
        connection._log(
            ERROR,
            "the handler of the connection with %s raised",
            describe_address(connection.remote_address),
            exc_info=error,
        )

    def _end_with(self, _: ServerConnection, error: Exception) -> None:
        """End the server by the error of a handler."""
        self._handler_error = self._handler_error or error
        self._tasks.cancel_scope.cancel()


class Serving(Coroutine[Any, Any, None]):
    """What `serve` returns: an async context manager, and a coroutine to be awaited or started."""

    def __init__(
        self,
        listening: Listening,
        accepting: Accepting,
        handling: Handling,
        task_status: TaskStatus[Server] | None,
    ) -> None:
        self._listening = listening
        self._accepting = accepting
        self._handling = handling
        self._task_status = task_status
        self._background: Background | None = None
        self._server: Server | None = None
        self._coroutine: Coroutine[Any, Any, None] | None = None

    @uninterrupted
    async def __aenter__(self) -> Server:
        if self._background is not None:
            raise RuntimeError("the object that serve() returns is for one server only")
        self._background = Background()
        try:
            reactor = new_reactor()
            tasks = await self._background.open()
            await self._background.start(reactor)
            handlers = new_handler_tasks()
            tasks.start_soon(handlers.run)  # by its first step before any socket is looked at
            sockets = await self._listening.listen()
            self._server = Server(
                sockets,
                reactor,
                tasks,
                handlers,
                self._listening,
                self._accepting,
                self._handling,
            )
        except BaseException:
            await self._background.aclose()
            raise
        return self._server

    @uninterrupted
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        server = self._server
        assert server is not None
        try:
            await self._stop(server, exc)
        except anyio.get_cancelled_exc_class():
            # Where a handler's error ends the server, that is why; if not alone, it comes again.
            if server._handler_error is None:
                raise
        error, server._handler_error = server._handler_error, None
        try:
            if error is not None:
                if exc is None or isinstance(exc, anyio.get_cancelled_exc_class()):
                    raise error
                exc.add_note(f"A handler had raised {error!r}")
        finally:
            del error  # whose traceback has this frame

    async def _stop(self, server: Server, exc: BaseException | None) -> None:
        """Stop gracefully, or quickly if `exc` is no mere error, and end the background."""
        assert self._background is not None
        try:
            if exc is None or isinstance(exc, Exception):
                await server.shutdown()
            else:
                await self._stop_quickly(server)
        except BaseException:
            await self._stop_quickly(server)
            raise
        finally:
            server._ended.set()
            try:
                await self._background.aclose()
            finally:
                server._entrance.let_go()

    async def _stop_quickly(self, server: Server) -> None:
        """Cancel every handler; each tells its peer, within the grace."""
        server._cancel_all()
        # A little more than each of them has, so that none is cut short.
        with anyio.move_on_after(CANCELLED_GRACE + LINGER, shield=True):
            await server._wait_for_handlers()

    async def _run(self) -> None:
        async with self as server:
            if self._task_status is not None:
                self._task_status.started(server)
            await server.wait_closed()

    # To be awaited, and to be started: task groups want a coroutine.

    def __await__(self) -> Generator[Any, Any, None]:
        return self._run().__await__()

    def send(self, value: Any) -> Any:
        """Go on, as a coroutine does."""
        return self._started().send(value)

    def throw(self, *exc_info: Any) -> Any:
        """Raise an exception where it waits, as a coroutine does."""
        return self._started().throw(*exc_info)

    def close(self) -> None:
        """End it where it waits, as a coroutine does."""
        if self._coroutine is not None:
            self._coroutine.close()

    def _started(self) -> Coroutine[Any, Any, None]:
        if self._coroutine is None:
            self._coroutine = self._run()
        return self._coroutine
