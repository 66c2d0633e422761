"""The applications: each step is one call, whose outcome has to be one that is documented."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

import trio

from anyws import (
    ConcurrencyError,
    Connection,
    ConnectionClosed,
    InvalidJSON,
    LocalProtocolError,
    MessageTypeError,
    State,
    broadcast,
)

from .model import Message, Send
from .payloads import cut, new_message
from .script import Step, Task
from .side import Call, Kind, Side

__all__ = ["Application", "Note"]

#: Takes what happened: the name of a step, and how it ended.
Note = Callable[..., int]

# 10,000 pieces: more than any message here has.
_ALL = 10_000


class Application:
    """One task of an application.

    Args:
        side: whose.
        number: which of the tasks it is.
        spawn: starts a task beside this one.
        note: takes what happens, and returns how much has happened before.
    """

    def __init__(
        self,
        side: Side,
        number: int,
        spawn: Callable[..., object],
        note: Note,
    ) -> None:
        assert side.ws is not None
        self._side = side
        self._ws: Connection = side.ws
        self._number = number
        self._spawn = spawn
        self._note = note

    async def run(self, task: Task) -> None:
        """Take the steps of a task, one after the other."""
        with trio.CancelScope() as scope:
            if task.cancelled_at is not None:
                scope.deadline = task.cancelled_at
            for step in task.steps:
                await self._take(step)
        if scope.cancelled_caught:
            self._note(self._side.name, self._number, "task", "cancelled")

    async def _take(self, step: Step) -> None:
        kind, method = _STEPS[step.do]
        call = Call(step.do, kind, self._number)
        self._side.calls.append(call)
        outcome: object = "cancelled"
        try:
            with trio.CancelScope() as scope:
                if step.within is not None:
                    scope.deadline = trio.current_time() + step.within
                if step.turns is not None:
                    self._spawn(_cancel_after, step.turns, scope)
                outcome = await self._outcome(method(self, step, call))
        finally:
            self._side.calls.remove(call)
            self._side.look()
            self._note(self._side.name, self._number, step.do, outcome)

    async def _outcome(self, call: Awaitable[object]) -> object:
        """Await a call and say how it ended, if that is documented for any."""
        try:
            result = await call
        except ConnectionClosed as exc:
            self._side.ended = exc
            if self._side.look() is State.OPEN:
                self._side.report(f"{exc!r} was raised while open")
            return "closed"
        except ConcurrencyError:
            return "busy"
        return "returned" if result is None else result

    # Sending

    @contextmanager
    def _sending(self, message: Message) -> Iterator[Send]:
        """Record whether the message that is sent in the block was sent."""
        side = self._side
        label = f"{side.name[0]}{len(side.sends)}"
        send = Send(label, self._number, message, self._note())
        side.sends.append(send)
        try:
            yield send
            send.was_sent = True
        finally:
            send.ended = self._note()

    def _new(self, step: Step) -> Message:
        return new_message(
            f"{self._side.name[0]}{len(self._side.sends)}", sum(step.sizes), step.text
        )

    async def send(self, step: Step, call: Call) -> None:
        message = self._new(step)
        with self._sending(message):
            await self._ws.send(message, compress=step.compress)

    async def send_pieces(self, step: Step, call: Call) -> None:
        pieces = cut(self._new(step), step.sizes)
        if not pieces:
            await self._ws.send(pieces)  # no pieces are no message
            return
        with self._sending(_join(pieces)), self._fragmenting(call):
            if step.pause:
                async with aclosing(self._later(pieces, step, call)) as later:
                    await self._ws.send(later, compress=step.compress)
            else:
                await self._ws.send(self._each(pieces, call), compress=step.compress)

    def _each(self, pieces: list[Message], call: Call) -> Iterator[Message]:
        """Yield pieces; the message has begun when the second one is asked for."""
        for i, piece in enumerate(pieces):
            if i == 1:
                self._side.fragmenting.append(call)
            yield piece

    async def _later(
        self, pieces: list[Message], step: Step, call: Call
    ) -> AsyncGenerator[Message]:
        for piece in self._each(pieces, call):
            with call.idle():
                await trio.sleep(step.pause)
            yield piece

    @contextmanager
    def _fragmenting(self, call: Call) -> Iterator[None]:
        """Once the message has begun, others wait until the block is left."""
        try:
            yield
        finally:
            if call in self._side.fragmenting:
                self._side.fragmenting.remove(call)

    async def send_stream(self, step: Step, call: Call) -> None:
        message = self._new(step)
        with self._sending(message), self._fragmenting(call):
            async with self._ws.send_stream(text=step.text, compress=step.compress) as writer:
                for i, piece in enumerate(cut(message, step.sizes)):
                    if step.pause:
                        with call.idle():
                            await trio.sleep(step.pause)
                    await writer.write(piece)
                    if not i:
                        self._side.fragmenting.append(call)

    async def send_json(self, step: Step, call: Call) -> None:
        value = self._new(step) if step.text and any(step.sizes) else self._label_only()
        message = json.dumps(value, ensure_ascii=False)
        with self._sending(message):
            await self._ws.send_json(value, compress=step.compress)

    def _label_only(self) -> str:
        return f"{self._side.name[0]}{len(self._side.sends)}:"

    async def broadcast(self, step: Step, call: Call) -> object:
        message = self._new(step)
        with self._sending(message) as send:
            skipped = broadcast([self._ws], message)
        send.was_sent = not skipped
        return skipped[self._ws].name if skipped else None

    # Receiving

    @contextmanager
    def _receiving(self) -> Iterator[None]:
        """Be one of those who receive; ConcurrencyError is for the second one."""
        side = self._side
        side.receivers += 1
        try:
            yield
        except ConcurrencyError:
            if side.receivers == 1:
                side.report("ConcurrencyError, and no other task receives")
            raise
        except ConnectionClosed as exc:
            if side.look() is State.CLOSED:
                side.check_ended(exc)
            raise
        finally:
            side.receivers -= 1

    async def receive(self, step: Step, call: Call) -> None:
        with self._receiving():
            self._side.reading.take(await self._ws.receive())

    async def receive_kind(self, step: Step, call: Call) -> None:
        receive: Callable[[], Awaitable[Message]] = (
            self._ws.receive_text if step.count % 2 else self._ws.receive_bytes
        )
        with self._receiving():
            try:
                message = await receive()
            except MessageTypeError as exc:
                message = exc.message
            self._side.reading.take(message)

    async def receive_json(self, step: Step, call: Call) -> None:
        with self._receiving():
            try:
                value = await self._ws.receive_json()
            except (MessageTypeError, InvalidJSON) as exc:
                self._side.reading.take(exc.message)
            else:
                self._side.reading.take(json.dumps(value, ensure_ascii=False))

    async def iterate(self, step: Step, call: Call) -> object:
        left = step.count
        with self._receiving():
            async for message in self._ws:
                self._side.reading.take(message)
                left -= 1
                if not left:
                    return None
            self._side.check_ended(None)
        return "ended"

    async def receive_stream(self, step: Step, call: Call) -> object:
        reading = self._side.reading
        wanted = _ALL if step.count == 5 else step.count
        n = 0
        has_begun = has_ended = False
        with self._receiving():
            try:
                async with self._ws.receive_stream() as pieces:
                    has_begun = True
                    reading.begin()
                    while n < wanted and not has_ended:
                        if step.pause and n < 4:
                            with call.idle():
                                await trio.sleep(step.pause)
                        try:
                            reading.piece(await anext(pieces))
                        except StopAsyncIteration:
                            has_ended = True
                        n += 1
            except (ConcurrencyError, ConnectionClosed):
                raise  # nothing was dropped
            except BaseException:
                if has_begun:
                    reading.leave()
                else:
                    reading.skip()
                raise
            if has_ended:
                reading.end()
            else:
                reading.leave()
        return "whole" if has_ended else "left"

    # The rest

    async def ping(self, step: Step, call: Call) -> None:
        data = f"{self._side.name}-{self._number}-{self._note()}".encode()
        call.ping = data
        seconds = await self._ws.ping(data)
        if seconds < 0 or not self._side.has_pong(data):
            self._side.report(f"ping returned {seconds}, and its Pong has not come")

    async def pong(self, step: Step, call: Call) -> None:
        data = f"{self._side.name}-{self._number}-{self._note()}".encode()
        self._side.own_pongs.append(data)
        await self._ws.pong(data)

    async def sleep(self, step: Step, call: Call) -> None:
        if self._ws.state is not State.CLOSED:
            await trio.sleep(step.pause)

    async def watch(self, step: Step, call: Call) -> object:
        with self._ws.cancel_on_close() as scope:
            await trio.sleep(step.pause)
        return self._check_scope(scope.closed, scope.cancelled_caught)

    def _check_scope(self, closed: ConnectionClosed | None, was_cancelled: bool) -> object:
        if was_cancelled and (closed is None or self._side.look() is State.OPEN):
            self._side.report("a block was cancelled while the connection was open")
        return "ended" if was_cancelled else None

    async def discard(self, step: Step, call: Call) -> object:
        with self._receiving():
            try:
                with self._ws.cancel_on_close(incoming="discard") as scope:
                    await trio.sleep(step.pause)
            finally:
                self._side.reading.skip_all()
        return self._check_scope(scope.closed, scope.cancelled_caught)

    async def refuse(self, step: Step, call: Call) -> object:
        with self._receiving():
            self._side.give_up()
            try:
                with self._ws.cancel_on_close(incoming="refuse") as scope:
                    await trio.sleep(step.pause)
            finally:
                self._side.reading.skip_all()
        return self._check_scope(scope.closed, scope.cancelled_caught)

    async def close(self, step: Step, call: Call) -> None:
        self._side.give_up()
        await self._ws.close(step.code, "a reason")
        self._check_closed()

    async def aclose(self, step: Step, call: Call) -> None:
        self._side.give_up()
        try:
            await self._ws.aclose()
        except BaseException:
            self._side.has_aborted = True
            raise
        self._check_closed()

    async def wait_closed(self, step: Step, call: Call) -> None:
        await self._ws.wait_closed()
        self._check_closed()

    def _check_closed(self) -> None:
        if self._ws.state is not State.CLOSED:
            self._side.report(f"it returned, and the connection is {self._ws.state.value}")

    async def send_eof(self, step: Step, call: Call) -> None:
        await self._ws.send_eof()

    async def mistake(self, step: Step, call: Call) -> object:
        """Ask for what must be refused, and changes nothing."""
        try:
            if step.code % 3 == 0:
                await self._ws.close(1005)
            elif step.code % 3 == 1:
                await self._ws.send("\ud800")
            else:
                await self._ws.ping(bytes(126))
        except LocalProtocolError:
            return "refused"
        self._side.report("a mistake was not refused")
        return None


async def _cancel_after(turns: int, scope: trio.CancelScope) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    scope.cancel()


def _join(pieces: list[Message]) -> Message:
    if isinstance(pieces[0], str):
        return "".join(piece for piece in pieces if isinstance(piece, str))
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


_Method = Callable[[Application, Step, Call], Awaitable[object]]

_STEPS: dict[str, tuple[Kind, _Method]] = {
    "send": ("room", Application.send),
    "send pieces": ("room", Application.send_pieces),
    "send stream": ("room", Application.send_stream),
    "send json": ("room", Application.send_json),
    "broadcast": ("nothing", Application.broadcast),
    "receive": ("message", Application.receive),
    "receive kind": ("message", Application.receive_kind),
    "receive json": ("message", Application.receive_json),
    "iterate": ("message", Application.iterate),
    "receive stream": ("message", Application.receive_stream),
    "ping": ("pong", Application.ping),
    "pong": ("room", Application.pong),
    "sleep": ("nothing", Application.sleep),
    "watch": ("end", Application.watch),
    "discard": ("end", Application.discard),
    "refuse": ("end", Application.refuse),
    "close": ("end", Application.close),
    "aclose": ("end", Application.aclose),
    "wait closed": ("end", Application.wait_closed),
    "send eof": ("nothing", Application.send_eof),
    "mistake": ("nothing", Application.mistake),
}
