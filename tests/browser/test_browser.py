"""What Chromium and our server make of each other."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trustme

from anyws import Request, Response, Server, ServerConnection, serve

from ..serving import connections, echo
from .chromium import LIMIT, Page, open_browser

pytestmark = pytest.mark.anyio

# A page opens a connection, and code that follows makes use of it.
_OPEN = """
(async () => {
    const ws = new WebSocket(%s, %s);
    ws.binaryType = "arraybuffer";
    const closed = new Promise((resolve) => { ws.onclose = resolve; });
    const message = () => new Promise((resolve) => { ws.onmessage = ({ data }) => resolve(data); });
    await new Promise((resolve) => { ws.onopen = ws.onerror = resolve; });
    %s
})()
"""


def give_page(ws: ServerConnection, request: Request) -> Response | None:
    """Answer with an empty page those who do not open a connection."""
    if "Upgrade" in request.headers:
        return None
    return ws.respond(200, "<!doctype html>", {"Content-Type": "text/html"})


@asynccontextmanager
async def visiting(devtools: str, server: Server) -> AsyncIterator[Page]:
    """Open the page of a server."""
    async with (
        open_browser(devtools) as browser,
        browser.page(server.uri.replace("ws", "http", 1)) as page,
    ):
        yield page


async def run(page: Page, uri: str, code: str, subprotocols: tuple[str, ...] = ()) -> Any:
    """Connect, run code that has `ws`, `closed` and `message`, and return what that returns."""
    return await page.evaluate(_OPEN % (json.dumps(uri), json.dumps(subprotocols), code))


async def test_large_messages_come_back_as_they_were(devtools: str) -> None:
    with anyio.fail_after(LIMIT):
        async with (
            serve(echo, "127.0.0.1", process_request=give_page, max_size=None) as server,
            visiting(devtools, server) as page,
        ):
            assert await run(
                page,
                server.uri,
                """
                const text = "Größe 東京 😀 ".repeat(400_000);
                ws.send(text);
                const isSameText = await message() === text;
                const bytes = new Uint8Array(5_000_000).map((_, i) => i * i);
                ws.send(bytes);
                const answer = new Uint8Array(await message());
                return [isSameText, answer.length, answer.every((value, i) => value === bytes[i])];
                """,
            ) == [True, 5_000_000, True]


async def test_compression_is_agreed_on_and_used_both_ways(devtools: str) -> None:
    with anyio.fail_after(LIMIT):
        async with (
            serve(echo, "127.0.0.1", process_request=give_page, compression="deflate") as server,
            visiting(devtools, server) as page,
        ):
            extensions, is_same = await run(
                page,
                server.uri,
                """
                const text = "Größe ".repeat(10_000);
                ws.send(text);
                return [ws.extensions, await message() === text];
                """,
            )
            assert extensions.startswith("permessage-deflate")
            assert is_same
            [ws] = server.connections
            assert [each.name for each in ws.extensions] == ["permessage-deflate"]
            assert 0 < ws.stats.received_bytes < 1000
            assert 0 < ws.stats.sent_bytes < 1000


async def test_page_of_another_origin_is_refused(devtools: str) -> None:
    seen: list[tuple[str | None, int]] = []

    def look(_connection: ServerConnection, request: Request, response: Response) -> None:
        seen.append((request.headers.get("Origin"), response.status_code))

    with anyio.fail_after(LIMIT):
        async with (
            serve(echo, "127.0.0.1", process_request=give_page) as other,
            serve(echo, "127.0.0.1", process_response=look) as server,
            visiting(devtools, other) as page,
        ):
            code = await run(page, server.uri, "return (await closed).code;")
            assert code == 1006
            assert seen == [(f"http://127.0.0.1:{other.port}", 403)]


async def test_server_learns_by_1001_that_a_tab_was_closed(devtools: str) -> None:
    ends: list[int | None] = []

    async def handle(ws: ServerConnection) -> None:
        await ws.send("welcome")
        await ws.wait_closed()
        ends.append(ws.close_code)

    with anyio.fail_after(LIMIT):
        async with (
            serve(handle, "127.0.0.1", process_request=give_page) as server,
            visiting(devtools, server) as page,
        ):
            assert await run(page, server.uri, "window.kept = ws; return await message();") == (
                "welcome"
            )
            await page.close()
            await connections(server, 0)
            assert ends == [1001]


async def test_close_codes_and_reasons_pass_both_ways(devtools: str) -> None:
    ends: list[tuple[int | None, str | None]] = []

    async def handle(ws: ServerConnection) -> None:
        if ws.request.path == "/leave":
            await ws.close(4002, "genug für heute")
        await ws.wait_closed()
        ends.append((ws.close_code, ws.close_reason))

    with anyio.fail_after(LIMIT):
        async with (
            serve(handle, "127.0.0.1", process_request=give_page) as server,
            visiting(devtools, server) as page,
        ):
            told = "const end = await closed; return [end.code, end.reason, end.wasClean];"
            assert await run(page, f"{server.uri}leave", told) == [4002, "genug für heute", True]
            ours = f'ws.close(4001, "tschüß"); {told}'
            assert await run(page, server.uri, ours) == [4001, "tschüß", True]
            await connections(server, 0)
            assert ends[1:] == [(4001, "tschüß")]


async def test_token_of_a_page_comes_among_the_subprotocols(devtools: str) -> None:
    def ask(ws: ServerConnection, request: Request) -> Response | None:
        ws.username = request.bearer_token()
        return give_page(ws, request)

    async def greet(ws: ServerConnection) -> None:
        await ws.send(f"hello, {ws.username}")

    with anyio.fail_after(LIMIT):
        async with (
            serve(greet, "127.0.0.1", process_request=ask) as server,
            visiting(devtools, server) as page,
        ):
            answer = await run(
                page, server.uri, "return [await message(), ws.protocol];", ("bearer", "dGhl")
            )
            assert answer == ["hello, dGhl", "bearer"]


async def test_certificate_that_nobody_vouches_for_is_not_accepted(devtools: str) -> None:
    """So the one of the tests over TLS is accepted for what it is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1", process_request=give_page, ssl=context) as server:
            with pytest.raises(ConnectionError, match="ERR_CERT_AUTHORITY_INVALID"):
                async with visiting(devtools, server):
                    pass
