"""JSON in text messages: values there and back, by each codec, and what is no JSON."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import anyio
import msgspec
import orjson
import pytest

from anyws import (
    ConnectionClosedError,
    InvalidJSON,
    JSONCodec,
    LocalProtocolError,
    MessageTypeError,
    State,
    connect,
)
from anyws._options import EncodesJSON
from anyws.testing import BINARY, TEXT, Frame

from .scripted import MEMORY, Role, both_roles

pytestmark = pytest.mark.anyio

VALUE = {"text": "héllo €😀", "list": [1, -2.5, True, None], "nested": {"": {}}}
CODECS: dict[str, JSONCodec | EncodesJSON | None] = {
    "default": None,
    "json": json,
    "orjson": orjson,
    "msgspec": msgspec.json,
}

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


class Codec:
    """A codec of the application's own."""

    def __init__(self, written: Any = b"1") -> None:
        self._written = written

    def dumps(self, value: object) -> str | bytes:
        if isinstance(self._written, Exception):
            raise self._written
        return self._written  # type: ignore[no-any-return]  # for what it must not be, too

    def loads(self, text: str) -> object:
        raise KeyError(f"cannot read {text}")


@each_codec
async def test_values_go_there_and_back(codec: JSONCodec | EncodesJSON | None) -> None:
    options: Any = {"json_codec": codec}
    async with MEMORY.pair(client=options, server=options) as (client, server):
        values: list[object] = [VALUE, [], "", 0, None, "x" * 1_000]
        for value in values:
            await client.send_json(value)
            assert await server.receive_json() == value


@each_codec
async def test_large_values_go_there_and_back(codec: JSONCodec | EncodesJSON | None) -> None:
    """From 1 MiB on, a message is made ready in slices."""
    options: Any = {"json_codec": codec, "max_size": 1 << 22}
    value = ["€uro" * 100] * 4000
    async with MEMORY.pair(client=options, server=options) as (client, server):
        await client.send_json(value)
        assert await server.receive_json() == value


@each_codec
async def test_json_is_text_in_utf_8(codec: JSONCodec | EncodesJSON | None) -> None:
    async with MEMORY.scripted("server", json_codec=codec) as (ws, peer):
        await ws.send_json({"a": [1, "é"]})
        frame = await peer.receive()
        assert frame.opcode == TEXT
        assert json.loads(frame.payload) == {"a": [1, "é"]}


async def test_json_is_compact() -> None:
    async with MEMORY.pair() as (client, server):
        await client.send_json({"a": [1, "é"]})
        assert await server.receive_text() == '{"a":[1,"é"]}'


# What is not sent


@pytest.mark.parametrize(
    ("value", "error"),
    [(math.nan, ValueError), ([-math.inf], ValueError), ({1, 2}, TypeError), (b"b", TypeError)],
    ids=str,
)
async def test_what_json_has_no_form_for_is_not_sent(value: object, error: type[Exception]) -> None:
    async with MEMORY.pair() as (client, server):
        with pytest.raises(error):
            await client.send_json(value)
        await client.send_json("next")
        assert await server.receive_json() == "next"


async def test_lone_surrogate_is_not_sent() -> None:
    async with MEMORY.pair() as (client, server):
        with pytest.raises(LocalProtocolError, match="UTF-8"):
            await client.send_json("\ud800")
        await client.send_json("next")
        assert await server.receive_json() == "next"


async def test_errors_of_a_codec_that_writes_are_its_own() -> None:
    error = LookupError("cannot write it")
    async with MEMORY.pair(client={"json_codec": Codec(error)}) as (client, server):
        with pytest.raises(LookupError) as raised:
            await client.send_json(1)
        assert raised.value is error
        await client.send("next")
        assert await server.receive() == "next"


@pytest.mark.parametrize("written", [None, [b"1"], bytearray(b"1")], ids=repr)
async def test_codec_has_to_give_text(written: object) -> None:
    async with MEMORY.pair(client={"json_codec": Codec(written)}) as (client, server):
        with pytest.raises(TypeError, match="expected str or bytes"):
            await client.send_json(1)
        await client.send("next")
        assert await server.receive() == "next"


async def test_bytes_of_a_codec_have_to_be_utf_8() -> None:
    async with MEMORY.pair(client={"json_codec": Codec(b"\xff")}) as (client, server):
        with pytest.raises(LocalProtocolError, match="not UTF-8"):
            await client.send_json(1)
        await client.send("next")
        assert await server.receive() == "next"


async def test_cancelled_send_json_sent_nothing() -> None:
    async with MEMORY.pair(capacity=100, client={"write_limit": 100}) as (client, server):
        await client.send("x" * 500)
        with anyio.move_on_after(0) as scope:
            await client.send_json("cancelled")
        assert scope.cancelled_caught
        assert await server.receive() == "x" * 500
        await client.send_json("next")
        assert await server.receive_json() == "next"


async def test_closed_connection_sends_no_json() -> None:
    async with MEMORY.pair() as (client, server):
        await anyio.aclose_forcefully(server)
        await client.wait_closed()
        with pytest.raises(ConnectionClosedError):
            await client.send_json(1)
        with pytest.raises(ConnectionClosedError):
            await client.receive_json()


# What is no JSON


@both_roles
@each_codec
@pytest.mark.parametrize("text", ["", "{", "[1,]", "hello", "[" * 100_000], ids=lambda t: t[:6])
async def test_text_that_is_no_json_is_not_lost(
    role: Role, codec: JSONCodec | EncodesJSON | None, text: str
) -> None:
    async with MEMORY.scripted(role, json_codec=codec) as (ws, peer):
        await peer.send(Frame(TEXT, text.encode()), Frame(TEXT, b"[1]"))
        with pytest.raises(InvalidJSON, match=f"message of length {len(text)}, no JSON") as error:
            await ws.receive_json()
        assert isinstance(error.value, ValueError)
        assert error.value.message == text
        assert error.value.__cause__ is not None
        assert ws.state is State.OPEN
        assert await ws.receive_json() == [1]


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}'])
@pytest.mark.parametrize("name", ["default", "orjson", "msgspec"])
async def test_what_only_python_takes_for_json_is_none(name: str, text: str) -> None:
    async with MEMORY.pair(server={"json_codec": CODECS[name]}) as (client, server):
        await client.send(text)
        with pytest.raises(InvalidJSON):
            await server.receive_json()


async def test_what_a_codec_raises_is_the_cause() -> None:
    async with MEMORY.pair(server={"json_codec": Codec()}) as (client, server):
        await client.send("text")
        with pytest.raises(InvalidJSON, match="no JSON: 'cannot read text'") as error:
            await server.receive_json()
        assert isinstance(error.value.__cause__, LookupError)


async def test_binary_message_is_no_json_and_is_not_lost() -> None:
    async with MEMORY.scripted("client") as (ws, peer):
        await peer.send(Frame(BINARY, b"[1]"), Frame(TEXT, b"[1]"))
        with pytest.raises(MessageTypeError) as error:
            await ws.receive_json()
        assert error.value.message == b"[1]"
        assert await ws.receive_json() == [1]


# The codec


@pytest.mark.parametrize("codec", ["json", object(), msgspec.json.Encoder()], ids=type)
async def test_codec_that_cannot_do_both_is_refused(codec: Any) -> None:
    with pytest.raises(TypeError, match="expected an object with dumps and loads, or with"):
        await connect("ws://localhost/", json_codec=codec)


def test_importing_the_package_does_not_import_json() -> None:
    program = "import sys, anyws; print('json' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
