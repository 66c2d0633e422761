"""Chromium without a window, driven by its DevTools protocol, which is spoken over WebSocket.

So the client of this package drives it, on the event loop of the test. There is no waiting for a
while: `Page.wait_for` ends when the document has changed so that its condition holds.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from anyws import ClientConnection, connect

__all__ = ["LIMIT", "PROGRAM", "Browser", "Page", "chromium", "open_browser"]

#: Seconds for a test, which takes two or three unless something is wrong.
LIMIT = 60.0

#: Where Chromium is, None if nowhere.
PROGRAM = shutil.which("chromium")

# What it would do beside showing our pages: ask its makers for news, for the most part.
_ALONE = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    # A container has little memory to share.
    "--disable-dev-shm-usage",
)

# What the document has to look like is looked at again whenever it has changed.
_WAIT = """
new Promise((resolve) => {
    const observer = new MutationObserver(check);
    function check() {
        if (!(%s)) return;
        observer.disconnect();
        resolve();
    }
    const all = { subtree: true, childList: true, attributes: true, characterData: true };
    observer.observe(document, all);
    check();
})
"""


@contextmanager
def chromium(directory: Path, certificate: trustme.LeafCert) -> Iterator[str]:
    """Run Chromium; yield the URI of its DevTools.

    Args:
        directory: for its profile; an empty one.
        certificate: what it is to accept, though nobody that it knows has signed it.
    """
    assert PROGRAM is not None
    with subprocess.Popen(
        [
            PROGRAM,
            "--headless=new",
            "--remote-debugging-port=0",
            f"--user-data-dir={directory}",
            f"--ignore-certificate-errors-spki-list={_hash_of_key(certificate)}",
            *_ALONE,
            # Its sandbox refuses to run as root.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("DevTools listening on "):
                break
        else:
            raise RuntimeError("Chromium has ended:\n" + "".join(said))
        # It says a lot more, and must not wait for somebody to read it.
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        try:
            yield said[-1].split()[-1]
        finally:
            process.terminate()
            reader.join()


def _hash_of_key(certificate: trustme.LeafCert) -> str:
    """Return the hash by which Chromium knows a public key."""
    public_key = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()).public_key()
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


class Browser:
    """A browser, for one task at a time."""

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws
        self._calls = 0

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Call a method of the DevTools protocol and return its result."""
        self._calls += 1
        call = {"id": self._calls, "method": method, "params": parameters}
        await self._ws.send_json({**call, "sessionId": session} if session else call)
        while True:
            answer = await self._ws.receive_json()
            if answer.get("id") == self._calls:  # the others are events
                assert "error" not in answer, (call, answer["error"])
                return answer["result"]

    @asynccontextmanager
    async def page(self, uri: str) -> AsyncIterator[Page]:
        """Open a page in a window that shares nothing with the others."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call("Target.attachToTarget", **target, flatten=True)
        page = Page(self, target["targetId"], attached["sessionId"])
        try:
            await page.go(uri)
            yield page
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """A page, made by `Browser.page`."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the DevTools protocol for this page."""
        return await self._browser.call(method, self._session, **parameters)

    async def go(self, uri: str) -> None:
        """Go to another address, and wait until its document is there.

        Raises:
            ConnectionError: it could not be loaded.
        """
        result = await self.call("Page.navigate", url=uri)
        if error := result.get("errorText"):
            raise ConnectionError(error)
        await self.evaluate(
            "document.readyState === 'complete'"
            " || new Promise((resolve) => addEventListener('load', () => resolve()))"
        )

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, or that of its promise."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, condition: str) -> None:
        """Wait until the document is such that an expression is true."""
        await self.evaluate(_WAIT % condition)

    async def type(self, text: str) -> None:
        """Type where the focus is."""
        await self.call("Input.insertText", text=text)

    async def press_enter(self) -> None:
        """Press the key."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def close(self) -> None:
        """Close it, as its user would."""
        await self._browser.call("Target.closeTarget", targetId=self._target)

    async def picture(self) -> bytes:
        """Return a PNG of what is to be seen."""
        answer = await self.call("Page.captureScreenshot")
        return base64.b64decode(answer["data"])


@asynccontextmanager
async def open_browser(devtools: str) -> AsyncIterator[Browser]:
    """Connect to the browser that `chromium` runs."""
    async with connect(devtools, max_size=None, ping_interval=None) as ws:
        yield Browser(ws)
