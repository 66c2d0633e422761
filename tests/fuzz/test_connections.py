"""Two connections that talk to each other, with a model of what is under way, on every loop.

Each step runs to its end on a loop in another thread, so that hypothesis can choose the next one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import ClassVar, Literal, TypeVar

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anyws import Connection, ConnectionClosed, LocalProtocolError, State
from anyws.testing import connection_pair

from ..conftest import UVLOOP_MISSING
from ..loops import LOOPS
from .test_protocol import close_codes, close_reasons, control_data, messages, payloads, texts

_T = TypeVar("_T")

ends = st.integers(0, 1)
several = st.one_of(st.lists(texts, min_size=1, max_size=4), st.lists(payloads, min_size=1))


class End:
    """One side, and what the model knows of it.

    Attributes:
        inbox: what its peer sent and it has not received.
        may_miss: it closed the connection, so that what had not arrived by then never does.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.inbox: deque[str | bytes] = deque()
        self.may_miss = False


class Conversation(RuleBasedStateMachine):
    """What one side receives is what the other one sent, whatever either does in between."""

    loop: ClassVar[str]

    @initialize(
        split=st.sampled_from([None, 1, 7]),
        compression=st.sampled_from([None, "deflate"]),
        write_limit=st.sampled_from([1, 65536]),
    )
    def open(
        self, split: int | None, compression: Literal["deflate"] | None, write_limit: int
    ) -> None:
        backend, options = LOOPS[self.loop]
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal(backend, options))
        pair = connection_pair(
            compression=compression,
            write_limit=write_limit,
            ping_interval=None,
            close_timeout=math.inf,
        )
        connections = self.stack.enter_context(self.portal.wrap_async_context_manager(pair))
        pair.client_stream.split = pair.server_stream.split = split
        self.ends = [End(connection) for connection in connections]
        self.sent = 0
        self.closed: tuple[int, int, str] | None = None  # by which end, the code, the reason

    def call(self, function: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """Call a coroutine function on the loop."""
        return self.portal.call(function, *arguments)

    def is_open(self) -> bool:
        return self.closed is None

    def send(self, at: int, message: str | bytes, *call: object) -> None:
        """Send by a call of the end, and expect the message at the other one."""
        function, *arguments = call
        assert callable(function)
        if self.closed is None:
            self.call(function, *arguments)
            self.ends[1 - at].inbox.append(message)
            self.sent += 1
        else:
            with pytest.raises(ConnectionClosed):
                self.call(function, *arguments)

    @rule(at=ends, message=messages)
    def send_message(self, at: int, message: str | bytes) -> None:
        self.send(at, message, self.ends[at].connection.send, message)

    @rule(at=ends, parts=several)
    def send_fragments(self, at: int, parts: list[str] | list[bytes]) -> None:
        message = type(parts[0])().join(parts)  # type: ignore[arg-type]  # all of one type
        self.send(at, message, self.ends[at].connection.send, iter(parts))

    @rule(at=ends, parts=several)
    def send_piece_by_piece(self, at: int, parts: list[str] | list[bytes]) -> None:
        message = type(parts[0])().join(parts)  # type: ignore[arg-type]  # all of one type
        self.send(at, message, _write, self.ends[at].connection, parts)

    @precondition(is_open)
    @rule(at=ends, message=messages)
    def send_in_a_cancelled_scope(self, at: int, message: str | bytes) -> None:
        if self.call(_cancelled, self.ends[at].connection.send, message):
            self.ends[1 - at].inbox.append(message)

    @rule(at=ends)
    def send_what_raises(self, at: int) -> None:
        # Before its first fragment: nothing of it is sent.
        with pytest.raises((ValueError, ConnectionClosed)):
            self.call(self.ends[at].connection.send, map(bytes.fromhex, ["no digits"]))

    @rule(at=ends)
    def receive(self, at: int) -> None:
        end = self.ends[at]
        if end.inbox and not end.may_miss:
            self.expect(end, self.call(end.connection.receive))
        elif self.closed is not None:
            try:
                self.expect(end, self.call(end.connection.receive))
            except ConnectionClosed as exc:
                end.inbox.clear()
                self.check_closed(at, exc)

    @rule(at=ends)
    def receive_in_a_cancelled_scope(self, at: int) -> None:
        end = self.ends[at]
        try:
            received = self.call(_cancelled, end.connection.receive)
        except ConnectionClosed as exc:
            assert end.may_miss or not end.inbox
            self.check_closed(at, exc)
        else:
            if received:
                self.expect(end, received[0])

    @rule(at=ends)
    def receive_piece_by_piece(self, at: int) -> None:
        end = self.ends[at]
        if end.inbox and not end.may_miss:
            pieces = self.call(_read, end.connection)
            empty = type(end.inbox[0])()
            self.expect(end, empty.join(pieces))  # type: ignore[arg-type]  # all of one type

    def expect(self, end: End, message: object) -> None:
        """Check that this is the next message."""
        expected = end.inbox.popleft()
        assert type(message) is type(expected)
        assert message == expected

    @rule(at=ends, data=st.one_of(st.none(), control_data))
    def ping(self, at: int, data: bytes | None) -> None:
        connection = self.ends[at].connection
        if self.closed is None:
            assert self.call(connection.ping, data) >= 0
        else:
            with pytest.raises(ConnectionClosed):
                self.call(connection.ping, data)

    @precondition(is_open)
    @rule(at=ends, data=control_data)
    def pong(self, at: int, data: bytes) -> None:
        self.call(self.ends[at].connection.pong, data)

    @rule(at=ends, code=st.sampled_from([0, 999, 1005, 1006, 1015, 2999, 5000]))
    def close_with_a_code_that_is_reserved(self, at: int, code: int) -> None:
        with pytest.raises(LocalProtocolError):
            self.call(self.ends[at].connection.close, code)

    # Late, so that most conversations are long.
    @precondition(lambda self: self.sent > 5)
    @rule(at=ends, code=close_codes, reason=close_reasons)
    def close(self, at: int, code: int, reason: str) -> None:
        self.call(self.ends[at].connection.close, code, reason)
        if self.closed is None:
            self.closed = (at, code, reason)
            self.ends[at].may_miss = True
            self.call(self.ends[1 - at].connection.wait_closed)
            # §5.5.1: the answer has the same code.
            assert [end.connection.close_code for end in self.ends] == [code, code]

    def check_closed(self, at: int, exc: ConnectionClosed) -> None:
        """Check what an end says of how the connection was closed."""
        assert self.closed is not None
        by, code, reason = self.closed
        assert exc.initiator == ("local" if at == by else "remote")
        assert exc.code == code
        if at != by:
            assert exc.reason == self.ends[at].connection.close_reason == reason

    @invariant()
    def state_is_that_of_the_model(self) -> None:
        for end in getattr(self, "ends", ()):
            expected = State.OPEN if self.closed is None else State.CLOSED
            assert end.connection.state is expected

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        try:
            for end in self.ends:
                while end.inbox and not end.may_miss:
                    self.expect(end, self.call(end.connection.receive))
        finally:
            self.stack.close()


async def _write(connection: Connection, parts: list[str] | list[bytes]) -> None:
    async with connection.send_stream(text=isinstance(parts[0], str)) as writer:
        for part in parts:
            await writer.write(part)


async def _read(connection: Connection) -> list[str | bytes]:
    async with connection.receive_stream() as pieces:
        return [piece async for piece in pieces]


async def _cancelled(function: Callable[..., Awaitable[_T]], *arguments: object) -> list[_T]:
    """Return what a call gives that is cancelled where it waits, nothing if it was."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        return [await function(*arguments)]
    return []


def machine(loop: str) -> type[Conversation]:
    """Return the machine for one loop."""
    named: type[Conversation] = type(f"Conversation_{loop}", (Conversation,), {"loop": loop})
    examples = max(5, settings().max_examples // 20)
    named.TestCase.settings = settings(max_examples=examples, stateful_step_count=30)
    return named


TestOnTrio = machine("trio").TestCase
TestOnAsyncio = machine("asyncio").TestCase
TestOnUvloop = pytest.mark.skipif(UVLOOP_MISSING, reason="uvloop is not installed")(
    machine("uvloop").TestCase
)
