"""Opening handshakes that are begun, and no more: of TLS and of WebSocket."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import anyio

from anyws import Server, ServerConnection, connect, serve
from anyws.testing import UPGRADE, RawPeer

from ..support import SocketStream, accept, listen
from ..support import connect as connect_raw
from .faults import fault
from .seen import NOTHING, Promise, Seen, nothing, raised
from .stage import LOGGER, Stage

__all__: list[str] = []

_OPEN_TIMEOUT = 1.0

#: How somebody leaves: by a FIN, by a RST, or not at all.
Leaving = Literal["ends", "resets", "says no more"]


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What is said before that.

    Attributes:
        what: it is called.
        of_server: when our side is the client, and asked.
        of_client: when it is the server.
    """

    what: str
    of_server: bytes
    of_client: bytes
    secure: bool = False


# RFC 8446 §5.1: the heads of handshake records of 512 and of 122 bytes, and a little of them.
_BEGINNINGS = (
    _Beginning("nothing", b"", b""),
    _Beginning("half of its head", b"HTTP/1.1 101 Switching Protocols\r\nUpgr", UPGRADE[:40]),
    _Beginning(
        "half of a message of TLS",
        b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(20),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
        secure=True,
    ),
    _Beginning("garbage in the place of TLS", b"garbage\r\n\r\n", b"garbage\r\n\r\n", secure=True),
)


async def _stay_outside(beginning: _Beginning, leaving: Leaving, stage: Stage) -> Seen:
    run = _ask if stage.role == "client" else _be_asked
    return await run(beginning, leaving, stage)


async def _ask(beginning: _Beginning, leaving: Leaving, stage: Stage) -> Seen:
    """Connect to somebody who begins the answer."""
    with listen() as listener:

        async def answer() -> None:
            stream = await accept(listener)
            await stream.receive()
            await stream.send(beginning.of_server)
            await _leave(stream, leaving)
            await left.wait()
            await stream.aclose()

        left = anyio.Event()
        scheme = "wss" if beginning.secure else "ws"
        uri = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        context = stage.client_ssl if beginning.secure else None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            began = anyio.current_time()
            try:
                async with connect(uri, ssl=context, open_timeout=_OPEN_TIMEOUT, logger=LOGGER):
                    seen = Seen("a connection", 0.0)
            except Exception as exc:
                seen = Seen.of(exc, anyio.current_time() - began)
            left.set()
    return seen


async def _be_asked(beginning: _Beginning, leaving: Leaving, stage: Stage) -> Seen:
    """Serve somebody who begins to ask; then somebody else, as if nothing had been."""
    context = stage.server_ssl if beginning.secure else None
    handled: list[ServerConnection] = []

    async def handle(ws: ServerConnection) -> None:
        handled.append(ws)
        await ws.wait_closed()

    async with serve(
        handle, "127.0.0.1", ssl=context, open_timeout=_OPEN_TIMEOUT, logger=LOGGER
    ) as server:
        stream = await connect_raw(server.port)
        await stream.send(beginning.of_client)
        if "garbage" not in beginning.what:
            await _arrived(server, 1)
        began = anyio.current_time()
        await _leave(stream, leaving)
        answer = b""
        if leaving == "says no more":
            answer = await RawPeer(stream, is_client=True).read_rest()
        await _arrived(server, 0)
        seconds = anyio.current_time() - began
        await stream.aclose()
        assert not handled
        async with connect(server.uri, ssl=stage.client_ssl if context else None, logger=LOGGER):
            pass
    return Seen(NOTHING, seconds, note=f"answered {answer[:20]!r}" if answer else "")


async def _leave(stream: SocketStream, leaving: Leaving) -> None:
    if leaving == "ends":
        await stream.aclose()
    elif leaving == "resets":
        stream.reset()


async def _arrived(server: Server, n: int) -> None:
    while len(server._admission.arrivals) != n:  # noqa: ASYNC110  # nothing tells of it
        await anyio.sleep(0.001)


def _promises(beginning: _Beginning, leaving: Leaving) -> dict[str, Promise]:
    """Return what is promised (errors: "When a handshake fails")."""
    if "garbage" in beginning.what:
        return {"client": raised("HandshakeError", cause="SSLError"), "server": nothing(0.0)}
    if leaving == "says no more":
        client = raised("TimeoutError", soonest=_OPEN_TIMEOUT, latest=_OPEN_TIMEOUT)
        return {"client": client, "server": nothing(_OPEN_TIMEOUT)}
    return {
        "client": raised("HandshakeError" if beginning.secure else "InvalidHandshake"),
        "server": nothing(0.0),
    }


def _add(beginning: _Beginning, leaving: Leaving) -> None:
    fault(
        f"the peer says {beginning.what}, then {leaving}",
        **_promises(beginning, leaving),  # type: ignore[arg-type]  # the roles are keywords
        is_quick=leaving != "says no more" or "garbage" in beginning.what,
    )(functools.partial(_stay_outside, beginning, leaving))


for _beginning in _BEGINNINGS:
    for _leaving in ("ends", "resets", "says no more"):
        if "garbage" not in _beginning.what or _leaving == "says no more":
            _add(_beginning, _leaving)
