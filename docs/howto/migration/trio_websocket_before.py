"""With trio-websocket."""

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, open_websocket_url, serve_websocket


async def echo(request: WebSocketRequest) -> None:
    if request.path != "/echo":
        await request.reject(404)
        return
    ws = await request.accept()
    while True:
        try:
            message = await ws.get_message()
        except ConnectionClosed:
            break
        await ws.send_message(message)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}/echo") as ws:
            await ws.send_message("hello")
            print(await ws.get_message())
            await ws.aclose(1001, "that is all")
            assert ws.closed is not None
            print(ws.closed.code)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
