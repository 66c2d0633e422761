"""Scenarios: cancelled while receiving. No message is lost, repeated or out of order (R-A8)."""

from __future__ import annotations

from functools import partial

from anyws import ConnectionClosed
from anyws._message_path import CALLS_A_TURN
from anyws.testing import BINARY, CONTINUATION, TEXT, Frame

from ..scripted import Role, settle
from .cases import for_roles
from .sweep import Run, beside, check
from .witness import check_closed, check_usable, joined

__all__ = ["SCENARIOS"]


async def receive(run: Run, carrier: str, role: Role) -> None:
    """Each message comes while somebody waits for it."""
    numbers = ["0", "1", "2"]
    received: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def receive_all() -> None:
            for _ in numbers:
                received.append(await ws.receive())

        async with beside(partial(witness.say, *numbers)):
            await run.operate("Connection.receive", receive_all)
        rest, _ = await check_usable(ws, witness)
        check(received + rest, numbers, "received")


async def receive_backlog(run: Run, carrier: str, role: Role) -> None:
    """The messages are there already, and every so often a call lets other tasks run."""
    numbers = [str(number) for number in range(2 * CALLS_A_TURN)]
    received: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def receive_all() -> None:
            for _ in numbers:
                received.append(await ws.receive())

        await witness.send(*(Frame(TEXT, number.encode()) for number in numbers))
        await settle()
        await run.operate("Connection.receive", receive_all)
        rest, _ = await check_usable(ws, witness)
        check(received + rest, numbers, "received")


async def receive_after_pauses(run: Run, carrier: str, role: Role) -> None:
    """More comes than `max_buffer` holds, so that reading pauses and goes on."""
    numbers = [f"{number:0100}" for number in range(12)]
    frames = [Frame(TEXT, number.encode()) for number in numbers]
    received: list[str | bytes] = []
    async with joined(run, carrier, role, capacity=100, max_size=200, max_buffer=300) as (
        ws,
        witness,
    ):

        async def receive_all() -> None:
            for _ in numbers:
                received.append(await ws.receive())

        async with beside(partial(witness.send, *frames)):
            await settle()
            await run.operate("Connection.receive", receive_all)
            while len(received) < len(numbers):
                received.append(await ws.receive())
        check(received, numbers, "received")
        check((await check_usable(ws, witness))[0], [], "received later")


async def receive_from_silence(run: Run, carrier: str, role: Role) -> None:
    """Nothing comes, no Pong either, until keepalive fails the connection."""
    async with joined(run, carrier, role) as (ws, witness):
        witness.answers_pings = False
        witness.answers_close = False
        await run.operate("Connection.receive", ws.receive, may_raise=ConnectionClosed)
        await ws.wait_closed()
        check(ws.close_code, 1006, "close_code")


async def receive_too_big(run: Run, carrier: str, role: Role) -> None:
    """A message over `max_size` fails the connection, unless it is taken as a stream."""
    async with joined(run, carrier, role, max_size=10) as (ws, witness):

        async def talk() -> None:
            await witness.say("x" * 20)

        async with beside(talk):
            outcome = await run.operate(
                "Connection.receive", ws.receive, may_raise=ConnectionClosed
            )
        check(outcome.returned, False, "whether it was received")
        if ws.state.value == "open":
            async with ws.receive_stream() as stream:
                check("".join([str(piece) async for piece in stream]), "x" * 20, "pieces")
            await check_usable(ws, witness)
        else:
            await check_closed(ws, witness, 1009)


async def receive_kinds(run: Run, carrier: str, role: Role) -> None:
    """Text and binary messages are asked for."""
    received: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def receive_both() -> None:
            received.append(await ws.receive_text())
            run.enter("Connection.receive_bytes")
            received.append(await ws.receive_bytes())

        async def talk() -> None:
            await witness.say("text")
            await settle()
            await witness.send(Frame(BINARY, b"binary"))

        async with beside(talk):
            await run.operate("Connection.receive_text", receive_both)
        rest, _ = await check_usable(ws, witness)
        check(received + rest, ["text", b"binary"], "received")


async def receive_json(run: Run, carrier: str, role: Role) -> None:
    """Values come in text messages."""
    received: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def receive_all() -> None:
            for _ in range(2):
                received.append(await ws.receive_json())

        async with beside(partial(witness.say, '"0"', '"1"')):
            await run.operate("Connection.receive_json", receive_all)
        rest, _ = await check_usable(ws, witness)
        check(received + [str(each).strip('"') for each in rest], ["0", "1"], "received")


async def receive_bytes_as_stream(run: Run, carrier: str, role: Role) -> None:
    """Bytes come in messages and fragments, some of them larger than what is asked for."""
    frames = [
        Frame(BINARY, b"abc"),
        Frame(BINARY),
        Frame(BINARY, b"d", fin=False),
        Frame(CONTINUATION, b"efghijkl", fin=False),
        Frame(CONTINUATION, b"m"),
    ]
    expected = b"abcdefghijklm"
    received: list[bytes] = []
    async with joined(run, carrier, role, max_size=5) as (ws, witness):
        stream = ws.byte_stream()

        async def receive_all() -> None:
            while sum(map(len, received)) < len(expected):
                received.append(await stream.receive(2))

        async def talk() -> None:
            for frame in frames:
                await settle()
                await witness.send(frame)

        async with beside(talk):
            await run.operate("byte_stream.receive", receive_all)
            await receive_all()
        check(b"".join(received), expected, "received")
        await stream.aclose()
        await check_closed(ws, witness, 1000)


async def iterate(run: Run, carrier: str, role: Role) -> None:
    """Iteration over messages that come one by one, up to the end of the connection."""
    numbers = ["0", "1", "2"]
    received: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def receive_all() -> None:
            async for message in ws:
                received.append(message)

        async def talk() -> None:
            await witness.say(*numbers)
            await witness.close(1000)

        async with beside(talk):
            await run.operate("Connection.__anext__", receive_all)
        received += [message async for message in ws]
        check(received, numbers, "received")
        await check_closed(ws, witness, 1000)


async def receive_at_the_end(run: Run, carrier: str, role: Role) -> None:
    """The connection ends while somebody waits for a message."""
    async with joined(run, carrier, role) as (ws, witness):
        async with beside(partial(witness.close, 1001)):
            outcome = await run.operate(
                "Connection.receive", ws.receive, may_raise=ConnectionClosed
            )
        check(outcome.returned, False, "whether a message was received")
        await check_closed(ws, witness, 1001)


_PIECES = (
    Frame(TEXT, b"a", fin=False),
    Frame(CONTINUATION, b"b", fin=False),
    Frame(CONTINUATION, b"c"),
)


async def receive_stream(run: Run, carrier: str, role: Role) -> None:
    """A message in pieces, one by one: what is left of it is dropped, and the next comes whole."""
    pieces: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def receive_pieces() -> None:
            async with ws.receive_stream() as stream:
                run.enter("ReceiveStream.__anext__")
                async for piece in stream:
                    pieces.append(piece)
                run.enter("ReceiveStream.__aexit__")

        async def talk() -> None:
            for frame in _PIECES:
                await settle()
                await witness.send(frame)
            await witness.say("next")

        async with beside(talk):
            outcome = await run.operate("ReceiveStream.__aenter__", receive_pieces)
        rest, _ = await check_usable(ws, witness)
        check(pieces, list("abc")[: len(pieces) if outcome.cancelled else 3], "pieces")
        if rest[:1] == ["abc"] and not pieces:
            del rest[0]  # it had not begun when the stream was left
        check(rest, ["next"], "received later")


async def leave_receive_stream(run: Run, carrier: str, role: Role) -> None:
    """The stream is left after the first piece, while another comes, and the next is awaited."""
    begun: list[str | bytes] = []
    received: list[str | bytes] = []
    async with joined(run, carrier, role) as (ws, witness):

        async def receive_begin() -> None:
            async with ws.receive_stream() as stream:
                run.enter("ReceiveStream.__anext__")
                begun.append(await anext(stream))
            run.enter("Connection.receive")
            received.append(await ws.receive())

        async def talk() -> None:
            for frame in _PIECES:
                await settle()
                await witness.send(frame)
            await witness.say("next")

        async with beside(talk):
            await run.operate("ReceiveStream.__aenter__", receive_begin)
        received += (await check_usable(ws, witness))[0]
        if received[:1] == ["abc"] and not begun:
            del received[0]  # it had not begun when the stream was left
        check(received, ["next"], "received later")


SCENARIOS = [
    *for_roles(receive),
    *for_roles(receive_backlog),
    *for_roles(receive_after_pauses, ("memory",)),
    *for_roles(receive_from_silence, ("memory",), needs_virtual=True),
    *for_roles(receive_too_big, ("memory",)),
    *for_roles(receive_kinds, ("memory",)),
    *for_roles(receive_json),
    *for_roles(receive_bytes_as_stream),
    *for_roles(iterate),
    *for_roles(receive_at_the_end),
    *for_roles(receive_stream),
    *for_roles(leave_receive_stream),
]
