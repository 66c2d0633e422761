"""An extension of our own, agreed on by both sides: every message ends with its CRC-32.

python examples/custom_extension.py [--backend trio|asyncio]
"""

import argparse
import zlib
from collections.abc import Iterable

import anyio

from anyws import Extension, ExtensionCodec, ExtensionParameters, ServerConnection, connect, serve


class Checksum(Extension, ExtensionCodec):
    """Adds four bytes to each message that is sent, and checks those of each one received."""

    name = "x-checksum"
    sent = received = 0  # CRC-32 of the current message, so far
    tail = b""  # four bytes that may be the last ones

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        return Checksum()

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        """Let a piece of a message pass, and put the checksum behind the last one."""
        crc = zlib.crc32(data, self.sent)
        self.sent = 0 if final else crc
        return data + crc.to_bytes(4, "big") if final else data

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        """Let a piece of a message pass without the last four bytes, and check them in the end."""
        data, self.tail = (self.tail + data)[:-4], (self.tail + data)[-4:]
        yield data
        self.received = zlib.crc32(data, self.received)
        if final:
            expected, self.received = self.received.to_bytes(4, "big"), 0
            if self.tail != expected:
                raise ValueError(f"checksum is {self.tail.hex()}, expected {expected.hex()}")
            self.tail = b""


async def answer(ws: ServerConnection) -> None:
    async for name in ws:
        await ws.send(f"Hello, {name!r}!")


async def main() -> None:
    async with (
        serve(answer, "localhost", extensions=[Checksum()], compression="deflate") as server,
        connect(server.uri, extensions=[Checksum()], compression="deflate") as ws,
    ):
        await ws.send("Ada")
        print(await ws.receive(), *(extension.name for extension in ws.extensions))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
