"""Scenarios: cancelled while closing, or while waiting for the end."""

from __future__ import annotations

from functools import partial

from anyws import Connection, ConnectionClosed

from ..scripted import Role, settle
from .cases import for_roles
from .sweep import Run, beside, check
from .witness import Witness, check_closed, check_usable, joined

__all__ = ["SCENARIOS"]


async def close(run: Run, carrier: str, role: Role) -> None:
    """Cancelled, the closing handshake goes on in the background."""
    async with joined(run, carrier, role) as (ws, witness):
        await run.operate("Connection.close", partial(ws.close, 3000, "why"))
        await check_closed(ws, witness, 3000)


async def close_by_two(run: Run, carrier: str, role: Role) -> None:
    """Another task closes, too, and is not disturbed."""
    async with joined(run, carrier, role) as (ws, witness):
        async with beside(ws.close):
            await run.operate("Connection.close", ws.close)
        await check_closed(ws, witness, 1000)


async def close_against_silence(run: Run, carrier: str, role: Role) -> None:
    """The peer does not answer: `close_timeout` holds, cancelled or not."""
    async with joined(run, carrier, role) as (ws, witness):
        witness.answers_close = False
        await run.operate("Connection.close", ws.close)
        await check_closed(ws, witness, 1000)


async def close_with_backlog(run: Run, carrier: str, role: Role) -> None:
    """Messages have come that nobody receives, and reading pauses; they are dropped (R-A4b)."""
    async with joined(run, carrier, role, capacity=100, max_size=200, max_buffer=300) as (
        ws,
        witness,
    ):
        async with beside(partial(witness.say, *["x" * 100] * 10)):
            await settle()
            await run.operate("Connection.close", ws.close)
        await check_closed(ws, witness, 1000)


async def close_in_message(run: Run, carrier: str, role: Role) -> None:
    """Another task is in the middle of a fragmented message, and fails."""
    async with joined(run, carrier, role) as (ws, witness):

        async def send() -> None:
            try:
                async with ws.send_stream() as writer:
                    while True:
                        await writer.write(b"piece")
                        await settle()
            except ConnectionClosed:
                pass

        async with beside(send):
            await settle()
            await run.operate("Connection.close", ws.close)
            await check_closed(ws, witness, 1000)


async def aclose(run: Run, carrier: str, role: Role) -> None:
    """Cancelled, the transport is closed at once."""
    async with joined(run, carrier, role) as (ws, witness):
        outcome = await run.operate("Connection.aclose", ws.aclose, grace=0)
        await _check_closed_at_once(ws, witness)
        if outcome.returned:
            await check_closed(ws, witness, 1000)


async def aclose_against_silence(run: Run, carrier: str, role: Role) -> None:
    """The peer does not answer, and `close_timeout` is not waited for."""
    async with joined(run, carrier, role) as (ws, witness):
        witness.answers_close = False
        await run.operate("Connection.aclose", ws.aclose, grace=0)
        await _check_closed_at_once(ws, witness)


async def aclose_with_backlog(run: Run, carrier: str, role: Role) -> None:
    """Bytes are queued that the peer does not read."""
    async with joined(run, carrier, role, capacity=100, write_limit=100) as (ws, witness):
        await witness.stall()
        await ws.send(bytes(1000))
        witness.may_end_torn = True
        async with beside(witness.read_on):
            await run.operate("Connection.aclose", ws.aclose, grace=0)
            await _check_closed_at_once(ws, witness)


async def _check_closed_at_once(ws: Connection, witness: Witness) -> None:
    check(ws.state.value, "closed", "state")
    await witness.ended.wait()


async def send_eof(run: Run, carrier: str, role: Role) -> None:
    """Not a checkpoint; the Close frame is sent even by a task that is cancelled."""
    async with joined(run, carrier, role) as (ws, witness):
        outcome = await run.operate("Connection.send_eof", ws.send_eof)
        check(outcome.returned, True, "whether it returned")
        await check_closed(ws, witness, 1000)


async def wait_closed(run: Run, carrier: str, role: Role) -> None:
    """Cancelled, nothing changes; the peer closes if it is not."""
    async with joined(run, carrier, role) as (ws, witness):

        async def end() -> None:
            await settle()
            if not run.fired:
                await witness.close(1001)

        async with beside(end):
            await run.operate("Connection.wait_closed", ws.wait_closed)
        if witness.has_closed:
            await check_closed(ws, witness, 1001)
        else:
            await check_usable(ws, witness)


SCENARIOS = [
    *for_roles(close),
    *for_roles(close_by_two, ("memory", "tcp")),
    *for_roles(close_against_silence, ("memory",), needs_virtual=True),
    *for_roles(close_with_backlog),
    *for_roles(close_in_message, ("memory",)),
    *for_roles(aclose),
    *for_roles(aclose_against_silence, ("memory",), needs_virtual=True),
    *for_roles(aclose_with_backlog, ("memory",)),
    *for_roles(send_eof, ("memory",)),
    *for_roles(wait_closed),
]
