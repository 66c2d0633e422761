"""The chat of examples/ in windows of Chromium."""

from __future__ import annotations

import json
import signal
import socket as stdlib_socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trustme

from anyws import connect

from ..programs import finish, running
from .chromium import LIMIT, Browser, Page, open_browser

pytestmark = pytest.mark.anyio

# HTML would make markup of one, and both come to more bytes than they have characters.
_MARKUP = "<img src=x onerror=\"document.title = 'broken'\"><b>Größe &amp; 東京</b>"
_LONG = "😀é" * 600


class Chat:
    """The program, each time on the same port and with the same history.

    Args:
        directory: for its files.
        backend: what it runs on.
        certificate: for TLS.
    """

    def __init__(
        self, directory: Path, backend: str, certificate: trustme.LeafCert | None = None
    ) -> None:
        # It does not listen, and so keeps all others from the port but the program.
        self._holder = stdlib_socket.socket()
        self._holder.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        port = self._holder.getsockname()[1]
        self._arguments = ["--port", str(port), "--history", str(directory / "history")]
        self._arguments += ["--backend", backend]
        if certificate is not None:
            certificate.private_key_and_cert_chain_pem.write_to_path(directory / "pem")
            self._arguments += ["--certificate", str(directory / "pem")]
        self.page = f"{'https' if certificate else 'http'}://localhost:{port}/"

    def running(self) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
        """Run it for a block, which gets the process and the URI."""
        return running("chat.py", *self._arguments)

    def close(self) -> None:
        """Let go of the port."""
        self._holder.close()


@pytest.fixture(params=["ws"])
def chat(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    anyio_backend: tuple[str, dict[str, bool]],
    certificate: trustme.LeafCert,
) -> Iterator[Chat]:
    """Return the chat, over what the test asks for."""
    chat = Chat(tmp_path, anyio_backend[0], certificate if request.param == "wss" else None)
    yield chat
    chat.close()


@asynccontextmanager
async def window(browser: Browser, uri: str, name: str) -> AsyncIterator[Page]:
    """Open the page in a window of its own, and enter by a name."""
    async with browser.page(uri) as page:
        await page.wait_for("document.querySelector('dialog').open")
        await page.type(name)
        await page.press_enter()
        await page.wait_for("document.body.dataset.state === 'open'")
        yield page


async def say(page: Page, text: str) -> None:
    """Say something, as one does."""
    await page.type(text)
    await page.press_enter()


async def lines(page: Page, n: int) -> list[str]:
    """Wait until the page shows so many lines, all of which the server has, and return them."""
    await page.wait_for(
        f"document.querySelectorAll('#log li').length === {n}"
        " && !document.querySelector('.pending')"
    )
    shown: list[str] = await page.evaluate(
        "Array.from(document.querySelectorAll('#log li'), (item) =>"
        " item.querySelector('bdi').textContent + ': ' + item.querySelector('.text').textContent)"
    )
    return shown


@pytest.mark.parametrize("chat", ["ws", "wss"], indirect=True)
async def test_two_windows_talk(chat: Chat, devtools: str) -> None:
    with anyio.fail_after(LIMIT), chat.running():
        async with (
            open_browser(devtools) as browser,
            window(browser, chat.page, "Ada") as ada,
            window(browser, chat.page, "Ben") as ben,
        ):
            await ada.wait_for("document.querySelectorAll('#people li').length === 2")
            await say(ada, "hello")
            assert await lines(ben, 1) == ["Ada: hello"]
            await say(ben, "hello yourself")
            assert await lines(ada, 2) == ["Ada: hello", "Ben: hello yourself"]
            await ben.close()
            await ada.wait_for("document.querySelectorAll('#people li').length === 1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
async def test_windows_come_back_after_a_restart_and_nothing_is_lost(
    chat: Chat, devtools: str, number: signal.Signals
) -> None:
    """What was said before it, or when there was no server, all see once and in one order."""
    with anyio.fail_after(LIMIT):
        async with open_browser(devtools) as browser, AsyncExitStack() as windows:
            with chat.running() as (process, _):
                ada = await windows.enter_async_context(window(browser, chat.page, "Ada"))
                ben = await windows.enter_async_context(window(browser, chat.page, "Ben"))
                await say(ada, "one")
                assert await lines(ada, 1) == await lines(ben, 1) == ["Ada: one"]
                process.send_signal(number)
                if number == signal.SIGTERM:
                    assert finish(process) == []
            for page, text in ((ada, "two"), (ben, "three")):
                await page.wait_for("document.body.dataset.state !== 'open'")
                await page.wait_for(
                    "document.querySelector('#state').textContent.startsWith('Reconnecting')"
                )
                await say(page, text)
                await page.wait_for("document.querySelector('.pending')")
            with chat.running() as (process, uri):
                seen = await lines(ada, 3)
                assert seen == await lines(ben, 3)
                assert seen[0] == "Ada: one"
                assert set(seen[1:]) == {"Ada: two", "Ben: three"}
                await say(ada, "four")
                assert await lines(ben, 4) == [*seen, "Ada: four"]
                async with connect(uri) as newcomer:
                    told = json.loads(await newcomer.receive())["lines"]
                assert [f"{line['name']}: {line['text']}" for line in told] == [*seen, "Ada: four"]


async def test_markup_and_long_text_are_shown_as_they_are(chat: Chat, devtools: str) -> None:
    with anyio.fail_after(LIMIT), chat.running():
        async with (
            open_browser(devtools) as browser,
            window(browser, chat.page, "<i>Ada</i>") as ada,
            window(browser, chat.page, "Ben") as ben,
        ):
            await say(ada, _MARKUP)
            await say(ada, _LONG)
            expected = [f"<i>Ada</i>: {text}" for text in (_MARKUP, _LONG)]
            assert await lines(ben, 2) == expected
            assert await lines(ada, 2) == expected
            assert (
                await ben.evaluate("document.querySelectorAll('#log :is(b, i, img)').length") == 0
            )
            assert await ben.evaluate("document.title") == "Chat"
