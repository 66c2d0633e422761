"""`ws`, the WebSocket library for Node.js, as a peer: its installation, and a process a cell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from .deflate_peers import DeflatePeer, Listening
from .deflate_rows import Accepts, ClientSetup, Parameters, Preset, ServerSetup
from .deflate_traffic import Report, Traffic
from .peers import LIMIT

__all__ = ["NodeNotFound", "NodePeer"]

VERSION: Final = "8.23.0"
SCRIPT: Final = Path(__file__).with_suffix(".js")
INSTALL_TIMEOUT: Final = 120.0
# Bytes of one line that the script prints.
LONGEST_LINE: Final = 65_536


class NodeNotFound(Exception):
    """There is no Node.js, or `ws` cannot be installed; the message says which."""


class NodePeer(DeflatePeer):
    """`ws` in processes of Node.js.

    Args:
        cache: a directory for the library, which stays there; created if needed.
        scratch: a directory for the messages, as long as the peer is in use.
        traffic: the messages of every cell.

    Raises:
        NodeNotFound: no `node` is on PATH, or `npm` could not install the library.
    """

    def __init__(self, cache: Path, scratch: Path, traffic: Traffic) -> None:
        node = shutil.which("node")
        if node is None:
            raise NodeNotFound("node was not found on PATH; Node.js 18 or later is needed")
        _install(cache)
        messages = scratch / "messages.bin"
        messages.write_bytes(b"".join(map(_encode, traffic.theirs)))
        self._command = [node, str(SCRIPT), str(messages), str(len(traffic.ours))]
        self._environment = {**os.environ, "NODE_PATH": str(cache / "node_modules")}

    @asynccontextmanager
    async def listen(self, setup: ServerSetup, traffic: Traffic) -> AsyncIterator[Listening]:
        async with self._process(_server_options(setup)) as lines:
            with anyio.fail_after(LIMIT):
                port = await _read_line(lines)

            async def report() -> Report:
                with anyio.fail_after(LIMIT):
                    return Report(**await _read_line(lines))

            yield Listening(port["port"], report)

    async def connect(self, setup: ClientSetup, uri: str, traffic: Traffic) -> Report:
        async with self._process(_client_options(setup), uri) as lines:
            with anyio.fail_after(traffic.limit):
                return Report(**await _read_line(lines))

    @asynccontextmanager
    async def _process(
        self, options: Mapping[str, bool | int] | bool, *arguments: str
    ) -> AsyncIterator[BufferedByteReceiveStream]:
        command = [*self._command, json.dumps(options), *arguments]
        async with await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stderr=None, env=self._environment
        ) as process:
            assert process.stdout is not None
            try:
                yield BufferedByteReceiveStream(process.stdout)
            finally:
                if process.returncode is None:
                    process.terminate()


async def _read_line(lines: BufferedByteReceiveStream) -> Any:
    # What the script prints is checked where it is used: the tests do not run it.
    return json.loads(await lines.receive_until(b"\n", LONGEST_LINE))


def _encode(message: str | bytes) -> bytes:
    data = message.encode() if isinstance(message, str) else message
    return bytes([isinstance(message, str)]) + len(data).to_bytes(4) + data


def _server_options(setup: ServerSetup) -> Mapping[str, bool | int] | bool:
    if not isinstance(setup, Accepts):
        return setup is not Preset.OFF
    options = _options(setup.asks)
    # It declines offers without a limit for the client if it has one itself.
    assert setup.requires_client_bits <= ("clientMaxWindowBits" in options)
    if setup.declines_server_bits:
        options["serverMaxWindowBits"] = False
    return options


def _client_options(setup: ClientSetup) -> Mapping[str, bool | int] | bool:
    if not isinstance(setup, tuple):
        return setup is not Preset.OFF
    [offer] = setup
    # Left out, it would offer to limit its window.
    return {"clientMaxWindowBits": False, **_options(offer)}


def _options(parameters: Parameters) -> dict[str, bool | int]:
    options: dict[str, bool | int] = {"threshold": 0}
    if parameters.server_no_context_takeover:
        options["serverNoContextTakeover"] = True
    if parameters.client_no_context_takeover:
        options["clientNoContextTakeover"] = True
    if parameters.server_max_window_bits is not None:
        options["serverMaxWindowBits"] = parameters.server_max_window_bits
    if parameters.client_max_window_bits is not None:
        options["clientMaxWindowBits"] = parameters.client_max_window_bits
    return options


def _install(cache: Path) -> None:
    """Install `ws` from the npm registry, unless this version of it is there already."""
    try:
        package = json.loads((cache / "node_modules" / "ws" / "package.json").read_text())
    except (OSError, ValueError):
        package = {}
    if package.get("version") == VERSION:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise NodeNotFound(f"npm was not found on PATH; it is needed once, to install ws {VERSION}")
    cache.mkdir(exist_ok=True)
    # Keeps it out of git, whatever else is ignored.
    (cache / ".gitignore").write_text("*\n")
    print(f"installing ws {VERSION} in {cache}", flush=True)
    options = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(cache)]
    try:
        subprocess.run(
            [npm, "install", *options, f"ws@{VERSION}"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_TIMEOUT,
        )
    except subprocess.CalledProcessError as exc:
        raise NodeNotFound(f"npm could not install ws:\n{exc.stdout[-2000:].strip()}") from exc
    except (subprocess.TimeoutExpired, OSError) as exc:
        raise NodeNotFound(f"npm could not install ws: {exc}") from exc
