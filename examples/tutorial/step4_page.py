"""Step 4: the same room, and a page for it: http://localhost:8765/"""

from contextlib import suppress
from pathlib import Path

import anyio
from step3_room import handle

from anyws import Request, Response, ServerConnection, serve

PAGE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")


def answer(ws: ServerConnection, request: Request) -> Response | None:
    if "Upgrade" in request.headers:
        return None
    if request.path != "/":
        return ws.respond(404, "there is nothing here")
    return ws.respond(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})


async def main(port: int = 8765) -> None:
    async with serve(handle, "localhost", port, process_request=answer) as server:
        print(f"serving on {server.uri}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
