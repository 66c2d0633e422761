"""`connect` at a terminal of its own: a pseudo-terminal, with all that a terminal does to lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import anyio
import pytest
from anyio import to_thread

from anyws import ServerConnection, serve

from ..programs import environment
from ..raw import LIMIT
from .running import PROGRAM, TIMEOUT

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import struct
import termios

pytest.importorskip("prompt_toolkit", reason="the extra cli is not installed")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The program is in another process; which loop the server runs on does not matter to it."""
    return "trio"


class Terminal:
    """The other end of a pseudo-terminal, and all that has been written to it."""

    def __init__(self) -> None:
        self._fd, self.device = pty.openpty()
        fcntl.ioctl(self.device, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.set_blocking(self._fd, False)
        self.written = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    async def shows(self, text: str) -> None:
        """Wait until this has been written, and forget it and what came before."""
        with anyio.fail_after(TIMEOUT):
            while text not in self.written:
                await anyio.wait_readable(self._fd)
                self.written += os.read(self._fd, 65536).decode()
        self.written = self.written.partition(text)[2]

    def close(self) -> None:
        os.close(self._fd)
        os.close(self.device)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def start(terminal: Terminal, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the program at a terminal."""
    # Without an answer to the question where the cursor is, there would be a warning.
    settings = environment(TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1")
    settings.pop("NO_COLOR", None)
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=terminal.device,
        stdout=terminal.device,
        stderr=terminal.device,
        env=settings,
        start_new_session=True,
    )


async def test_prompt_keeps_its_line_while_messages_arrive(terminal: Terminal) -> None:
    connections: list[ServerConnection] = []
    received: list[str | bytes] = []
    heard = anyio.Event()

    async def listen(ws: ServerConnection) -> None:
        connections.append(ws)
        async for message in ws:
            received.append(message)
            heard.set()

    async with serve(listen, "127.0.0.1", 0) as server:
        with start(terminal, "connect", server.uri, "--no-history") as process:
            try:
                await terminal.shows("Ctrl+D leaves")
                await terminal.shows(">")
                terminal.type("half")
                await terminal.shows("half")
                await connections[0].send("\x1b[2Ja message")
                await terminal.shows("\x1b[32m<\x1b[0m \\x1b[2Ja message\r\n")
                await terminal.shows("half")  # again, below it
                terminal.type(" a line\r")
                with anyio.fail_after(LIMIT):
                    await heard.wait()
                assert received == ["half a line"]
                # Between two prompts, Ctrl+C would be a signal.
                await connections[0].send("an answer")
                await terminal.shows("an answer\r\n")
                await terminal.shows(">")
                terminal.type("\x03")
                await terminal.shows("closed with 1000 (normal closure)")
                assert await to_thread.run_sync(process.wait) == 130
            finally:
                process.kill()


async def test_signal_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.device)

    async def wait(ws: ServerConnection) -> None:
        await ws.wait_closed()

    async with serve(wait, "127.0.0.1", 0) as server:
        with start(terminal, "connect", server.uri, "--no-history") as process:
            try:
                await terminal.shows("Ctrl+D leaves")
                await terminal.shows(">")
                assert termios.tcgetattr(terminal.device) != before
                process.send_signal(signal.SIGTERM)
                assert await to_thread.run_sync(process.wait) == 143
            finally:
                process.kill()
    assert termios.tcgetattr(terminal.device) == before
