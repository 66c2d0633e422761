"""The echo clients that are compared: each sends back what it receives, until it is told to close.

`python -m tests.bench.clients NAME --port N --connections N...` opens connections to that port of
127.0.0.1, as many as the first number says; when they have all ended, as many as the next one. What
`servers.py` says of servers holds here too: no compression, no keepalive, the same limits.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, cast

from tests.bench.prepare import raise_file_limit
from tests.bench.servers import HOST, MAX_SIZE, announce, run_on_asyncio, run_on_uvloop


class Work:
    """The port to connect to, and how many connections to open at a time."""

    def __init__(self, port: int, batches: Sequence[int]) -> None:
        self.port = port
        self.uri = f"ws://{HOST}:{port}/"
        self.batches = batches

    async def run_on_asyncio(self, echo: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run `echo` once for each connection."""
        for batch in self.batches:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(batch):
                    tasks.create_task(echo())

    async def run_on_trio(self, echo: Callable[[], Awaitable[None]]) -> None:
        """Run `echo` once for each connection."""
        import trio

        for batch in self.batches:
            async with trio.open_nursery() as nursery:
                for _ in range(batch):
                    nursery.start_soon(echo)


def run_anyws(backend: str, work: Work, *, use_uvloop: bool = False) -> None:
    """Connect with this library."""
    import anyio

    import anyws

    async def echo() -> None:
        async with anyws.connect(work.uri, max_size=MAX_SIZE, ping_interval=None) as connection:
            async for message in connection:
                await connection.send(message)

    run = work.run_on_trio if backend == "trio" else work.run_on_asyncio
    backend_options = {"use_uvloop": use_uvloop} if backend == "asyncio" else {}
    anyio.run(run, echo, backend=backend, backend_options=backend_options)


def run_websockets_trio(work: Work) -> None:
    """Connect with the trio side of websockets."""
    import trio
    from websockets.exceptions import ConnectionClosed
    from websockets.trio.client import connect

    async def echo() -> None:
        async with connect(
            work.uri, proxy=None, compression=None, ping_interval=None, max_size=MAX_SIZE
        ) as connection:
            try:
                async for message in connection:
                    await connection.send(message)
            except ConnectionClosed:
                pass

    trio.run(work.run_on_trio, echo)


async def run_websockets_asyncio(work: Work) -> None:
    """Connect with the asyncio side of websockets."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def echo() -> None:
        async with connect(
            work.uri, proxy=None, compression=None, ping_interval=None, max_size=MAX_SIZE
        ) as connection:
            try:
                async for message in connection:
                    await connection.send(message)
            except ConnectionClosed:
                pass

    await work.run_on_asyncio(echo)


def run_trio_websocket(work: Work) -> None:
    """Connect with trio-websocket."""
    import trio
    from trio_websocket import ConnectionClosed, open_websocket_url

    async def echo() -> None:
        async with open_websocket_url(work.uri, max_message_size=MAX_SIZE) as connection:
            try:
                while True:
                    await connection.send_message(await connection.get_message())
            except ConnectionClosed:
                pass

    trio.run(work.run_on_trio, echo)


async def run_picows(work: Work) -> None:
    """Connect with the callbacks of picows."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    class Echo(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
                transport.send(frame.msg_type, frame.get_payload_as_bytes())
            elif frame.msg_type is WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    async def echo() -> None:
        transport, _ = await ws_connect(Echo, work.uri, max_frame_size=MAX_SIZE)
        await transport.wait_disconnected()

    await work.run_on_asyncio(echo)


async def run_picows_websockets(work: Work) -> None:
    """Connect with the coroutines of picows."""
    from picows.websockets import ConnectionClosed, connect

    async def echo() -> None:
        async with connect(
            work.uri, proxy=None, compression=None, ping_interval=None, max_size=MAX_SIZE
        ) as connection:
            try:
                async for message in connection:
                    await connection.send(message)
            except ConnectionClosed:
                pass

    await work.run_on_asyncio(echo)


async def run_aiohttp(work: Work) -> None:
    """Connect with aiohttp."""
    from aiohttp import ClientSession, TCPConnector, WSMsgType

    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def echo() -> None:
            async with session.ws_connect(work.uri, max_msg_size=MAX_SIZE) as connection:
                async for message in connection:
                    if message.type is WSMsgType.TEXT:
                        await connection.send_str(message.data)
                    elif message.type is WSMsgType.BINARY:
                        await connection.send_bytes(message.data)

        await work.run_on_asyncio(echo)


def run_bare_trio(work: Work) -> None:
    """Echo bytes on trio, without WebSocket."""
    import trio

    async def echo() -> None:
        async with await trio.open_tcp_stream(HOST, work.port) as stream:
            async for chunk in stream:
                await stream.send_all(chunk)

    trio.run(work.run_on_trio, echo)


async def run_bare_protocol(work: Work) -> None:
    """Echo bytes with an asyncio protocol, without WebSocket."""

    class Echo(asyncio.Protocol):
        def __init__(self) -> None:
            self.ended = asyncio.Event()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # uvloop's transports are such by behaviour, not by inheritance.
            self.transport = cast(asyncio.WriteTransport, transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.ended.set()

    async def echo() -> None:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(Echo, HOST, work.port)
        await protocol.ended.wait()

    await work.run_on_asyncio(echo)


CLIENTS: Final[dict[str, Callable[[Work], None]]] = {
    "anyws-trio": functools.partial(run_anyws, "trio"),
    "anyws-asyncio": functools.partial(run_anyws, "asyncio"),
    "anyws-uvloop": functools.partial(run_anyws, "asyncio", use_uvloop=True),
    "websockets-trio": run_websockets_trio,
    "websockets-asyncio": functools.partial(run_on_asyncio, run_websockets_asyncio),
    "websockets-uvloop": functools.partial(run_on_uvloop, run_websockets_asyncio),
    "trio-websocket": run_trio_websocket,
    "picows-asyncio": functools.partial(run_on_asyncio, run_picows),
    "picows-uvloop": functools.partial(run_on_uvloop, run_picows),
    "picows-websockets": functools.partial(run_on_asyncio, run_picows_websockets),
    "picows-websockets-uvloop": functools.partial(run_on_uvloop, run_picows_websockets),
    "aiohttp": functools.partial(run_on_asyncio, run_aiohttp),
    "bare-trio": run_bare_trio,
    "bare-asyncio": functools.partial(run_on_asyncio, run_bare_protocol),
    "bare-uvloop": functools.partial(run_on_uvloop, run_bare_protocol),
}


def main() -> None:
    """Run the client that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clients")
    parser.add_argument("name", choices=tuple(CLIENTS))
    parser.add_argument("--core", type=int, help="the only core to run on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    raise_file_limit()
    # A server tells its port here; a client has none, but is as ready.
    announce(0)
    CLIENTS[arguments.name](Work(arguments.port, arguments.connections))


if __name__ == "__main__":
    main()
