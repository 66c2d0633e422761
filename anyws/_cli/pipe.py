"""`connect` in a pipe: lines of the input are messages, and messages are lines of the output.

Owns when to stop. The input is read by a thread, since that is what works for files, pipes and
terminals alike, and on every event loop.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from socket import socket as Socket
from socket import socketpair
from threading import Thread

import anyio

from .. import ClientConnection, ConnectionClosed
from .notes import Notes
from .running import OK, Failure, run_beside
from .show import Colours, is_json, pretty_json, show_message

__all__ = ["Pipe", "read_lines"]

_CHUNK = 65536

Lines = AbstractAsyncContextManager[AsyncIterable[bytes]]


class Pipe:
    """A conversation by lines.

    Args:
        options: those of the command.
        notes: tells of the end.
        lines: gives those of the input, without their ends.
    """

    def __init__(self, options: argparse.Namespace, notes: Notes, lines: Lines) -> None:
        self._notes = notes
        self._lines = lines
        self._wait: float = options.wait
        self._count: int | None = options.count
        self._as_binary: bool = options.binary
        self._raw: bool = options.raw
        self._as_json: bool | None = options.json
        self._arrived = anyio.Event()  # a new one for each message
        self._failure: Failure | None = None

    async def talk(self, ws: ClientConnection) -> int:
        """Send and receive until the input has ended and nothing more comes.

        Returns:
            The exit status.
        """
        closed = await run_beside(lambda: self._send_lines(ws), lambda: self._receive(ws))
        if self._failure is not None:
            raise self._failure
        return OK if closed is None else self._notes.ended(closed)

    async def _receive(self, ws: ClientConnection) -> ConnectionClosed | None:
        """Write messages until the connection ends, or so many have come as were wanted."""
        received = 0
        while received != self._count:
            try:
                message = await ws.receive()
            except ConnectionClosed as closed:
                return closed
            self._write(message)
            received += 1
            self._arrived.set()
            self._arrived = anyio.Event()
        return None

    async def _send_lines(self, ws: ClientConnection) -> None:
        try:
            async with self._lines as lines:
                number = 0
                async for line in lines:
                    number += 1
                    await self._send(ws, line, number)
            await self._wait_for_silence()
        except Failure as exc:
            self._failure = exc
        except ConnectionClosed:
            return  # whoever receives tells
        # What comes before the server's Close frame is received too.
        await ws.send_eof()

    async def _send(self, ws: ClientConnection, line: bytes, number: int) -> None:
        if self._as_binary:
            await ws.send(line)
            return
        try:
            text = line.decode()
        except UnicodeDecodeError as exc:
            raise Failure(
                f"line {number} of the input is not UTF-8\n"
                "hint: --binary sends lines whatever they are"
            ) from exc
        await ws.send(text)

    async def _wait_for_silence(self) -> None:
        """Wait until nothing has come for as long as the user said."""
        while True:
            with anyio.move_on_after(self._wait) as scope:
                await self._arrived.wait()
            if scope.cancelled_caught:
                return

    def _write(self, message: str | bytes) -> None:
        out = sys.stdout
        if out.isatty():
            width = shutil.get_terminal_size().columns
            shown = show_message(message, Colours.of(out), as_json=self._as_json, width=width)
            data = shown.encode(out.encoding, "backslashreplace") + b"\n"
        elif self._raw:
            data = message.encode() if isinstance(message, str) else message
        elif isinstance(message, bytes):
            data = f"0x{message.hex()}\n".encode()
        elif self._as_json and is_json(message):
            data = f"{pretty_json(message, Colours(False))}\n".encode()
        else:
            data = message.encode() + b"\n"
        out.buffer.write(data)
        out.buffer.flush()


class read_lines:  # used as `open` is
    """The lines of a file descriptor, without their ends, for `async with` and `async for`.

    A thread reads, and passes on what it has read by a socket; it must not call the event loop,
    which it may outlive. If the block is left early, it is left behind, and ends with the process:
    nothing wakes somebody who waits for a terminal.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._rest: list[bytes] = []  # of a line that has not ended
        self._has_ended = False

    async def __aenter__(self) -> read_lines:
        self._socket, theirs = socketpair()
        self._socket.setblocking(False)
        # Not one of anyio's, for which the interpreter waits at its end.
        Thread(target=_copy, args=(self._fd, theirs), daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    def __aiter__(self) -> read_lines:
        return self

    async def __anext__(self) -> bytes:
        while not self._lines and not self._has_ended:
            await anyio.wait_readable(self._socket)
            self._take(self._socket.recv(_CHUNK))
        if self._lines:
            return self._lines.popleft().removesuffix(b"\r")
        raise StopAsyncIteration

    def _take(self, chunk: bytes) -> None:
        self._has_ended = not chunk
        first, *others = chunk.split(b"\n")
        self._rest.append(first)
        if others or self._has_ended:
            line, self._rest = b"".join(self._rest), others[-1:]
            # What follows the last line end is a line only if it is not empty.
            self._lines.extend([line, *others[:-1]] if others or line else [])


def _copy(fd: int, sock: Socket) -> None:
    """Copy a file into a socket, until either of them ends."""
    with sock:
        try:
            # Not `sys.stdin`, whose lock the thread would still hold when the interpreter ends.
            while chunk := os.read(fd, _CHUNK):
                sock.sendall(chunk)
        except OSError:
            return  # nobody wants it any more
