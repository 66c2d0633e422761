"""Programs that reach a state and stay in it until Ctrl+C; `test_interrupts.py` runs them.

`python -m tests.interrupted LOOP` reads the names of programs, each with its argument, from
standard input, and runs them one after another. A server says "ready" and its port. When
KeyboardInterrupt comes out, it says "interrupted" on standard output, and on standard error that
this was all. After the word "uncaught" nobody catches it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf

import anyio
import trio

from anyws import Connection, Server, ServerConnection, connect, reconnect, serve

__all__ = ["END_OF_COMPLAINTS", "RUNS"]

#: Written to standard error after each program.
END_OF_COMPLAINTS = "No more complaints.\n"

#: Runs of a client and a server that talk, each interrupted at another moment.
RUNS = 30

# 600 s, far above what the test allows: what ends by a timeout of ours counts as stuck.
_FOR_EVER = 600.0


def run(loop: str, main: Callable[[], Awaitable[object]]) -> None:
    """Run `main` as a user would on this loop."""

    async def patiently() -> None:
        # In its debug mode asyncio complains about a slow machine.
        asyncio.get_running_loop().slow_callback_duration = inf
        await main()

    if loop == "trio":
        trio.run(main)
    elif loop == "asyncio":
        asyncio.run(patiently())
    else:
        anyio.run(patiently, backend_options={"use_uvloop": True})


def say(*words: object) -> None:
    print(*words, flush=True)


# Servers


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def serve_until_interrupted(
    handler: Callable[[ServerConnection], Awaitable[object]],
    context: ssl.SSLContext | None = None,
) -> None:
    async with serve(
        handler, "127.0.0.1", ssl=context, open_timeout=None, close_timeout=_FOR_EVER
    ) as server:
        say("ready", server.port)
        await anyio.sleep_forever()


async def serve_echo() -> None:
    await serve_until_interrupted(echo)


async def serve_tls(certificate: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    await serve_until_interrupted(echo, context)


class Announcement:
    """Stands in for the `task_status` of a task group."""

    def started(self, value: Server | None = None) -> None:
        assert value is not None
        say("ready", value.port)


async def await_serve() -> None:
    await serve(echo, "127.0.0.1", close_timeout=_FOR_EVER, task_status=Announcement())


async def serve_in_other_ways() -> None:
    """Handlers that wait for something else than messages, or compute."""

    async def handle(ws: ServerConnection) -> None:
        what = await ws.receive()
        await ws.send(what)
        if what == "sleep":
            await anyio.sleep_forever()
        elif what == "close":
            await ws.close()
        elif what == "send":
            await fill(ws)
        else:
            await ws.wait_closed()

    await serve_until_interrupted(handle)


async def serve_computing() -> None:
    async def handle(ws: ServerConnection) -> None:
        await ws.receive()
        say("computing")
        while True:
            pass

    await serve_until_interrupted(handle)


# Clients; the server is the test's


async def open_connection(uri: str) -> None:
    # That TLS does not verify is of no account: the handshake does not get so far.
    async with connect(uri, open_timeout=None):
        pass


async def receive(uri: str) -> None:
    async with connect(uri, close_timeout=_FOR_EVER) as ws:
        await ws.send("here")
        await ws.receive()


async def iterate(uri: str) -> None:
    async with connect(uri, close_timeout=_FOR_EVER) as ws:
        await ws.send("here")
        async for _ in ws:
            pass


async def send(uri: str) -> None:
    async with connect(uri, close_timeout=_FOR_EVER) as ws:
        await fill(ws)


async def fill(ws: Connection) -> None:
    """Send to a peer that does not read: the second message finds no room."""
    await ws.send(bytes(32 << 20))
    say("full")
    await ws.send(b"")


async def leave_the_block(uri: str) -> None:
    async with connect(uri, close_timeout=_FOR_EVER):
        pass


async def close(uri: str) -> None:
    async with connect(uri, close_timeout=_FOR_EVER) as ws:
        await ws.close()


async def aclose(uri: str) -> None:
    async with connect(uri, close_timeout=_FOR_EVER) as ws:
        await ws.aclose()


async def connect_into_a_task_group(uri: str) -> None:
    async with anyio.create_task_group() as tasks:
        ws = await connect(uri, task_group=tasks, close_timeout=_FOR_EVER)
        await ws.send("here")
        await ws.receive()


async def reconnect_and_receive(uri: str) -> None:
    async with reconnect(uri, close_timeout=_FOR_EVER) as attempts:
        async for ws in attempts:
            await ws.send("here")
            await ws.receive()


async def reconnect_in_vain(uri: str) -> None:
    async with reconnect(uri, open_timeout=None) as attempts:
        async for _ in attempts:
            pass


# Ctrl+C at any moment


class Turns(trio.abc.Instrument):
    """Interrupts in the n-th turn of a loop."""

    def __init__(self, n: int) -> None:
        self._left = n

    def start(self) -> None:
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.add_instrument(self)
        else:
            self._take_turn_of_asyncio()

    def _take_turn_of_asyncio(self) -> None:
        self.turn()
        if self._left:
            asyncio.get_running_loop().call_soon(self._take_turn_of_asyncio)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._left:
            self.turn()

    def turn(self) -> None:
        self._left -= 1
        if not self._left:
            signal.raise_signal(signal.SIGINT)


async def talk(turns: Turns | None, interrupting: str) -> None:
    """Echo messages for ever; what says `interrupting` interrupts whoever has it."""

    def look_at(message: str | bytes, place: str) -> None:
        if f"{message!s} {place}" == interrupting:
            signal.raise_signal(signal.SIGINT)

    async def handle(ws: ServerConnection) -> None:
        async for message in ws:
            look_at(message, "in the handler")
            await ws.send(message)
            look_at(message, "sent back")

    if turns is not None:
        turns.start()
    async with serve(handle, "127.0.0.1") as server:
        for start in itertools.count(step=5):
            async with connect(server.uri) as ws:
                for number in range(start, start + 5):
                    await ws.send(f"{number}")
                    look_at(f"{number}", "sent")
                    look_at(await ws.receive(), "received")


def interrupt_a_talk(loop: str) -> None:
    """Interrupt a conversation at random moments, and tell of each interruption."""
    rng = random.Random(7)
    for number in range(RUNS):
        turns, message = None, ""
        if number % 2:
            turns = Turns(rng.randrange(1, 500))
        else:
            place = rng.choice(("sent", "received", "in the handler", "sent back"))
            message = f"{rng.randrange(50)} {place}"
        try:
            run(loop, partial(talk, turns, message))
        except KeyboardInterrupt:
            say("interrupted")
        gc.collect()  # what was left behind warns now


PROGRAMS: dict[str, Callable[..., Awaitable[object]]] = {
    function.__name__: function
    for function in (
        serve_echo,
        serve_tls,
        await_serve,
        serve_in_other_ways,
        serve_computing,
        open_connection,
        receive,
        iterate,
        send,
        leave_the_block,
        close,
        aclose,
        connect_into_a_task_group,
        reconnect_and_receive,
        reconnect_in_vain,
    )
}


def main(loop: str) -> None:
    for line in sys.stdin:
        name, *arguments = line.split()
        if name == "talk":
            interrupt_a_talk(loop)
            continue
        if name == "uncaught":
            run(loop, PROGRAMS[arguments[0]])
        try:
            run(loop, partial(PROGRAMS[name], *arguments))
        except KeyboardInterrupt:
            last_word = "interrupted"
        except BaseExceptionGroup as group:
            # What trio makes of it in a task group of the program's own.
            (only,) = group.exceptions
            last_word = (
                "interrupted in a group" if isinstance(only, KeyboardInterrupt) else repr(only)
            )
        else:
            last_word = "not interrupted"
        gc.collect()  # what was left behind warns now
        say(last_word)
        print(END_OF_COMPLAINTS, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
