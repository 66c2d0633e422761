"""A network in memory for `reconnect`: each attempt meets a server that follows a script.

Knows nothing of how attempts are made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, TaskGroup
from anyio.lowlevel import checkpoint

from anyws import ClientConnection, ConnectionClosed, Reconnecting, Retry, reconnect
from anyws.testing import TEXT, Frame, Head, RawPeer, close_frame, memory_pair

from .raw import LIMIT

__all__ = [
    "AT_ONCE",
    "TIMELESS",
    "URI",
    "Network",
    "Script",
    "Visit",
    "accept_wrongly",
    "answer_garbage",
    "choose_a_subprotocol",
    "closing",
    "end_of",
    "first_message",
    "ignore",
    "leave",
    "leave_early",
    "leave_in_the_answer",
    "leave_in_the_body",
    "live",
    "live_for",
    "network",
    "open_and_ignore",
    "refusing",
    "send_too_much",
    "send_what_is_forbidden",
    "use",
]

#: What must not appear in a log is in it.
URI = "ws://user:secret@example.org/feed?token=hidden"

#: No delay, and no attempt too many.
AT_ONCE = Retry(initial_delay=0, max_attempts=3)

#: The limit in seconds for tests with `virtual_time`, which passes quickly.
TIMELESS = 1e6


class Visit(RawPeer):
    """The server's end of one connection.

    Args:
        stream: connected.
        codes: where to add the close code that the client sends.
        requests: where to add its request.
    """

    def __init__(
        self, stream: ByteStream, codes: list[int | None], requests: list[Head] | None = None
    ) -> None:
        super().__init__(stream, is_client=False)
        self._codes = codes
        self._requests = [] if requests is None else requests

    async def open(self, *then: Frame) -> None:
        """Accept the connection, and send frames in the same write."""
        self._requests.append(await self.accept(then=then))

    async def take_close(self) -> Frame:
        """Receive frames up to a Close frame."""
        frame = (await self.receive_to_close())[-1]
        self._codes.append(int.from_bytes(frame.payload[:2], "big") if frame.payload else None)
        return frame


Script = Callable[[Visit], Awaitable[object]]


# Servers that are well


async def live(visit: Visit) -> None:
    """Say hello, and be there until the client closes."""
    await visit.open(Frame(TEXT, b"hello"))
    await visit.send(await visit.take_close())


def live_for(seconds: float, code: int | None = None) -> Script:
    """Leave after a while, with a Close frame if there is a code."""

    async def script(visit: Visit) -> None:
        await visit.open()
        await anyio.sleep(seconds)
        if code is not None:
            await visit.send(close_frame(code))
            await visit.take_close()

    return script


def closing(code: int | None) -> Script:
    """Accept the connection, and close it."""

    async def script(visit: Visit) -> None:
        await visit.open(close_frame(code))
        await visit.take_close()

    return script


def refusing(status: int, *fields: str) -> Script:
    """Answer with another status than 101."""

    async def script(visit: Visit) -> None:
        await visit.read_head()
        head = "\r\n".join((f"HTTP/1.1 {status} No", *fields, "Content-Length: 0"))
        await visit.send(f"{head}\r\n\r\n".encode())
        await visit.read_rest()

    return script


# Servers that are gone


async def leave(visit: Visit) -> None:
    """Accept the connection, and end it without a word."""
    await visit.open()


async def leave_early(visit: Visit) -> None:
    """End the connection before the answer."""
    await visit.read_head()


async def leave_in_the_answer(visit: Visit) -> None:
    await visit.read_head()
    await visit.send(b"HTTP/1.1 101 Switching Pro")


async def leave_in_the_body(visit: Visit) -> None:
    """End the connection in the middle of a refusal that would be for good."""
    await visit.read_head()
    await visit.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\nhal")


async def ignore(visit: Visit) -> None:
    """Never answer."""
    await visit.read_rest()


async def open_and_ignore(visit: Visit) -> None:
    """Accept the connection, and do not answer the Close frame."""
    await visit.open()
    await visit.read_rest()


# Servers that do it wrong


async def answer_garbage(visit: Visit) -> None:
    await visit.read_head()
    await visit.send(b"garbage\r\n\r\n")
    await visit.read_rest()


async def accept_wrongly(visit: Visit) -> None:
    await visit.read_head()
    await visit.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    await visit.read_rest()


async def choose_a_subprotocol(visit: Visit) -> None:
    """Choose one that was not offered."""
    await visit.accept("Sec-WebSocket-Protocol: nobody-asked")
    await visit.read_rest()


async def send_what_is_forbidden(visit: Visit) -> None:
    await visit.open(Frame(TEXT, b"reserved", reserved=4))
    await visit.take_close()


async def send_too_much(visit: Visit) -> None:
    """Send a message of 200 bytes."""
    await visit.open(Frame(TEXT, bytes(200)))
    await visit.take_close()


# The network


class Network:
    """Gives out streams in memory, with a server at the other end that follows the next script.

    It insists that every stream is closed before another one is asked for.

    Attributes:
        dialled: the times when a stream was asked for.
        codes: the close codes that clients sent.
        requests: what they asked for, where they were let in.
    """

    def __init__(self, tasks: TaskGroup, plan: Iterable[Script | Exception]) -> None:
        self._tasks = tasks
        self._plan = iter(plan)
        self._streams: list[_Stream] = []
        self.dialled: list[float] = []
        self.codes: list[int | None] = []
        self.requests: list[Head] = []

    def reconnect(self, **keywords: Any) -> Reconnecting:
        """Call `reconnect` for this network, whose servers do not answer Pings."""
        options = {"uri": URI, "ping_interval": None, **keywords}
        return reconnect(options.pop("uri"), stream=self.dial, **options)

    async def dial(self) -> ByteStream:
        """Give out a stream, or raise the exception whose turn it is."""
        await checkpoint()
        assert self.is_closed, "a connection is open still"
        self.dialled.append(anyio.current_time())
        script = next(self._plan)
        if isinstance(script, Exception):
            raise script
        ours, theirs = memory_pair()
        self._streams.append(_Stream(ours))
        self._tasks.start_soon(self._visit, script, theirs)
        return self._streams[-1]

    async def _visit(self, script: Script, stream: ByteStream) -> None:
        async with stream:
            await script(Visit(stream, self.codes, self.requests))

    @property
    def is_closed(self) -> bool:
        """Whether every stream that was given out has been closed."""
        return all(stream.is_closed for stream in self._streams)

    @property
    def waits(self) -> list[float]:
        """The seconds from each attempt to the next."""
        pairs = zip(self.dialled, self.dialled[1:], strict=False)
        return [later - earlier for earlier, later in pairs]


class _Stream(ByteStream):
    """A stream that tells whether it has been closed."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.is_closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        self.is_closed = True
        await self._stream.aclose()


@asynccontextmanager
async def network(*plan: Script | Exception, limit: float = LIMIT) -> AsyncIterator[Network]:
    """Yield a network; leaving waits for its servers, so that all they check counts."""
    with anyio.fail_after(limit):
        async with anyio.create_task_group() as tasks:
            yield Network(tasks, plan)


# Those who use it


async def first_message(ws: ClientConnection) -> str | bytes | None:
    """Receive one message; None if the connection ends before."""
    try:
        return await ws.receive()
    except ConnectionClosed:
        return None


async def use(attempts: Reconnecting) -> ClientConnection:
    """Return the first connection that says something, open still."""
    async for ws in attempts:
        if await first_message(ws) is not None:
            return ws
    raise AssertionError("iteration ended")


async def end_of(attempts: Reconnecting) -> Exception:
    """Use a block until there is not to be another attempt, and return why."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # looked at by the caller
        await _use_up(attempts)
    return caught.value


async def _use_up(attempts: Reconnecting) -> None:
    async with attempts:
        async for ws in attempts:
            await first_message(ws)
