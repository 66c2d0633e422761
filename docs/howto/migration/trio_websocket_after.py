"""With anyws."""

import trio

from anyws import Request, Response, ServerConnection, connect, serve


def only_echo(ws: ServerConnection, request: Request) -> Response | None:
    return None if request.path == "/echo" else ws.respond(404)


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with (
        serve(echo, "localhost", 0, process_request=only_echo) as server,
        connect(f"{server.uri}echo") as ws,
    ):
        await ws.send("hello")
        print(await ws.receive())
        await ws.close(1001, "that is all")
        print(ws.close_code)


if __name__ == "__main__":
    trio.run(main)
