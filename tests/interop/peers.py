"""A connection held by another library, as a test sees it from another event loop.

A peer lives in an event loop and a thread of its own, so its library need not know the backend of
the test. Knows nothing of `anyws` and of no library in particular.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import ClassVar, TypeVar, TypeVarTuple

import anyio
from anyio import from_thread, to_thread
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import current_token

# Seconds that any one wait may take. It ends within milliseconds unless something is wrong.
LIMIT = 10.0

Entered = TypeVar("Entered")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the payloads of its frames, each of them valid UTF-8 in a text message."""

    is_text: bool
    fragments: tuple[bytes, ...]

    @classmethod
    def of(cls, *fragments: str | bytes) -> Message:
        """Make a message of one type from its fragments."""
        is_text = isinstance(fragments[0], str)
        return cls(is_text, tuple(f.encode() if isinstance(f, str) else f for f in fragments))

    @property
    def data(self) -> str | bytes:
        """What the application sees."""
        payload = b"".join(self.fragments)
        return payload.decode() if self.is_text else payload


@dataclass(frozen=True, slots=True)
class Close:
    """The Close frame that a peer received.

    Attributes:
        code: 1006 where none arrived.
        reason: None where the peer's library does not tell it.
    """

    code: int
    reason: str | None


NO_CLOSE = Close(1006, "")


class PeerClosed(Exception):
    """A message was awaited from a connection that is closed; the argument is its `Close`."""


class Peer(ABC):
    """One open connection of another library, made inside the event loop of that library.

    A test awaits `send` to `wait_closed`, in any event loop but that one. Adapters implement the
    abstract methods, which run in the peer's loop, and report what arrives through `_deliver`,
    `_pong` and `_finish`.
    """

    # False for a library that shows whole messages only: here they have one fragment then.
    tells_fragments: ClassVar[bool]
    # False for a library that answers every Close with 1000, where §5.5.1 expects an echo.
    echoes_close_code: ClassVar[bool] = True

    def __init__(self) -> None:
        self.finished = anyio.Event()
        self._loop = current_token()
        self._messages: SimpleQueue[Message | Close] = SimpleQueue()
        self._pongs: SimpleQueue[bytes] = SimpleQueue()
        self._closed: Future[Close] = Future()

    async def send(self, data: str | bytes) -> None:
        """Send an unfragmented message."""
        await self._call(self._send, data)

    async def send_fragments(self, message: Message) -> None:
        """Send a message with one frame per fragment; a library may add an empty last one."""
        await self._call(self._send_fragments, message)

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            PeerClosed: the connection closed and no message is left.
        """
        message = await to_thread.run_sync(partial(self._messages.get, timeout=LIMIT))
        if isinstance(message, Close):
            raise PeerClosed(message)
        return message

    async def ping(self, payload: bytes) -> bytes:
        """Send a Ping and return the payload of the next Pong."""
        await self._call(self._ping, payload)
        return await to_thread.run_sync(partial(self._pongs.get, timeout=LIMIT))

    async def close(self, code: int, reason: str) -> None:
        """Start the closing handshake and wait for its end."""
        await self._call(self._close, code, reason)

    async def wait_closed(self) -> Close:
        """Wait until the connection is closed and return the Close frame that arrived."""
        return await to_thread.run_sync(self._closed.result, LIMIT)

    async def _call(
        self, function: Callable[[*Arguments], Awaitable[None]], *arguments: *Arguments
    ) -> None:
        """Run `function` in the peer's loop, within the time limit."""

        async def bounded() -> None:
            with anyio.fail_after(LIMIT):
                await function(*arguments)

        await to_thread.run_sync(lambda: from_thread.run(bounded, token=self._loop))

    def _deliver(self, message: Message) -> None:
        """Report a message that arrived."""
        self._messages.put(message)

    def _pong(self, payload: bytes) -> None:
        """Report a Pong that arrived."""
        self._pongs.put(payload)

    def _finish(self, close: Close) -> None:
        """Report the end of the connection; only the first report counts."""
        if not self._closed.done():
            self._closed.set_result(close)
            self._messages.put(close)
            self.finished.set()

    @abstractmethod
    async def read(self) -> None:
        """Receive until the connection ends, and report all of it."""

    @abstractmethod
    async def _send(self, data: str | bytes) -> None: ...

    @abstractmethod
    async def _send_fragments(self, message: Message) -> None: ...

    @abstractmethod
    async def _ping(self, payload: bytes) -> None: ...

    @abstractmethod
    async def _close(self, code: int, reason: str) -> None: ...

    async def _read(self) -> None:
        try:
            await self.read()
        except Exception:
            # Nobody shall wait for a connection that the library gave up; leaving it raises this.
            self._finish(NO_CLOSE)
            raise

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Receive in the background, and close a connection that is still open at the end."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read)
            yield
            if not self.finished.is_set():
                with anyio.fail_after(LIMIT):
                    await self._close(1000, "")
            tasks.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class Listener:
    """A server of another library, which keeps its connections for a test to pick up."""

    port: int
    accepted: SimpleQueue[Peer] = field(default_factory=SimpleQueue)

    async def accept(self) -> Peer:
        """Wait for the next connection; awaited by a test, in another loop than the server's."""
        return await to_thread.run_sync(partial(self.accepted.get, timeout=LIMIT))


@asynccontextmanager
async def hosted(
    portal: BlockingPortal, manager: AbstractAsyncContextManager[Entered]
) -> AsyncIterator[Entered]:
    """Enter and leave `manager` in the event loop of `portal`, from the event loop of a test.

    The manager does not see what the test raises: a failure of the test stays as it is.
    """
    blocking = portal.wrap_async_context_manager(_bounded(manager))
    # Shielded, so that a test which is cancelled by its own deadline leaves nothing open.
    with anyio.CancelScope(shield=True):
        entered = await to_thread.run_sync(blocking.__enter__)
    try:
        yield entered
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(blocking.__exit__, None, None, None)


@asynccontextmanager
async def _bounded(manager: AbstractAsyncContextManager[Entered]) -> AsyncIterator[Entered]:
    """Give the whole life of a peer, which is one test long, an end."""
    with anyio.fail_after(3 * LIMIT):
        async with manager as entered:
            yield entered
