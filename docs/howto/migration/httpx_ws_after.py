"""With anyws."""

import sys

import anyio

from anyws import ConnectionClosed, connect


async def main(uri: str) -> None:
    async with connect(uri, headers={"X-Client": "demo"}) as ws:
        await ws.send_json({"say": "hello"})
        print((await ws.receive_json())["say"])
        await ws.send("bye")
        try:
            with anyio.fail_after(5):
                await ws.receive_text()
        except ConnectionClosed as exc:
            print(exc.code)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
