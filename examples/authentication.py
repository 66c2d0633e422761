"""A server that asks who connects, and clients that say so in each way there is.

python examples/authentication.py [--backend trio|asyncio]
"""

import argparse
from typing import Any

import anyio

from anyws import BasicAuth, HandshakeRejected, Request, Response, ServerConnection, connect, serve

# Random, and good for an hour or for one use: from a database, or signed.
TOKENS = {"dGhlIHNhbXBsZQ": "ada"}
PASSWORDS = BasicAuth(users={"ben": "correct horse"}, realm="example")


def admit(ws: ServerConnection, request: Request) -> Response | None:
    """Look for a token; where there is none, ask for a password."""
    token = request.bearer_token() or request.cookies.get("session")
    if token is None:
        ws.configure(auth=PASSWORDS)
        return None
    ws.username = TOKENS.get(token)
    return None if ws.username else ws.respond(401, "this token is not known, or no longer")


async def greet(ws: ServerConnection) -> None:
    """Say who it is; nobody gets here without a name."""
    await ws.send(f"hello, {ws.username}")


async def try_it(uri: str, what: str, **options: Any) -> None:
    """Connect, and print what came of it."""
    try:
        async with connect(uri, **options) as ws:
            print(f"{what}: {await ws.receive_text()}")
    except HandshakeRejected as exc:
        print(f"{what}: {exc.response.status_code} {exc.response.body.decode().strip()}")


async def main() -> None:
    """Serve, and connect in every way."""
    async with serve(greet, "localhost", 0, process_request=admit) as server:
        token = next(iter(TOKENS))
        await try_it(server.uri, "header", headers={"Authorization": f"Bearer {token}"})
        await try_it(server.uri, "cookie", headers={"Cookie": f"theme=dark; session={token}"})
        # The only way for a page in a browser that has no cookie.
        await try_it(server.uri, "subprotocol", subprotocols=["bearer", token])
        password = BasicAuth("ben", "correct horse").header_value()
        await try_it(server.uri, "password", headers={"Authorization": password})
        await try_it(server.uri, "old token", headers={"Cookie": "session=old"})
        await try_it(server.uri, "nothing")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask who connects.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
