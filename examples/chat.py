"""Chat rooms with a page: open http://localhost:8765/ in two windows of a browser.

python examples/chat.py [--port N] [--certificate PEM] [--history FILE] [--backend trio|asyncio]
"""

import argparse
import os
import signal
import ssl
from pathlib import Path
from typing import TextIO

import anyio
from chat_room import Room

from anyws import Request, Response, ServerConnection, serve

PAGE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
rooms: dict[str, Room] = {}


def answer(ws: ServerConnection, request: Request) -> Response | None:
    """Answer requests for the page, and let the opening handshakes that it makes go on."""
    if request.path_without_query not in rooms:
        return ws.respond(404, "there is no such room")
    if "Upgrade" in request.headers:
        return None
    return ws.respond(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})


async def chat(ws: ServerConnection) -> None:
    """Let one into the room that the path names."""
    name = ws.request.query.get("name", ["somebody"])[0][:30]
    await rooms[ws.request.path_without_query].join(ws, name)


async def main(port: int, context: ssl.SSLContext | None, history: TextIO) -> None:
    """Serve until SIGTERM, for a restart, or until SIGINT, for good."""
    rooms.update((path, Room(path, history)) for path in ("/", "/kitchen", "/garden"))
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with serve(chat, "localhost", port, ssl=context, process_request=answer) as server:
            print(f"serving on {server.uri}", flush=True)
            is_restart = await anext(signals) == signal.SIGTERM
            await server.shutdown(code=1012 if is_restart else 1001)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Chat rooms with a page.")
    parser.add_argument("--port", type=int, default=8765, help="0 picks a free one")
    parser.add_argument("--certificate", help="a file with key and chain, for TLS")
    parser.add_argument("--history", default=os.devnull, help="a file that outlives the program")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    options = parser.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if options.certificate else None
    if context:
        context.load_cert_chain(options.certificate)
    with open(options.history, "a+", buffering=1, encoding="utf-8") as file:
        anyio.run(main, options.port, context, file, backend=options.backend)
