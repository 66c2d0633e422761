"""Scenarios: cancelled in blocks that make, or hang on, connections of their own.

`reconnect`, `cancel_on_close`, and the pairs of `anyws.testing`.
"""

from __future__ import annotations

from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from anyws import Connection, Retry, ServerConnection, reconnect
from anyws.testing import MemoryStream, connection_pair, run_handler

from ..scripted import Role, settle
from .blocks import check_goodbye
from .cases import for_carriers, for_roles
from .stations import station
from .sweep import Run, Scenario, beside, check
from .witness import check_closed, check_usable, joined

__all__ = ["SCENARIOS"]

_RETRY = Retry(initial_delay=0.001, max_delay=0.001)


async def reconnect_block(run: Run, carrier: str) -> None:
    """An attempt fails, a connection is closed by the peer, another one is left by `break`."""
    opened: list[Connection] = []
    async with station(run, carrier) as server:
        failures = [OSError("the network is down")]

        async def dial() -> MemoryStream:
            await checkpoint()
            if failures:
                raise failures.pop()
            return server.new_stream()

        async def use() -> None:
            async with reconnect("ws://localhost/", retry=_RETRY, stream=dial) as attempts:
                run.enter("Reconnecting.__anext__")
                async for ws in attempts:
                    run.watch(ws)
                    opened.append(ws)
                    run.enter("body of a block")
                    await ws.ping()
                    if len(opened) == 3:
                        break
                    if len(opened) == 2:
                        server.close_soon(1012)
                        await ws.wait_closed()
                    run.enter("Reconnecting.__anext__")
                run.enter("Reconnecting.__aexit__")

        await run.operate("Reconnecting.__aenter__", use)
        for ws in opened:
            check(ws.state.value, "closed", "state once the block is left")
        for witness in server.witnesses:
            await witness.ended.wait()
            code = 1012 if witness.has_closed else 1000
            check_goodbye(run, witness, opened=len(opened) == len(server.witnesses), code=code)


async def reconnect_on(run: Run, carrier: str) -> None:
    """Cancelled while it waits for the next connection: all are closed, and iterating goes on."""
    opened: list[Connection] = []
    async with station(run, carrier) as server:

        async def dial() -> MemoryStream:
            await checkpoint()
            return server.new_stream()

        async def prepare(ws: Connection) -> None:
            run.watch(ws)
            opened.append(ws)
            await ws.ping()

        async with reconnect(
            "ws://localhost/", retry=_RETRY, stream=dial, on_connect=prepare
        ) as attempts:
            await anext(attempts)
            outcome = await run.operate("Reconnecting.__anext__", partial(anext, attempts))
            states = [ws.state.value for ws in opened]
            ended = len(states) - outcome.returned
            check(states[:ended], ["closed"] * ended, "states")
            await check_usable(await anext(attempts), server.witnesses[-1])
        for witness in server.witnesses:
            await witness.ended.wait()


async def reconnect_delayed(run: Run, carrier: str) -> None:
    """Every attempt fails; cancelled during the delay before the next one, it takes no time."""

    async def dial() -> MemoryStream:
        raise OSError("the network is down")

    async def use() -> None:
        retry = Retry(initial_delay=30, max_delay=30, max_attempts=3)
        async with reconnect("ws://localhost/", retry=retry, stream=dial) as attempts:
            run.enter("Reconnecting.__anext__")
            await anext(attempts)

    await run.operate("Reconnecting.__aenter__", use, may_raise=OSError, grace=0)


async def reconnecting_aclose(run: Run, carrier: str) -> None:
    """Closed by one task while another waits for the next connection, which does not come."""
    async with station(run, carrier) as server:
        server.answers = False

        async def dial() -> MemoryStream:
            return server.new_stream()

        async with reconnect("ws://localhost/", retry=_RETRY, stream=dial) as attempts:

            async def iterate() -> None:
                async for _ in attempts:
                    pass

            async with beside(iterate):
                await settle()
                await run.operate("Reconnecting.aclose", attempts.aclose, grace=2.0)


async def cancel_on_close(run: Run, carrier: str, role: Role) -> None:
    """The connection ends while the block waits for something else."""
    async with joined(run, carrier, role) as (ws, witness):

        async def wait() -> str:
            with ws.cancel_on_close() as scope:
                await anyio.sleep_forever()
            check(scope.closed is not None, True, "whether the end of the connection is known")
            return "left"

        async with beside(partial(witness.close, 1001)):
            await run.operate("body of cancel_on_close", wait)
        await check_closed(ws, witness, 1001)
        check(ws._close_scopes, (), "scopes that are left")


async def cancel_on_close_discarding(run: Run, carrier: str, role: Role) -> None:
    """Messages come, and are dropped, until the block is left; those after it are received."""
    async with joined(run, carrier, role) as (ws, witness):
        said = anyio.Event()

        async def wait() -> None:
            with ws.cancel_on_close(incoming="discard"):
                await said.wait()

        async def talk() -> None:
            await witness.say("0", "1")
            await settle()
            said.set()

        async with beside(talk):
            await run.operate("body of cancel_on_close", wait)
        rest, _ = await check_usable(ws, witness)
        check(rest, ["0", "1"][2 - len(rest) :], "received later")


async def cancel_on_close_refusing(run: Run, carrier: str, role: Role) -> None:
    """A message comes where none is expected, which fails the connection with 1008."""
    async with joined(run, carrier, role) as (ws, witness):

        async def wait() -> None:
            with ws.cancel_on_close(incoming="refuse"):
                await anyio.sleep_forever()

        async with beside(partial(witness.say, "unexpected")):
            outcome = await run.operate("body of cancel_on_close", wait)
        if outcome.cancelled and ws.state.value == "open":
            check((await check_usable(ws, witness))[0], ["unexpected"], "received later")
        else:
            await check_closed(ws, witness, 1008)


async def pair(run: Run) -> None:
    async def use() -> None:
        async with connection_pair() as (client, server):
            run.watch(client)
            run.watch(server)
            run.enter("body of connection_pair")
            await client.send("hello")
            await server.receive()
            await client.ping()
            run.enter("ConnectionPair.__aexit__")

    await run.operate("ConnectionPair.__aenter__", use, grace=_PAIR_GRACE)


# A second for each end.
_PAIR_GRACE = 2.0


async def handler(run: Run) -> None:
    async def echo(ws: ServerConnection) -> None:
        run.watch(ws)
        async for message in ws:
            await ws.send(message)

    async def use() -> None:
        async with run_handler(echo) as ws:
            run.watch(ws)
            run.enter("body of run_handler")
            await ws.send("hello")
            check(await ws.receive(), "hello", "received")
            run.enter("HandlerRun.__aexit__")

    await run.operate("HandlerRun.__aenter__", use, grace=_PAIR_GRACE)


async def stubborn_handler(run: Run) -> None:
    """The handler does not end when its client is gone, and is cancelled after its grace."""

    async def wait(ws: ServerConnection) -> None:
        run.watch(ws)
        await anyio.sleep_forever()

    async def use() -> None:
        async with run_handler(wait, grace=0.01) as ws:
            run.watch(ws)
            run.enter("body of run_handler")
            await checkpoint()
            run.enter("HandlerRun.__aexit__")

    await run.operate("HandlerRun.__aenter__", use, grace=_PAIR_GRACE)


SCENARIOS = [
    *for_carriers(reconnect_block, ("memory",), by_turns="memory"),
    *for_carriers(reconnect_on, ("memory",)),
    *for_carriers(reconnect_delayed, ("memory",), needs_virtual=True),
    *for_carriers(reconnecting_aclose, ("memory",), by_turns="memory"),
    *for_roles(cancel_on_close, ("memory", "tcp")),
    *for_roles(cancel_on_close_discarding, ("memory",)),
    *for_roles(cancel_on_close_refusing, ("memory",)),
    Scenario("connection_pair", pair, is_virtual=True, by_turns=True),
    Scenario("run_handler", handler, is_virtual=True, by_turns=True),
    Scenario("run_handler_stubborn", stubborn_handler, is_virtual=True),
]
