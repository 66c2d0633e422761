"""Hostile answers to a client, and hostile header fields to either side (C2, C4).

`test_requests.py` has the hostile requests to a server, and `test_client.py` the usual mistakes.
"""

from __future__ import annotations

import time
from importlib.metadata import requires

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import HandshakeError, InvalidHandshake, NegotiationError, connect, serve
from anyws.testing import RawPeer

from ..http_requests import request
from ..raw import LIMIT, raw_client, raw_server
from ..scripted import Role, both_roles
from ..serving import check_alive, echo

pytestmark = pytest.mark.anyio

_LONG = b"x" * 17_000


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        # What ends a line for str.splitlines, and not in HTTP.
        *[
            pytest.param(
                b"X: a" + end + b"Sec-WebSocket-Protocol: chat", InvalidHandshake, id=repr(end)
            )
            for end in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\r", b"\0")
        ],
        pytest.param(b"X: \x1b[2J\x07", InvalidHandshake, id="escape sequence of a terminal"),
        pytest.param(b"\r\n".join([b"X: a"] * 3000), InvalidHandshake, id="3,000 fields"),
        pytest.param(b"X: " + _LONG, InvalidHandshake, id="17 kB in a field"),
        pytest.param(_LONG + b": a", InvalidHandshake, id="name of 17 kB"),
        pytest.param(b"X Y: a", InvalidHandshake, id="name with a space"),
        pytest.param(b"Content-Length: " + b"9" * 9000, InvalidHandshake, id="9,000 digits"),
        pytest.param(
            b"Sec-WebSocket-Protocol: " + "käfer".encode(), HandshakeError, id="beyond ASCII"
        ),
        pytest.param(b"Sec-WebSocket-Protocol: chat, chat", HandshakeError, id="two subprotocols"),
        pytest.param(b"Sec-WebSocket-Protocol: __class__", NegotiationError, id="a Python name"),
        pytest.param(b"Sec-WebSocket-Protocol: constructor", NegotiationError, id="JavaScript's"),
        pytest.param(
            b"Sec-WebSocket-Extensions: __class__; __proto__=1", NegotiationError, id="extension"
        ),
        pytest.param(
            b'Sec-WebSocket-Extensions: a; b="' + b"\\" * 10_000, HandshakeError, id="10 kB quoted"
        ),
        pytest.param(
            b"Sec-WebSocket-Extensions: " + b"a; b=c, " * 1900 + b"a",
            HandshakeError,
            id="1,900 extensions",
        ),
        *[
            pytest.param(
                b"Sec-WebSocket-Extensions: permessage-deflate; " + parameters,
                NegotiationError,
                id=parameters.decode()[:40],
            )
            for parameters in (
                b"server_max_window_bits=7",
                b"server_max_window_bits=16",
                b"server_max_window_bits=-9",
                b"server_max_window_bits=" + b"9" * 9000,
                b"client_max_window_bits=1000",
                b"client_max_window_bits",
                b"server_no_context_takeover=1",
                b"server_max_window_bits=9; server_max_window_bits=9",
                b"constructor",
            )
        ],
    ],
)
async def test_hostile_answer_is_a_plain_error(fields: bytes, error: type[Exception]) -> None:
    async def script(peer: RawPeer) -> None:
        answer = (await peer.read_head()).switch()[:-2] + fields + b"\r\n\r\n"
        # The client may have seen enough before all of it has come.
        try:
            await peer.send(answer)
        except anyio.BrokenResourceError:
            return
        await peer.read_rest()

    async with raw_server(script) as port:
        with anyio.fail_after(LIMIT), pytest.raises(HandshakeError) as caught:
            async with connect(
                f"ws://127.0.0.1:{port}/", subprotocols=["chat"], compression="deflate"
            ):
                pass
    assert isinstance(caught.value, error)
    assert str(caught.value).isprintable()


async def test_next_line_character_ends_no_line() -> None:
    """U+0085 ends a line for str.splitlines: the field behind it is not there."""

    async def script(peer: RawPeer) -> None:
        head = (await peer.read_head()).switch("X: a\x85Sec-WebSocket-Protocol: chat")
        await peer.send(head.decode().encode("iso-8859-1"))
        await peer.answer_close()

    async with (
        raw_server(script) as port,
        connect(f"ws://127.0.0.1:{port}/", subprotocols=["chat"]) as ws,
    ):
        assert ws.subprotocol is None


# As much of them as a head has room for.
_MOST = 14_000

_HOSTILE_VALUES = {
    "empty members": " ,\t",
    "parameters": "a;b=c,",
    "quotes": 'a;b="\\',
    "spaces": " ",
}


@both_roles
@pytest.mark.parametrize("unit", _HOSTILE_VALUES.values(), ids=_HOSTILE_VALUES)
@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"])
async def test_hostile_field_costs_linear_time(role: Role, name: str, unit: str) -> None:
    """CVE-2021-32640: 64 kB of them took minutes. Here there are 16 KiB in a head at most."""
    little = min([await _seconds(role, name, "a" + unit * (_MOST // 8 // len(unit))) for _ in "12"])
    much = min([await _seconds(role, name, "a" + unit * (_MOST // len(unit))) for _ in "123"])
    # Eight times as much; quadratic would be 64 times, of what takes a millisecond at first.
    assert much < 0.01 + 16 * little


async def _seconds(role: Role, name: str, value: str) -> float:
    """Return the CPU time of an opening handshake with a field, that of the peer too."""
    if role == "server":
        async with (
            serve(echo, "127.0.0.1", subprotocols=["x"], compression="deflate") as server,
            raw_client(server.port) as peer,
        ):
            data = request(**{name.replace("-", "_"): value})
            began = time.process_time()
            await peer.send(data)
            await peer.read_head()
            return time.process_time() - began

    async def script(peer: RawPeer) -> None:
        head = await peer.read_head()
        await peer.send(head.switch(f"{name}: {value}"))
        await peer.read_rest()

    async with raw_server(script) as port:
        began = time.process_time()
        try:
            async with connect(
                f"ws://127.0.0.1:{port}/", subprotocols=["x"], compression="deflate"
            ) as ws:
                await anyio.aclose_forcefully(ws)
        except HandshakeError:
            pass
        return time.process_time() - began


async def test_peer_that_is_gone_leaves_no_handshake_behind() -> None:
    """Half-open connections, and those that are reset, at each point of the request."""
    data = request()
    async with serve(echo, "127.0.0.1") as server:
        for at in range(0, len(data), 29):
            async with raw_client(server.port) as peer:
                await peer.send(data[:at] or b"G")
        with anyio.fail_after(LIMIT):
            while server._admission.arrivals or server.connections:
                await checkpoint()
        await check_alive(server)


def test_h11_is_new_enough() -> None:
    """CVE-2025-43859: older ones accept malformed chunked bodies."""
    assert "h11>=0.16" in (requires("anyws-structured") or ())
