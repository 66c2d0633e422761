"""`reconnect`: one connection after another, in one block.

Owns the order of attempts, and that each connection is closed before the next one is opened. What
is worth another attempt, and when, is the business of `_retry.py`, opening that of `_client.py`.

All background work is in one task group, opened with the block. So nothing is entered within
`__anext__`, and the loop may be left in whatever way, with a cancel scope around it or without.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Unpack

import anyio
from anyio.abc import TaskGroup

from ._client import ClientConnection, Connecting, Stream, connect
from ._core.deflate import Deflate
from ._core.extensions import Extension
from ._core.headers import Headers, HeadersLike
from ._core.uri import parse_uri
from ._errors import ConcurrencyError, ConnectionClosed, InvalidURI
from ._io.reactors import uninterrupted
from ._lifetime import CANCELLED_GRACE, Background
from ._logging import escaped
from ._options import ConnectionKeywords
from ._retry import Retry, Row, is_transient
from ._visit import Auth

if TYPE_CHECKING:
    import ssl as stdlib_ssl
    from http.cookiejar import CookieJar

__all__ = ["Reconnecting", "reconnect"]


class ConnectKeywords(ConnectionKeywords, total=False):
    """Those keywords of `connect` that are the same for every attempt."""

    origin: str | None
    user_agent: str | None
    auth: tuple[str, str] | Auth | None
    cookies: Mapping[str, str] | CookieJar | None
    subprotocols: Sequence[str]
    extensions: Sequence[Extension]
    compression: Literal["deflate"] | Deflate | None
    ssl: stdlib_ssl.SSLContext | None
    server_hostname: str | None
    proxy: str | None
    proxy_ssl: stdlib_ssl.SSLContext | None
    path: str | bytes | os.PathLike[str] | None
    stream: Callable[[], Awaitable[Stream]] | None
    local_host: str | None
    happy_eyeballs_delay: float
    one_at_a_time: bool
    max_redirects: int
    open_timeout: float | None


def reconnect(
    uri: str | Callable[[], Awaitable[str]],
    *,
    retry: Retry = Retry(),  # noqa: B008  # frozen
    on_connect: Callable[[ClientConnection], Awaitable[object]] | None = None,
    headers: HeadersLike | Callable[[], Awaitable[HeadersLike]] | None = None,
    **keywords: Unpack[ConnectKeywords],
) -> Reconnecting:
    """Connect to a WebSocket server, again and again (RFC 6455 §7.2.3).

    Use it as `async with reconnect(uri) as attempts: async for ws in attempts: ...`. Each turn of
    the loop has a connection of its own; asking for the next one closes the one before, if it is
    open still. However the loop is left, leaving the block closes the connection as `connect` does:
    with code 1000, with 1011 after an exception, with 1001 when cancelled. What the block raises
    leaves it unchanged. After a `break`, another loop goes on with a new connection.

    Before another attempt there is a delay, which `retry` sets, or more if the server's refusal
    (status 429 or 503) has Retry-After, of which at most one hour is heeded. Without `retry_on`,
    what leads to another attempt is: an error of the network, a timeout, a status of 500 and above
    or 429 of the server or a proxy, and the end of a connection. What does not, and is raised out
    of the loop: every other answer of the server or a proxy, TLS that fails (the certificate, for
    instance), an invalid URI, and a connection that the peer closed with 1002, 1003, 1007 to 1010,
    3000 or 3003, or that this side failed because the peer broke the protocol.

    Args:
        uri: as for `connect`, or an async function that gives one, called before each attempt.
        retry: when to try again, and after how long.
        on_connect: an async function of the connection, called when it is open and before the loop
            gets it, to subscribe again for instance. If it raises `ConnectionClosed`, that counts
            as the end of the connection.
        headers: as for `connect`, or an async function that gives them, called before each attempt:
            tokens expire.
        keywords: as for `connect`. `stream` is an async function that gives a new stream or
            socket for each attempt.

    Raises:
        InvalidURI, TypeError, ValueError, LocalProtocolError: an argument cannot be used.
    """
    if isinstance(keywords.get("stream"), Stream):
        raise TypeError("stream is one stream, expected an async function that gives a new one")
    if not callable(headers):
        # The caller may change them, or may have given an iterator.
        headers = Headers(headers or ())
    # What can be checked is checked now: a secure URI stands for one that is not known.
    sample = "wss://localhost/" if callable(uri) else uri
    _ = connect(sample, task_group=None, headers=None if callable(headers) else headers, **keywords)
    return Reconnecting(uri, retry, on_connect, headers, keywords)


class Reconnecting:
    """What `reconnect` returns: to be entered with `async with`, then to be iterated over.

    Iterating waits for a connection, for as long as that takes.

    Raises:
        OSError, TimeoutError, HandshakeError, ConnectionClosed: the last attempt failed in this
            way, or its connection ended so, and there is not to be another one. If that is because
            of `max_attempts` or `max_elapsed` of `Retry`, a note on the exception says so.
            Iterating again begins a new row of attempts.
        Exception: what an async function that `reconnect` was given raised, and `retry_on` did not
            say True to.
        ConcurrencyError: another task is waiting for the next connection.

    Cancelling: what was being opened or closed is closed, within one second. Iterating may go on.
    Concurrency: one task at a time.
    """

    def __init__(
        self,
        uri: str | Callable[[], Awaitable[str]],
        retry: Retry,
        on_connect: Callable[[ClientConnection], Awaitable[object]] | None,
        headers: HeadersLike | Callable[[], Awaitable[HeadersLike]],
        keywords: ConnectKeywords,
    ) -> None:
        self._uri = uri
        self._retry = retry
        self._on_connect = on_connect
        self._headers = headers
        self._keywords = keywords
        self._logger = keywords.get("logger") or logging.getLogger("anyws")
        self._random = Random()
        self._background = Background()
        self._tasks: TaskGroup | None = None
        self._held: _Held | None = None
        self._waiting: _Waiting | None = None
        self._is_over = False

        # The row of attempts
        self._row = Row(retry, self._random)
        self._has_failed = False  # the last attempt, or its connection has ended
        self._error: Exception | None = None
        self._transient: bool | None = None  # None: the error is of the user's functions
        self._server = "the server"  # its name for the log

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1, since a connection last was healthy."""
        return self._row.attempts

    @property
    def last_error(self) -> Exception | None:
        """How the last attempt that failed did, or the last connection ended; None if none did.

        It is forgotten when the block is left.
        """
        return self._error

    @uninterrupted
    async def __aenter__(self) -> Reconnecting:
        if self._tasks is not None:
            raise RuntimeError("the object that reconnect() returns is for one block only")
        self._tasks = await self._background.open()
        return self

    @uninterrupted
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._end(exc)
        finally:
            self._error = None  # its traceback leads back to this object
            await self._background.aclose()

    async def aclose(self) -> None:
        """Close the connection and give out no more: loops end, in other tasks too.

        Leaving the block does that by itself.

        Cancelling: the connection is closed within one second.
        Concurrency: any number of tasks.
        """
        await self._end(None)

    def __aiter__(self) -> Reconnecting:
        return self

    async def __anext__(self) -> ClientConnection:
        if self._tasks is None:
            raise RuntimeError(
                "nothing can be opened outside of the block: use `async with reconnect(...) as "
                "attempts`, and `async for ws in attempts` in it"
            )
        if self._waiting is not None:
            raise ConcurrencyError("another task is waiting for the next connection already")
        waiting = self._waiting = _Waiting()
        try:
            with waiting.scope:
                if not self._is_over:
                    return await self._next_connection(self._tasks)
        finally:
            self._waiting = None
            waiting.over.set()
        raise StopAsyncIteration

    async def _next_connection(self, tasks: TaskGroup) -> ClientConnection:
        held = self._held
        if held is not None:
            try:
                await self._leave(None)
            finally:
                self._take_end(held)
        elif not self._has_failed:
            self._row = Row(self._retry, self._random)
        while True:
            if self._has_failed:
                await self._wait_to_retry()
            connection = await self._attempt(tasks)
            if connection is not None:
                return connection

    # Attempts

    async def _attempt(self, tasks: TaskGroup) -> ClientConnection | None:
        """Try once; None if that failed, and `_error` tells how."""
        self._row.attempts += 1
        try:
            uri = await self._uri() if callable(self._uri) else self._uri
            headers = await self._headers() if callable(self._headers) else self._headers
        except Exception as exc:
            self._fail(exc, transient=None)
            return None
        try:
            connecting = connect(uri, task_group=tasks, headers=headers, **self._keywords)
            self._server = _name_of_server(uri)
            connection = await connecting.__aenter__()
        except Exception as exc:
            self._fail(exc, transient=is_transient(exc))
            return None
        self._held = _Held(connecting, connection)
        tasks.start_soon(self._held.watch)
        if self._on_connect is not None and not await self._prepare(connection, self._on_connect):
            return None
        return connection

    async def _prepare(
        self,
        connection: ClientConnection,
        on_connect: Callable[[ClientConnection], Awaitable[object]],
    ) -> bool:
        """Let the user prepare the connection; say whether that went well."""
        try:
            await on_connect(connection)
        except BaseException as exc:
            await self._leave(exc)
            if not isinstance(exc, Exception):
                raise
            ended = isinstance(exc, ConnectionClosed)
            self._fail(exc, transient=is_transient(exc) if ended else None)
            return False
        return True

    def _fail(self, error: Exception, *, transient: bool | None) -> None:
        """Take note of what came of the last attempt; whether there is another is seen later."""
        self._has_failed = True
        self._error = error
        self._transient = transient
        self._row.fail(anyio.current_time())

    async def _wait_to_retry(self) -> None:
        """Wait until the next attempt is due; raise the error if there is not to be one."""
        error = self._error
        assert error is not None
        try:
            delay = self._delay_after(error)
            if delay is None:
                self._has_failed = False  # and it begins anew
                raise error
            self._log_retry(error, delay)
            await anyio.sleep(delay)
        finally:
            del error  # whose traceback has this frame

    def _delay_after(self, error: Exception) -> float | None:
        if not self._retry.allows(error, default=bool(self._transient)):
            return None
        now = anyio.current_time()
        delay = self._row.next_delay(error, now)
        if delay is None:
            error.add_note(
                f"There is no attempt after {self._row.summary(now)}: max_attempts is "
                f"{self._retry.max_attempts}, max_elapsed is {self._retry.max_elapsed}"
            )
        return delay

    def _log_retry(self, error: Exception, delay: float) -> None:
        if isinstance(error, ConnectionClosed):
            text = "connection with %s ended (%s); connecting again in %.1f s"
        else:
            text = "connection attempt to %s failed (%s); retrying in %.1f s"
        # Not what others say: it may have the query of the URI in it, or a token.
        quotable = self._transient is not None and not isinstance(error, InvalidURI)
        reason = escaped(str(error)) if quotable else ""
        self._logger.info(text, self._server, reason or type(error).__name__, delay)

    # The connection

    async def _leave(self, exc: BaseException | None) -> None:
        """Close the connection, if there is one, as when a block is left by `exc`."""
        if self._held is not None:
            try:
                await self._held.connecting.__aexit__(None if exc is None else type(exc), exc, None)
            finally:
                self._held = None

    def _take_end(self, held: _Held) -> None:
        """Take note of the end of a connection that was given out."""
        if held.lived() >= self._retry.reset_after:
            self._row = Row(self._retry, self._random)
        closed = held.connection._closed()
        self._fail(closed, transient=is_transient(closed))

    async def _end(self, exc: BaseException | None) -> None:
        """Give out no more, and close the connection as when its block is left by `exc`."""
        self._is_over = True
        waiting = self._waiting
        if waiting is not None:
            waiting.scope.cancel()
            if waiting.task != anyio.get_current_task().id:
                # It may be closing a connection, and then has its grace for that.
                with anyio.move_on_after(2 * CANCELLED_GRACE, shield=True):
                    await waiting.over.wait()
        await self._leave(exc)


class _Held:
    """An open connection, which was entered and has to be left."""

    def __init__(self, connecting: Connecting, connection: ClientConnection) -> None:
        self.connecting = connecting
        self.connection = connection
        self._opened_at = anyio.current_time()
        self._ended_at = inf

    async def watch(self) -> None:
        """Take the time when the connection ends, which may be long before anybody asks."""
        await self.connection.wait_closed()
        self._ended_at = anyio.current_time()

    def lived(self) -> float:
        """Return the seconds for which it has been open."""
        return min(self._ended_at, anyio.current_time()) - self._opened_at


class _Waiting:
    """A task that waits for the next connection."""

    def __init__(self) -> None:
        self.task = anyio.get_current_task().id
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()


def _name_of_server(uri: str) -> str:
    """Name the server as a log may: without user information and query."""
    parts = parse_uri(uri)
    return f"{parts.host} port {parts.port}"
