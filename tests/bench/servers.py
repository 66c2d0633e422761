"""The echo servers that are compared, each one written as its own documentation would.

`python -m tests.bench.servers NAME` serves on a free port of 127.0.0.1, prints the port and
runs until it is terminated. On all of them: no keepalive, messages up to the same size, TLS as the
standard library sets it up, and a connection that ends is no error. There is no compression unless
`--compress` asks for it, and then it is set as each library does by default.
Each one imports what it needs and nothing else, because the memory of the process is measured
too.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

from tests.bench.prepare import raise_file_limit
from tests.bench.wire import exchange_of

HOST: Final = "127.0.0.1"
MAX_SIZE: Final = 16 * 1024 * 1024

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Options:
    """What all servers are told alike.

    Attributes:
        max_size: of a message, in bytes.
        tls: the context for TLS, or None to do without.
        compression: None where the server is not in COMPRESSING.
        fan: send what one connection sends to all, where the server is in FANNING. The first
            message of each connection is echoed, which says that it is one of them by then.
    """

    max_size: int = MAX_SIZE
    tls: ssl.SSLContext | None = None
    compression: Literal["deflate"] | None = None
    fan: bool = False


def announce(port: int) -> None:
    """Tell the port, which says that connections are accepted from now on."""
    print(port, flush=True)


def run_on_asyncio(main: Callable[[Given], Coroutine[None, None, None]], given: Given) -> None:
    """Run `main` on the event loop of the standard library."""
    asyncio.run(main(given))


def run_on_uvloop(main: Callable[[Given], Coroutine[None, None, None]], given: Given) -> None:
    """Run `main` on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(given))


def run_on_trio(main: Callable[[Given], Coroutine[None, None, None]], given: Given) -> None:
    """Run `main` on trio."""
    import trio

    trio.run(main, given)


def serve_anyws(backend: str, options: Options, *, use_uvloop: bool = False) -> None:
    """Serve with this library."""
    import anyio

    import anyws

    async def echo(connection: anyws.Connection) -> None:
        async for message in connection:
            await connection.send(message)

    group = anyws.Broadcaster()

    async def fan(connection: anyws.Connection) -> None:
        async with group.member(connection):
            await connection.send(await connection.receive())
            async for message in connection:
                group.publish(message)

    async def main() -> None:
        async with anyws.serve(
            fan if options.fan else echo,
            HOST,
            0,
            ssl=options.tls,
            compression=options.compression,
            max_size=options.max_size,
            ping_interval=None,
        ) as server:
            announce(server.port)
            await anyio.sleep_forever()

    backend_options = {"use_uvloop": use_uvloop} if backend == "asyncio" else {}
    anyio.run(main, backend=backend, backend_options=backend_options)


def serve_websockets_trio(options: Options) -> None:
    """Serve with the trio side of websockets."""
    import trio
    from websockets.exceptions import ConnectionClosed
    from websockets.trio.server import ServerConnection, broadcast, serve

    async def echo(connection: ServerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            pass

    connections: set[ServerConnection] = set()

    async def fan(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            await connection.send(await connection.recv())
            async for message in connection:
                await broadcast(connections, message)
        except ConnectionClosed:
            pass
        finally:
            connections.discard(connection)

    async def main() -> None:
        start = functools.partial(
            serve,
            fan if options.fan else echo,
            0,
            host=HOST,
            ssl=options.tls,
            compression=options.compression,
            ping_interval=None,
            max_size=options.max_size,
        )
        async with trio.open_nursery() as nursery:
            server = await nursery.start(start)
            announce(server.listeners[0].socket.getsockname()[1])

    trio.run(main)


async def serve_websockets_asyncio(options: Options) -> None:
    """Serve with the asyncio side of websockets."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve
    from websockets.exceptions import ConnectionClosed

    async def echo(connection: ServerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            pass

    connections: set[ServerConnection] = set()

    async def fan(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            await connection.send(await connection.recv())
            async for message in connection:
                broadcast(connections, message)
        except ConnectionClosed:
            pass
        finally:
            connections.discard(connection)

    async with serve(
        fan if options.fan else echo,
        HOST,
        0,
        ssl=options.tls,
        compression=options.compression,
        ping_interval=None,
        max_size=options.max_size,
    ) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


def serve_trio_websocket(options: Options) -> None:
    """Serve with trio-websocket."""
    import trio
    from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

    async def echo(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            while True:
                await connection.send_message(await connection.get_message())
        except ConnectionClosed:
            pass

    async def main() -> None:
        start = functools.partial(
            serve_websocket,
            echo,
            HOST,
            0,
            ssl_context=options.tls,
            max_message_size=options.max_size,
        )
        async with trio.open_nursery() as nursery:
            server = await nursery.start(start)
            announce(server.port)

    trio.run(main)


async def serve_picows(options: Options) -> None:
    """Serve with the callbacks of picows."""
    from picows import (
        WSFrame,
        WSListener,
        WSMsgType,
        WSTransport,
        WSUpgradeRequest,
        ws_create_server,
    )

    class Echo(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
                transport.send(frame.msg_type, frame.get_payload_as_bytes())
            elif frame.msg_type is WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    def create(request: WSUpgradeRequest) -> Echo:
        return Echo()

    server = await ws_create_server(
        create, HOST, 0, ssl=options.tls, max_frame_size=options.max_size
    )
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_picows_websockets(options: Options) -> None:
    """Serve with the coroutines of picows."""
    from picows.websockets import ConnectionClosed, ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            pass

    async with serve(
        echo,
        HOST,
        0,
        ssl=options.tls,
        compression=options.compression,
        ping_interval=None,
        max_size=options.max_size,
    ) as server:
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def serve_aiohttp(options: Options) -> None:
    """Serve with aiohttp."""
    from aiohttp import WSMsgType, web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(
            compress=options.compression is not None, max_msg_size=options.max_size
        )
        await connection.prepare(request)
        async for message in connection:
            if message.type is WSMsgType.TEXT:
                await connection.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await connection.send_bytes(message.data)
        return connection

    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=options.tls).start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


def serve_bare_trio(options: Options) -> None:
    """Echo bytes on trio, without WebSocket: the floor for anything on its streams."""
    import trio

    async def echo(stream: trio.abc.Stream) -> None:
        try:
            async for chunk in stream:
                await stream.send_all(chunk)
        except trio.BrokenResourceError:
            pass

    async def main() -> None:
        sockets = await trio.open_tcp_listeners(0, host=HOST)
        announce(sockets[0].socket.getsockname()[1])
        if options.tls is None:
            await trio.serve_listeners(echo, sockets)
        else:
            listeners = [trio.SSLListener(socket, options.tls) for socket in sockets]
            await trio.serve_listeners(echo, listeners)

    trio.run(main)


async def serve_bare_protocol(options: Options) -> None:
    """Echo bytes with an asyncio protocol, without WebSocket: the floor for its transports."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # uvloop's transports are such by behaviour, not by inheritance.
            self.transport = cast(asyncio.WriteTransport, transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, HOST, 0, ssl=options.tls)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_bare_whole(options: Options) -> None:
    """Receive what the load sends for a message of the largest size into one buffer, and return it.

    What the kernel takes for a message of that size if a new buffer is filled with it, and no byte
    of it is looked at or copied once more: the floor for large messages.
    """
    import trio

    listener = trio.socket.socket()
    await listener.bind((HOST, 0))
    listener.listen()
    announce(listener.getsockname()[1])
    size = len(exchange_of(options.max_size, websocket=False).sent)
    while True:
        connection, _ = await listener.accept()
        stream = trio.SocketStream(connection)
        await stream.send_all(await stream.receive_some())  # the opening handshake, in its place
        while True:
            message = memoryview(bytearray(size))
            received = 0
            while received < size:
                n = await connection.recv_into(message[received:])
                if not n:
                    break
                received += n
            if received < size:
                break
            await stream.send_all(message)
        await stream.aclose()


SERVERS: Final[dict[str, Callable[[Options], None]]] = {
    "anyws-trio": functools.partial(serve_anyws, "trio"),
    "anyws-asyncio": functools.partial(serve_anyws, "asyncio"),
    "anyws-uvloop": functools.partial(serve_anyws, "asyncio", use_uvloop=True),
    "websockets-trio": serve_websockets_trio,
    "websockets-asyncio": functools.partial(run_on_asyncio, serve_websockets_asyncio),
    "websockets-uvloop": functools.partial(run_on_uvloop, serve_websockets_asyncio),
    "trio-websocket": serve_trio_websocket,
    "picows-asyncio": functools.partial(run_on_asyncio, serve_picows),
    "picows-uvloop": functools.partial(run_on_uvloop, serve_picows),
    "picows-websockets": functools.partial(run_on_asyncio, serve_picows_websockets),
    "picows-websockets-uvloop": functools.partial(run_on_uvloop, serve_picows_websockets),
    "aiohttp": functools.partial(run_on_asyncio, serve_aiohttp),
    "bare-trio": serve_bare_trio,
    "bare-asyncio": functools.partial(run_on_asyncio, serve_bare_protocol),
    "bare-uvloop": functools.partial(run_on_uvloop, serve_bare_protocol),
}

# Those that can compress messages.
COMPRESSING: Final = frozenset(
    {
        "anyws-trio",
        "anyws-asyncio",
        "anyws-uvloop",
        "websockets-trio",
        "websockets-asyncio",
        "websockets-uvloop",
        "picows-websockets",
        "picows-websockets-uvloop",
        "aiohttp",
    }
)

# Those that can send one message to all connections.
FANNING: Final = frozenset(
    {
        "anyws-trio",
        "anyws-asyncio",
        "anyws-uvloop",
        "websockets-trio",
        "websockets-asyncio",
        "websockets-uvloop",
    }
)

# These only serve one connection at a time, with messages of one size.
FLOORS: Final[dict[str, Callable[[Options], None]]] = {
    "bare-whole": functools.partial(run_on_trio, serve_bare_whole),
}


def speaks_websocket(name: str) -> bool:
    """Say whether the server of that name speaks WebSocket, or echoes any bytes."""
    return not name.startswith("bare-")


def main() -> None:
    """Run the server that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.servers")
    parser.add_argument("name", choices=(*SERVERS, *FLOORS))
    parser.add_argument("--core", type=int, help="the only core to run on")
    parser.add_argument("--max-size", type=int, default=MAX_SIZE, help="of a message, in bytes")
    parser.add_argument("--certificate", type=Path, help="with its key, in PEM: serve over TLS")
    parser.add_argument("--compress", action="store_true", help="messages, if clients offer it")
    parser.add_argument("--fan", action="store_true", help="send to all what one connection sends")
    arguments = parser.parse_args()
    if arguments.fan and arguments.name not in FANNING:
        parser.error(f"{arguments.name} sends to one connection at a time")
    if arguments.compress and arguments.name not in COMPRESSING:
        parser.error(f"{arguments.name} cannot compress")
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    raise_file_limit()
    tls = None
    if arguments.certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate)
    compression: Literal["deflate"] | None = "deflate" if arguments.compress else None
    options = Options(arguments.max_size, tls, compression, arguments.fan)
    (SERVERS | FLOORS)[arguments.name](options)


if __name__ == "__main__":
    main()
