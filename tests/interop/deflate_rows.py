"""The table of permessage-deflate (RFC 7692): who asks for what, and what comes out of it.

Data only. A column is our role and the library of the peer; a row says what the client offers and
what the server accepts, whichever of them is ours, and what they agree on. Where that depends on
the library, the row names the columns, with one of these reasons for a `CANNOT`:

- `aiohttp` has one setting: the window of the server, 9 to 15, where its client does not name 15.
  Its client always leaves its own window to the server, its server accepts whatever it can and
  asks for nothing. What a client may limit it ignores, which is legal, and does not answer.
- zlib cannot compress within 2**8 bytes. `websockets` and `aiohttp` do not work around this, so
  their servers decline that window, and their clients neither offer nor take it for themselves.
- The server of `ws` answers offers that it declines with 400, rather than with no extension.
- Our client always names a limit for its own window when it offers to limit it. Our server has no
  setting by which it declines a limit on its window, since it can keep to any.
- Only `websockets` and our client can make two offers of their own choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import product
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one offer, or of an answer (§7.1).

    Attributes:
        server_no_context_takeover: the server compresses each message by itself.
        client_no_context_takeover: the client does.
        server_max_window_bits: None is the parameter left out, which stands for 15.
        client_max_window_bits: likewise; True, in an offer only, is the parameter without a value.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None

    def __str__(self) -> str:
        words = [
            "Sn" * self.server_no_context_takeover,
            "Cn" * self.client_no_context_takeover,
            f"S{self.server_max_window_bits}" * (self.server_max_window_bits is not None),
            f"C{self.client_max_window_bits}" * (self.client_max_window_bits is not None),
        ]
        return " ".join(filter(None, words)) or "deflate"

    def in_effect(self) -> dict[str, bool | int]:
        """Return what an end has to keep to, by the names of the RFC."""
        return {
            "server_no_context_takeover": self.server_no_context_takeover,
            "client_no_context_takeover": self.client_no_context_takeover,
            "server_max_window_bits": self.server_max_window_bits or 15,
            "client_max_window_bits": self.client_max_window_bits or 15,
        }


class Preset(Enum):
    """What one end does where a row gives no parameters."""

    #: Nothing is offered or accepted.
    OFF = "off"
    #: The library's own choice, where compression is turned on and nothing more is said.
    DEFAULTS = "defaults"
    #: Of a client: it offers to limit its window, and leaves to the server how.
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a server makes of offers.

    Attributes:
        asks: what it wants, beside what the client wants.
        requires_client_bits: it declines an offer without client_max_window_bits.
        declines_server_bits: it declines an offer with server_max_window_bits; those that cannot
            be told so do it for 8.
    """

    asks: Parameters = Parameters()
    requires_client_bits: bool = False
    declines_server_bits: bool = False


class Special(Enum):
    """What comes out of a row, if it is not an agreement on parameters."""

    #: The connection opens, without compression.
    NOTHING = "none"
    #: The peer refuses the handshake.
    REFUSED = "refused"
    #: One of the two libraries cannot be told to do what the row says; the cell is left out.
    CANNOT = "-"


NOTHING: Final = Special.NOTHING
REFUSED: Final = Special.REFUSED
CANNOT: Final = Special.CANNOT

ClientSetup: TypeAlias = Preset | tuple[Parameters, ...]
ServerSetup: TypeAlias = Preset | Accepts
Expected: TypeAlias = Parameters | Special


class Column(Enum):
    """Which side is ours, and which library has the other one."""

    CLIENT_WEBSOCKETS = ("client", "websockets")
    CLIENT_AIOHTTP = ("client", "aiohttp")
    CLIENT_WS = ("client", "ws")
    SERVER_WEBSOCKETS = ("server", "websockets")
    SERVER_AIOHTTP = ("server", "aiohttp")
    SERVER_WS = ("server", "ws")

    @property
    def is_client(self) -> bool:
        """Whether our side is the client."""
        return self.value[0] == "client"

    @property
    def library(self) -> str:
        """The library of the peer."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Row:
    """One combination: what both ends are told, and what they have to agree on."""

    name: str
    client: ClientSetup
    server: ServerSetup
    expected: Expected
    differing: Mapping[Column, Expected] = field(default_factory=dict)

    def expects(self, column: Column) -> Expected:
        """Return what has to come out in this column."""
        return self.differing.get(column, self.expected)


_OUR_CLIENT = [column for column in Column if column.is_client]
_OUR_SERVER = [column for column in Column if not column.is_client]

_NO_TAKEOVER: Final = {
    "server_no_context_takeover": Parameters(server_no_context_takeover=True),
    "client_no_context_takeover": Parameters(client_no_context_takeover=True),
    "both no_context_takeover": Parameters(
        server_no_context_takeover=True, client_no_context_takeover=True
    ),
}
_BITS: Final = (8, 9, 12, 15)


def _rows() -> Iterator[Row]:
    both_12 = Parameters(server_max_window_bits=12, client_max_window_bits=12)
    yield Row(
        "defaults",
        Preset.DEFAULTS,
        Preset.DEFAULTS,
        both_12,
        {Column.CLIENT_AIOHTTP: replace(both_12, client_max_window_bits=None)},
    )
    yield from _rows_asked_by_client()
    yield from _rows_asked_by_server()
    yield Row(
        "declined",
        (Parameters(),),
        Accepts(Parameters(client_max_window_bits=12), requires_client_bits=True),
        NOTHING,
        {
            Column.CLIENT_AIOHTTP: CANNOT,
            Column.CLIENT_WS: REFUSED,
            Column.SERVER_AIOHTTP: CANNOT,
        },
    )
    yield Row(
        "fallback: S8, then no limits",
        (Parameters(server_max_window_bits=8), Parameters()),
        Accepts(declines_server_bits=True),
        Parameters(),
        dict.fromkeys(_OUR_SERVER, CANNOT),
    )
    yield Row(
        "fallback: S12, then the client's window",
        (Parameters(server_max_window_bits=12), Parameters(client_max_window_bits=15)),
        Accepts(Parameters(client_max_window_bits=10), requires_client_bits=True),
        Parameters(client_max_window_bits=10),
        dict.fromkeys((Column.CLIENT_AIOHTTP, Column.SERVER_AIOHTTP, Column.SERVER_WS), CANNOT),
    )
    yield Row("only the client compresses", Preset.DEFAULTS, Preset.OFF, NOTHING)
    yield Row("only the server compresses", Preset.OFF, Preset.DEFAULTS, NOTHING)


def _rows_asked_by_client() -> Iterator[Row]:
    """Yield what a client offers, to a server that takes anything."""
    for name, asked in _NO_TAKEOVER.items():
        # Its server tells what it does itself, and not what it leaves to the client.
        answered = replace(asked, client_no_context_takeover=False)
        differing: dict[Column, Expected] = {
            Column.CLIENT_AIOHTTP: answered,
            Column.SERVER_AIOHTTP: CANNOT,
        }
        yield Row(f"client: {name}", (asked,), Accepts(), asked, differing)
    for bits in _BITS:
        asked = Parameters(server_max_window_bits=bits)
        differing = {}
        if bits == 8:
            differing = {
                Column.CLIENT_WEBSOCKETS: NOTHING,
                Column.CLIENT_AIOHTTP: NOTHING,
                Column.SERVER_AIOHTTP: CANNOT,
            }
        elif bits == 15:
            differing = {Column.CLIENT_AIOHTTP: Parameters(), Column.SERVER_AIOHTTP: CANNOT}
        yield Row(f"client: server_max_window_bits={bits}", (asked,), Accepts(), asked, differing)
    yield Row(
        "client: client_max_window_bits",
        Preset.OPEN,
        Accepts(),
        Parameters(),
        dict.fromkeys(_OUR_CLIENT, CANNOT),
    )
    for bits in _BITS:
        asked = Parameters(client_max_window_bits=bits)
        differing = {Column.CLIENT_AIOHTTP: Parameters(), Column.SERVER_AIOHTTP: CANNOT}
        if bits == 8:
            differing[Column.SERVER_WEBSOCKETS] = CANNOT
        yield Row(f"client: client_max_window_bits={bits}", (asked,), Accepts(), asked, differing)


def _rows_asked_by_server() -> Iterator[Row]:
    """Yield what a server asks for, of a client that takes anything."""
    for name, asked in _NO_TAKEOVER.items():
        differing: dict[Column, Expected] = {Column.CLIENT_AIOHTTP: CANNOT}
        yield Row(f"server: {name}", (Parameters(),), Accepts(asked), asked, differing)
    for bits in _BITS:
        asked = Parameters(server_max_window_bits=bits)
        differing = {Column.CLIENT_AIOHTTP: CANNOT}
        if bits == 8:
            differing[Column.CLIENT_WEBSOCKETS] = CANNOT
        name = f"server: server_max_window_bits={bits}"
        yield Row(name, (Parameters(),), Accepts(asked), asked, differing)
    for bits in _BITS:
        asked = Parameters(client_max_window_bits=bits)
        differing = {Column.CLIENT_AIOHTTP: CANNOT}
        if bits == 8:
            differing |= dict.fromkeys((Column.SERVER_WEBSOCKETS, Column.SERVER_AIOHTTP), REFUSED)
        name = f"server: client_max_window_bits={bits}"
        yield Row(name, Preset.OPEN, Accepts(asked), asked, differing)


ROWS: Final = tuple(_rows())
CELLS: Final = tuple(product(ROWS, Column))
