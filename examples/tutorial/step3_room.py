"""Step 3: a room, which knows who is there and what was said."""

import json
from collections import deque
from contextlib import suppress

import anyio

from anyws import Broadcaster, ServerConnection, broadcast, serve


class Room:
    def __init__(self) -> None:
        self.everyone = Broadcaster()
        self.names: list[str] = []
        self.lines: deque[dict[str, str]] = deque(maxlen=100)

    async def join(self, ws: ServerConnection, name: str) -> None:
        """Let one take part until the connection ends."""
        async with self.everyone.member(ws):
            broadcast([ws], json.dumps({"lines": list(self.lines)}))
            self.names.append(name)
            self.tell_names()
            try:
                async for message in ws:
                    self.say(name, str(message))
            finally:
                self.names.remove(name)
                self.tell_names()

    def say(self, name: str, text: str) -> None:
        line = {"name": name, "text": text[:2000]}
        self.lines.append(line)
        self.everyone.publish(json.dumps({"lines": [line]}))

    def tell_names(self) -> None:
        self.everyone.publish(json.dumps({"names": sorted(self.names)}))


room = Room()


async def handle(ws: ServerConnection) -> None:
    name = ws.request.query.get("name", ["somebody"])[0]
    await room.join(ws, name[:30])


async def main(port: int = 8765) -> None:
    async with serve(handle, "localhost", port) as server:
        print(f"serving on {server.uri}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
