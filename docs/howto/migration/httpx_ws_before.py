"""With httpx-ws."""

import sys

import anyio
import httpx
from httpx_ws import AsyncWebSocketSession, WebSocketDisconnect, aconnect_ws


async def main(uri: str) -> None:
    ws: AsyncWebSocketSession
    async with (
        httpx.AsyncClient(headers={"X-Client": "demo"}) as client,
        aconnect_ws(uri, client, max_message_size_bytes=2**20) as ws,
    ):
        await ws.send_json({"say": "hello"})
        print((await ws.receive_json())["say"])
        await ws.send_text("bye")
        try:
            await ws.receive_text(timeout=5)
        except WebSocketDisconnect as exc:
            print(exc.code)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
