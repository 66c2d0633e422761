"""The rows of the benchmark: what the load is, apart from who serves it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What a row does, and so what its figure counts."""

    ECHO = "messages, sent and echoed"
    CLIENT = "messages, sent to clients and echoed by them"
    FAN = "deliveries to all connections of what one of them sends"
    SHAKE = "connection at a time: opened, and closed cleanly, without a message"
    IDLE = "connections, left alone after one message each"
    OPEN = "connections, left alone after the opening handshake"
    IMPORT = "importing a library beyond its event loop, and anyws beyond anyio"


@dataclass(frozen=True, slots=True)
class Row:
    """One load; `payload_size` is in bytes before compression, and `depth` is per connection."""

    name: str
    kind: Kind
    connections: int = 0
    payload_size: int = 0
    text: bool = False
    depth: int = 0
    tls: bool = False
    compress: bool = False

    @property
    def unit(self) -> str:
        """What the cost is counted in, per message, connection or import."""
        units: dict[Kind, str] = {Kind.IDLE: "KiB", Kind.OPEN: "KiB", Kind.IMPORT: "cpu ms"}
        return units.get(self.kind, "cpu us")

    def describe(self) -> str:
        """Return the load in words."""
        if self.kind is Kind.IMPORT:
            return str(self.kind.value)
        compressed = ", with permessage-deflate" if self.compress else ""
        if self.kind in (Kind.SHAKE, Kind.IDLE, Kind.OPEN):
            return f"{self.connections} {self.kind.value}{compressed}"
        if self.kind is Kind.FAN:
            return (
                f"deliveries to {self.connections} connections of what one of them sends, "
                f"{self.payload_size} bytes of binary a message"
            )
        type_ = "text" if self.text else "binary"
        whose = "clients' connections" if self.kind is Kind.CLIENT else "connections"
        return (
            f"{whose}: {self.connections}{' over TLS' if self.tls else ''}, "
            f"{self.payload_size} bytes of {type_} a message, "
            f"in flight on each: {self.depth}{compressed}"
        )


ROWS: Final = {
    row.name: row
    for row in (
        Row("e1", Kind.ECHO, 1, 32, depth=1),
        Row("e100", Kind.ECHO, 100, 32, depth=1),
        Row("e100x1k", Kind.ECHO, 100, 1024, depth=1),
        Row("pipe", Kind.ECHO, 10, 32, depth=100),
        Row("txt1k", Kind.ECHO, 10, 1024, text=True, depth=10),
        Row("deflate", Kind.ECHO, 10, 1024, text=True, depth=10, compress=True),
        Row("64k", Kind.ECHO, 4, 64 * 1024, depth=1),
        Row("1M", Kind.ECHO, 2, 1024 * 1024, depth=1),
        Row("tls1k", Kind.ECHO, 100, 1024, depth=1, tls=True),
        Row("tls64k", Kind.ECHO, 4, 64 * 1024, depth=1, tls=True),
        Row("client1k", Kind.CLIENT, 100, 1024, depth=1),
        Row("client64k", Kind.CLIENT, 4, 64 * 1024, depth=1),
        Row("fan", Kind.FAN, 1000, 256),
        Row("shake", Kind.SHAKE, 1, 32),
        Row("idle", Kind.IDLE, 2000, 32),
        # The size is that of the messages that each process has echoed before it is measured.
        Row("idledeflate", Kind.OPEN, 2000, 1024, text=True, compress=True),
        Row("useddeflate", Kind.IDLE, 2000, 1024, text=True, compress=True),
        Row("import", Kind.IMPORT),
    )
}
