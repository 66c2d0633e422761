"""Scenarios: cancelled while sending, or while pinging.

The send rule: a cancelled `send` sent nothing, a returned one all of it; a fragmented message that
is cancelled after it has begun fails the connection with 1011; no frame is ever torn (R-A1).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from anyio.lowlevel import checkpoint

from anyws import Broadcaster, Connection, ConnectionClosed
from anyws._message_path import CALLS_A_TURN
from anyws.testing import PING

from ..scripted import Role, settle
from .cases import for_roles
from .sweep import Outcome, Run, beside, check
from .witness import Witness, check_closed, check_usable, joined

__all__ = ["SCENARIOS"]

# More than the kernel takes of it, so that the rest waits with us.
_FILLER = {"memory": 1000, "tcp": 1 << 19, "tls": 1 << 19}

_PIECES = ["a", "b", "c"]


async def fill(ws: Connection, witness: Witness, carrier: str) -> list[str | bytes]:
    """Fill the way to the peer, which reads no more; return what was sent for that."""
    filler = bytes(_FILLER[carrier])
    await witness.stall()
    await ws.send(filler)
    return [filler]


async def send(run: Run, carrier: str, role: Role) -> None:
    """Nothing to wait for, but every so often a call lets other tasks run."""
    sent: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def send_all() -> None:
            for number in range(2 * CALLS_A_TURN):
                await ws.send(str(number))
                sent.append(str(number))

        await run.operate("Connection.send", send_all)
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")


async def send_at_the_limit(run: Run, carrier: str, role: Role) -> None:
    """As many bytes as `write_limit` are queued, and the peer begins to read later."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)

        async def send_two() -> None:
            for message in (bytes(500), "b"):
                await ws.send(message)
                sent.append(message)

        async with beside(witness.read_on):
            await run.operate("Connection.send", send_two)
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")


async def send_json_at_the_limit(run: Run, carrier: str, role: Role) -> None:
    """As many bytes as `write_limit` are queued, and the peer begins to read later."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)

        async def send_two() -> None:
            for number in (1, 2):
                await ws.send_json([number])
                sent.append(f"[{number}]")

        async with beside(witness.read_on):
            await run.operate("Connection.send_json", send_two)
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")


async def send_bytes_as_stream(run: Run, carrier: str, role: Role) -> None:
    """The same for bytes: of an item that fits into a message, all is sent or nothing."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)
        stream = ws.byte_stream()

        async def send_two() -> None:
            for item in (bytes(500), b"b"):
                await stream.send(item)
                sent.append(item)

        async with beside(witness.read_on):
            await run.operate("byte_stream.send", send_two)
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")


async def send_behind_fragments(run: Run, carrier: str, role: Role) -> None:
    """Another task is in the middle of a fragmented message."""
    async with joined(run, carrier, role) as (ws, witness):
        sent: list[str | bytes] = ["abc"]

        async def send_fragments() -> None:
            async with ws.send_stream(text=True) as writer:
                for piece in _PIECES:
                    await writer.write(piece)
                    await settle()

        async with beside(send_fragments):
            await settle()
            outcome = await run.operate("Connection.send", partial(ws.send, "message"))
        if outcome.returned:
            sent.append("message")
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")


async def send_among_others(run: Run, carrier: str, role: Role) -> None:
    """Others send and receive; nothing of theirs is lost, repeated or out of order."""
    numbers = [str(number) for number in range(10)]
    mine: list[str | bytes] = []
    received: list[str | bytes] = []
    async with joined(run, carrier, role, capacity=100, write_limit=50) as (ws, witness):

        async def send_numbers(name: str) -> None:
            for number in numbers:
                whole = name + number
                await ws.send(whole if int(number) % 3 else [name, number])

        async def receive_numbers() -> None:
            for _ in numbers:
                received.append(await ws.receive())

        async def send_mine() -> None:
            for number in numbers:
                await ws.send("mine" + number)
                mine.append("mine" + number)

        async with beside(
            partial(send_numbers, "x"),
            partial(send_numbers, "y"),
            receive_numbers,
            partial(witness.say, *numbers),
        ):
            await run.operate("Connection.send", send_mine)
        _, sent = await check_usable(ws, witness)
        check(received, numbers, "received")
        check([each for each in sent if str(each).startswith("mine")], mine, "of this task")
        for name in "xy":
            theirs = [each for each in sent if str(each).startswith(name)]
            check(theirs, [name + number for number in numbers], "of another task")
        check(len(sent), len(mine) + 2 * len(numbers), "messages on the wire")


async def send_at_the_end(run: Run, carrier: str, role: Role) -> None:
    """The connection ends while the peer does not read and `send` waits."""
    async with joined(run, carrier, role, capacity=100, write_limit=100, close_timeout=0.5) as (
        ws,
        witness,
    ):
        await fill(ws, witness, carrier)

        async def end() -> None:
            await witness.close(1001)
            await witness.read_on()

        async with beside(end):
            outcome = await run.operate(
                "Connection.send", partial(ws.send, "message"), may_raise=ConnectionClosed
            )
            await check_closed(ws, witness, 1001)
        check(outcome.returned, False, "whether it was sent")
        check("message" in witness.messages, False, "whether it was on the wire")


async def send_to_stalled(run: Run, carrier: str, role: Role) -> None:
    """The peer does not read, until `send_timeout` ends the connection."""
    async with joined(run, carrier, role, capacity=100, write_limit=100, send_timeout=5.0) as (
        ws,
        witness,
    ):
        await fill(ws, witness, carrier)
        witness.may_end_torn = True
        await run.operate("Connection.send", partial(ws.send, "b"), may_raise=ConnectionClosed)
        if ws.state.value == "open":
            await witness.read_on()
            check("b" in (await check_usable(ws, witness))[1], False, "whether it was sent")


async def send_iterable(run: Run, carrier: str, role: Role) -> None:
    """A fragmented message whose pieces wait for room."""
    await _send_fragments(run, carrier, role, "Connection.send(iterable)", _PIECES)


class _Slow(AsyncIterator[str]):
    """Pieces that take their time."""

    def __init__(self) -> None:
        self._rest = list(_PIECES)

    async def __anext__(self) -> str:
        await checkpoint()
        if not self._rest:
            raise StopAsyncIteration
        return self._rest.pop(0)


async def send_async_iterable(run: Run, carrier: str, role: Role) -> None:
    """A fragmented message whose pieces wait for room, and are waited for."""
    await _send_fragments(run, carrier, role, "Connection.send(async iterable)", _Slow())


async def _send_fragments(
    run: Run, carrier: str, role: Role, label: str, pieces: list[str] | AsyncIterator[str]
) -> None:
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)
        async with beside(witness.read_on):
            outcome = await run.operate(label, partial(ws.send, pieces))
        await _check_fragmented(ws, witness, sent, returned=outcome.returned)


async def send_stream(run: Run, carrier: str, role: Role) -> None:
    """A message written in pieces that wait for room, with other work in between."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)

        async def write_all() -> None:
            async with ws.send_stream(text=True) as writer:
                for piece in _PIECES:
                    run.enter("SendStream.write")
                    await writer.write(piece)
                    run.enter("body of send_stream")
                    await checkpoint()
                run.enter("SendStream.__aexit__")

        async with beside(witness.read_on):
            outcome = await run.operate("SendStream.__aenter__", write_all)
        await _check_fragmented(ws, witness, sent, returned=outcome.returned)


async def write_one_piece(run: Run, carrier: str, role: Role) -> None:
    """Only a `write` is cancelled, and the block goes on: the message must not look whole."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        failures: list[ConnectionClosed] = []
        outcome: Outcome[None] | None = None
        try:
            async with ws.send_stream(text=True) as writer:
                await writer.write("a")
                await witness.stall()
                await writer.write("b" * _FILLER[carrier])
                async with beside(witness.read_on):
                    outcome = await run.operate("SendStream.write", partial(writer.write, "c"))
                await writer.write("d")
        except ConnectionClosed as exc:
            failures.append(exc)
        assert outcome is not None
        check(bool(failures), outcome.cancelled, "whether the block raised")
        if outcome.cancelled:
            await check_closed(ws, witness, 1011)
        else:
            sent = (await check_usable(ws, witness))[1]
            check([str(each)[-2:] for each in sent], ["cd"], "messages on the wire")


async def send_empty_stream(run: Run, carrier: str, role: Role) -> None:
    """Nothing is written, so that leaving the block sends an empty message, which waits."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)

        async def write_nothing() -> None:
            async with ws.send_stream(text=True):
                run.enter("SendStream.__aexit__")

        async with beside(witness.read_on):
            outcome = await run.operate("SendStream.__aenter__", write_nothing)
        if outcome.returned:
            sent.append("")
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")


async def _check_fragmented(
    ws: Connection, witness: Witness, sent: list[str | bytes], *, returned: bool
) -> None:
    """Check that all of a fragmented message came, or nothing, or that the connection failed."""
    if ws.state.value == "open":
        _, messages = await check_usable(ws, witness)
        check(messages, [*sent, "abc"] if returned else sent, "messages on the wire")
        return
    check(returned, False, "whether it returned")
    await check_closed(ws, witness, 1011)
    check(witness.messages, sent, "messages on the wire")
    check(witness.pieces != [], True, "whether the message had begun")


async def send_to_group(run: Run, carrier: str, role: Role) -> None:
    """The queue of a member is full, and its peer begins to read later."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)
        group = Broadcaster(1, "block")
        async with group.member(ws) as member:

            async def send_all() -> None:
                for message in _PIECES:
                    await group.send(message)
                    sent.append(message)

            async with beside(witness.read_on):
                await run.operate("Broadcaster.send", send_all)
            while member.queued:
                await checkpoint()
            check((await check_usable(ws, witness))[1], sent, "messages on the wire")


async def be_in_group(run: Run, carrier: str, role: Role) -> None:
    """However the block ends, the connection is no member any more, and is usable."""
    async with joined(run, carrier, role) as (ws, witness):
        group = Broadcaster()

        async def publish() -> None:
            async with group.member(ws):
                run.enter("body of a member")
                group.publish("a")
                await checkpoint()
                run.enter("Member.__aexit__")

        outcome = await run.operate("Member.__aenter__", publish)
        check(len(group), 0, "members")
        messages = (await check_usable(ws, witness))[1]
        check(messages, ["a"] if messages or outcome.returned else [], "messages on the wire")


async def ping(run: Run, carrier: str, role: Role) -> None:
    async with joined(run, carrier, role) as (ws, witness):
        outcome = await run.operate("Connection.ping", ws.ping)
        check(outcome.returned and ws.latency < 0, False, "whether the latency is negative")
        await check_usable(ws, witness)


async def ping_at_the_limit(run: Run, carrier: str, role: Role) -> None:
    """The Ping has to wait for room."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)
        async with beside(witness.read_on):
            await run.operate("Connection.ping", partial(ws.ping, b"mine"))
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")
        for frame in witness.controls:
            check((frame.opcode, frame.payload), (PING, b"mine"), "control frame")


async def pong_at_the_limit(run: Run, carrier: str, role: Role) -> None:
    """A cancelled `pong` sent nothing."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        sent = await fill(ws, witness, carrier)
        async with beside(witness.read_on):
            outcome = await run.operate("Connection.pong", partial(ws.pong, b"mine"))
        check((await check_usable(ws, witness))[1], sent, "messages on the wire")
        payloads = [frame.payload for frame in witness.controls]
        check(payloads, [b"mine"] if outcome.returned else [], "Pongs on the wire")


async def ping_at_the_end(run: Run, carrier: str, role: Role) -> None:
    """The connection ends while a Pong is awaited."""
    async with joined(run, carrier, role) as (ws, witness):
        witness.answers_pings = False
        async with beside(partial(witness.close, 1001)):
            outcome = await run.operate("Connection.ping", ws.ping, may_raise=ConnectionClosed)
        check(outcome.returned, False, "whether a Pong came")
        await check_closed(ws, witness, 1001)


SCENARIOS = [
    *for_roles(send),
    *for_roles(send_at_the_limit),
    *for_roles(send_json_at_the_limit),
    *for_roles(send_bytes_as_stream),
    *for_roles(send_behind_fragments),
    *for_roles(send_among_others, ("memory",)),
    *for_roles(send_at_the_end, ("memory",)),
    *for_roles(send_to_stalled, ("memory",), needs_virtual=True),
    *for_roles(send_iterable),
    *for_roles(send_async_iterable),
    *for_roles(send_stream),
    *for_roles(write_one_piece),
    *for_roles(send_empty_stream, ("memory",)),
    *for_roles(send_to_group),
    *for_roles(be_in_group),
    *for_roles(ping),
    *for_roles(ping_at_the_limit),
    *for_roles(pong_at_the_limit),
    *for_roles(ping_at_the_end, ("memory",)),
]
