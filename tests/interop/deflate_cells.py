"""One cell of the table of permessage-deflate: our side, and what is wrong with how it went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import anyio

import anyws

from .deflate_peers import DeflatePeer
from .deflate_rows import (
    NOTHING,
    REFUSED,
    Accepts,
    ClientSetup,
    Column,
    Expected,
    Parameters,
    Preset,
    Row,
    ServerSetup,
    Special,
)
from .deflate_traffic import Mismatch, Report, Traffic, describe, send_and_compare, send_back
from .libraries import HOST

# Those of our messages that are told to be compressed, are not, or take their chance.
_COMPRESS = (None, True, None, False, None)


@dataclass(slots=True)
class Ours:
    """What our side has to tell.

    Attributes:
        agreed: what was negotiated; None if no connection came of it.
        problem: what went wrong, or None.
        refused: the peer refused the handshake.
        compressed: how many messages were compressed of those "sent" and those "received".
    """

    agreed: Parameters | Special | None = None
    problem: str | None = None
    refused: bool = False
    compressed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a cell went.

    Attributes:
        found: what was negotiated, as our side saw it.
        problems: what differs from what is expected; empty if nothing does.
    """

    found: str
    problems: tuple[str, ...]


class CountingDeflate(anyws.Deflate):
    """Compression that counts the messages which it has worked on, into a `Counter`."""

    counter: Counter[str]

    def codec(self, agreed: anyws.ExtensionParameters, *, is_client: bool) -> anyws.ExtensionCodec:
        return _CountingCodec(super().codec(agreed, is_client=is_client), self.counter)


class _CountingCodec(anyws.ExtensionCodec):
    """A codec that leaves the work to another one."""

    def __init__(self, codec: anyws.ExtensionCodec, counter: Counter[str]) -> None:
        self._codec = codec
        self._counter = counter

    def begin_message(self, *, text: bool, size: int | None, compress: bool | None) -> int | None:
        bits = self._codec.begin_message(text=text, size=size, compress=compress)
        self._counter["sent"] += bits is not None
        return bits

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        return self._codec.encode(data, flush=flush, final=final)

    def cancel_message(self) -> None:
        self._counter["sent"] -= 1
        self._codec.cancel_message()

    def begin_receiving(self, *, text: bool, rsv: int) -> None:
        self._counter["received"] += 1
        self._codec.begin_receiving(text=text, rsv=rsv)

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        return self._codec.decode(data, final=final)

    def largest_encoded(self, size: int) -> int:
        return self._codec.largest_encoded(size)


async def run_cell(row: Row, column: Column, peer: DeflatePeer, traffic: Traffic) -> Outcome:
    """Let our side and the peer meet as the row says, and compare what comes of it.

    Raises:
        TimeoutError: the peer never ended.
    """
    run = _run_client if column.is_client else _run_server
    ours, theirs = await run(row, peer, traffic)
    problems = tuple(find_problems(row.expects(column), ours, theirs, traffic))
    if ours.refused or theirs.refused:
        found = REFUSED.value
    elif isinstance(ours.agreed, Special):
        found = ours.agreed.value
    else:
        found = "?" if ours.agreed is None else str(ours.agreed)
    return Outcome(found, problems)


def find_problems(
    expected: Expected, ours: Ours, theirs: Report, traffic: Traffic
) -> Iterator[str]:
    """Yield what differs from what a cell has to come to."""
    if expected is REFUSED:
        if not (ours.refused or theirs.refused):
            yield f"expected was that the peer refuses, negotiated was {ours.agreed}"
        return
    if ours.problem is not None:
        yield f"our side: {ours.problem}"
    if theirs.problem is not None:
        yield f"the peer: {theirs.problem}"
    if ours.agreed is not None and ours.agreed != expected:
        yield f"negotiated was {ours.agreed}, expected {expected}"
    yield from _compare_with_peer(expected, theirs)
    if not (ours.problem or theirs.problem):
        yield from _compare_counts(expected, ours.compressed, traffic)


def _compare_with_peer(expected: Expected, theirs: Report) -> Iterator[str]:
    in_effect = expected.in_effect() if isinstance(expected, Parameters) else None
    if theirs.agreed is None or in_effect is None:
        if theirs.agreed != in_effect:
            yield f"the peer keeps to {theirs.agreed}, expected {in_effect}"
        return
    for name, value in theirs.agreed.items():
        if value != in_effect[name]:
            yield f"the peer keeps to {name} = {value}, expected {in_effect[name]}"


def _compare_counts(
    expected: Expected, compressed: Mapping[str, int], traffic: Traffic
) -> Iterator[str]:
    """Yield what is wrong with how many messages were compressed, in each direction."""
    # Not all: small ones are not by default, and some were told not to be.
    least = (len(traffic.ours) + len(traffic.theirs)) // 4
    for direction in ("sent", "received"):
        n = compressed[direction]
        if expected is NOTHING and n:
            yield f"{n} of the messages {direction} were compressed, expected none"
        elif expected is not NOTHING and n < least:
            yield f"{n} of the messages {direction} were compressed, expected {least} or more"


# Our side


async def _run_client(row: Row, peer: DeflatePeer, traffic: Traffic) -> tuple[Ours, Report]:
    ours = Ours()
    async with peer.listen(row.server, traffic) as listening:
        try:
            async with anyws.connect(
                f"ws://{HOST}:{listening.port}/",
                extensions=client_extensions(row.client, ours.compressed),
            ) as connection:
                await _converse(connection, traffic, ours)
        except anyws.HandshakeRejected as exc:
            ours.problem = describe(exc)
            ours.refused = True
            return ours, Report(None, None)
        except anyws.HandshakeError as exc:
            ours.problem = describe(exc)
        return ours, await listening.report()


async def _run_server(row: Row, peer: DeflatePeer, traffic: Traffic) -> tuple[Ours, Report]:
    ours = Ours()

    async def handle(connection: anyws.ServerConnection) -> None:
        await _converse(connection, traffic, ours)

    async with anyws.serve(
        handle, HOST, extensions=server_extensions(row.server, ours.compressed)
    ) as server:
        theirs = await peer.connect(row.client, server.uri, traffic)
    return ours, theirs


async def _converse(connection: anyws.Connection, traffic: Traffic, ours: Ours) -> None:
    """Send and have sent back, then the other way round; keeps errors for the report."""
    ours.agreed = _agreed(connection)
    numbers = count()

    async def send(message: str | bytes) -> None:
        await connection.send(message, compress=_COMPRESS[next(numbers) % len(_COMPRESS)])

    try:
        with anyio.fail_after(traffic.limit):
            await send_and_compare(traffic.ours, send, connection.receive)
            await send_back(len(traffic.theirs), connection.send, connection.receive)
            # The peer compares, and closes.
            await connection.wait_closed()
    except (anyws.ConnectionClosed, Mismatch, ExceptionGroup, TimeoutError) as exc:
        ours.problem = describe(exc)


def client_extensions(setup: ClientSetup, counter: Counter[str]) -> Sequence[CountingDeflate]:
    """Return what our client offers, counting into `counter`."""
    match setup:
        case Preset.OFF:
            return ()
        case Preset.DEFAULTS:
            return _counting([CountingDeflate()], counter)
        case Preset.OPEN:
            # Ours always names a limit, and this one is none.
            return client_extensions((Parameters(client_max_window_bits=15),), counter)
    first, *others = setup
    without_limits = replace(first, server_max_window_bits=None, client_max_window_bits=None)
    if others == [without_limits]:
        return _counting([_our_offer(first, fallback=True)], counter)
    return _counting([_our_offer(offer) for offer in setup], counter)


def server_extensions(setup: ServerSetup, counter: Counter[str]) -> Sequence[CountingDeflate]:
    """Return what our server accepts, counting into `counter`."""
    if isinstance(setup, Accepts):
        asks = setup.asks
        deflate = CountingDeflate(
            server_no_context_takeover=asks.server_no_context_takeover,
            client_no_context_takeover=asks.client_no_context_takeover,
            server_max_window_bits=asks.server_max_window_bits,
            client_max_window_bits=asks.client_max_window_bits,
            require_client_max_window_bits=setup.requires_client_bits,
            threshold=0,
        )
        return _counting([deflate], counter)
    return () if setup is Preset.OFF else _counting([CountingDeflate()], counter)


def _our_offer(offer: Parameters, *, fallback: bool = False) -> CountingDeflate:
    return CountingDeflate(
        server_no_context_takeover=offer.server_no_context_takeover,
        client_no_context_takeover=offer.client_no_context_takeover,
        server_max_window_bits=offer.server_max_window_bits,
        client_max_window_bits=offer.client_max_window_bits,
        fallback=fallback,
        threshold=0,
    )


def _counting(
    extensions: Sequence[CountingDeflate], counter: Counter[str]
) -> Sequence[CountingDeflate]:
    for extension in extensions:
        extension.counter = counter
    return extensions


def _agreed(connection: anyws.Connection) -> Parameters | Special:
    for named in connection.extensions:
        given = dict(named.parameters)
        server_bits = given.get("server_max_window_bits")
        client_bits = given.get("client_max_window_bits")
        return Parameters(
            "server_no_context_takeover" in given,
            "client_no_context_takeover" in given,
            None if server_bits is None else int(server_bits),
            None if client_bits is None else int(client_bits),
        )
    return NOTHING
