"""Compression of messages (RFC 7692): what is agreed on, and what becomes of the messages.

zlib, used as the RFC says, is the peer; what is legal is known from an inflate of its own here.
"""

from __future__ import annotations

import importlib
import random
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import LocalProtocolError, NegotiationError
from anyws._core.deflate import Deflate, with_compression
from anyws._core.extensions import Extension, ExtensionCodec
from anyws._core.grammar import ExtensionParameters, NamedExtension, parse_extensions

from ..memory import traced

KiB = 1024

SERVER_ALONE = "server_no_context_takeover"
CLIENT_ALONE = "client_no_context_takeover"
SERVER_BITS = "server_max_window_bits"
CLIENT_BITS = "client_max_window_bits"

TAIL = b"\x00\x00\xff\xff"
EMPTY_BLOCK = b"\x00" + TAIL

both_sides = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"], scope="module")
def engine(request: pytest.FixtureRequest) -> ModuleType:
    """Return a module that has the interface of zlib."""
    pytest.importorskip(request.param)
    return importlib.import_module(request.param)


def parsed(parameters: str) -> ExtensionParameters:
    return parse_extensions([f"x; {parameters}" if parameters else "x"])[0].parameters


def shown(parameters: ExtensionParameters) -> str:
    return str(NamedExtension("x", parameters)).removeprefix("x").removeprefix("; ")


def patterned(n: int) -> bytes:
    """Return so many bytes, which can be compressed, but not to nothing."""
    words = [bytes([65 + i % 26]) * (i % 7 + 1) for i in range(100)]
    chosen = random.Random(n).choices(words, k=n // 2 + 1)
    return b"".join(chosen)[:n]


def noise(n: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(n)


# Parameters


def test_name_and_reserved_bit_are_those_of_the_rfc() -> None:
    # §7, §6
    deflate = Deflate()
    assert (deflate.name, deflate.rsv) == ("permessage-deflate", 0b100)
    assert isinstance(deflate, Extension)


def test_settings_are_as_documented() -> None:
    deflate = Deflate()
    assert (deflate.threshold, deflate.level, deflate.memory_level) == (128, 4, 5)
    assert deflate.engine is zlib


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("server_max_window_bits", [8, 9, 12, 15, None]),
        ("client_max_window_bits", [8, 9, 12, 15, None]),
        ("threshold", [0, 1, 1 << 40]),
        ("level", range(10)),
        ("memory_level", range(1, 10)),
    ],
)
def test_every_legal_setting_is_taken(name: str, values: Iterable[int | None]) -> None:
    for value in values:
        Deflate(**{name: value})  # type: ignore[arg-type]  # mypy takes them for each parameter


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("server_max_window_bits", 7, "8 to 15"),
        ("server_max_window_bits", 16, "8 to 15"),
        ("client_max_window_bits", 0, "8 to 15"),
        ("client_max_window_bits", -15, "8 to 15"),
        ("threshold", -1, "at least 0"),
        ("level", -1, "0 to 9"),
        ("level", 10, "0 to 9"),
        ("memory_level", 0, "1 to 9"),
        ("memory_level", 10, "1 to 9"),
    ],
)
def test_setting_out_of_range_is_rejected(name: str, value: int, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {value}, expected {expected}$"):
        Deflate(**{name: value})  # type: ignore[arg-type]  # mypy takes it for each parameter


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("server_max_window_bits", "8 to 15"),
        ("client_max_window_bits", "8 to 15"),
        ("threshold", "at least 0"),
        ("level", "0 to 9"),
        ("memory_level", "1 to 9"),
    ],
)
@pytest.mark.parametrize("value", [True, False, "9", 9.0], ids=repr)
def test_setting_of_another_type_is_rejected(name: str, value: object, expected: str) -> None:
    message = f"{name} is {value!r}, expected an int, {expected}"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        Deflate(**{name: value})  # type: ignore[arg-type]  # the point of it


@pytest.mark.parametrize("name", ["threshold", "level", "memory_level"])
def test_setting_that_must_be_is_not_none(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} is None, expected an int"):
        Deflate(**{name: None})  # type: ignore[arg-type]  # the point of it


# What a client offers


@pytest.mark.parametrize(
    ("deflate", "offers"),
    [
        (Deflate(), [f"{SERVER_BITS}=12; {CLIENT_BITS}=12", ""]),
        (Deflate(fallback=False), [f"{SERVER_BITS}=12; {CLIENT_BITS}=12"]),
        (Deflate(server_max_window_bits=None), [f"{CLIENT_BITS}=12", ""]),
        (Deflate(client_max_window_bits=None), [f"{SERVER_BITS}=12", ""]),
        (Deflate(server_max_window_bits=None, client_max_window_bits=None), [""]),
        (Deflate(server_max_window_bits=8, client_max_window_bits=15, fallback=False),
         [f"{SERVER_BITS}=8; {CLIENT_BITS}=15"]),
        (Deflate(server_no_context_takeover=True),
         [f"{SERVER_ALONE}; {SERVER_BITS}=12; {CLIENT_BITS}=12", SERVER_ALONE]),
        (Deflate(client_no_context_takeover=True),
         [f"{CLIENT_ALONE}; {SERVER_BITS}=12; {CLIENT_BITS}=12", CLIENT_ALONE]),
        (Deflate(server_no_context_takeover=True, client_no_context_takeover=True,
                 server_max_window_bits=None, client_max_window_bits=None),
         [f"{SERVER_ALONE}; {CLIENT_ALONE}"]),
    ],
)  # fmt: skip
def test_client_offers_what_it_wants_and_then_falls_back(
    deflate: Deflate, offers: list[str]
) -> None:
    assert [shown(offer) for offer in deflate.offers()] == offers


# What a server answers

NO_LIMITS = {"server_max_window_bits": None, "client_max_window_bits": None}


@pytest.mark.parametrize(
    ("offer", "answer", "answer_without_limits"),
    [
        ("", f"{SERVER_BITS}=12", ""),
        (SERVER_ALONE, f"{SERVER_ALONE}; {SERVER_BITS}=12", SERVER_ALONE),
        (CLIENT_ALONE, f"{CLIENT_ALONE}; {SERVER_BITS}=12", CLIENT_ALONE),
        (f"{CLIENT_ALONE}; {SERVER_ALONE}", f"{SERVER_ALONE}; {CLIENT_ALONE}; {SERVER_BITS}=12",
         f"{SERVER_ALONE}; {CLIENT_ALONE}"),
        (f"{SERVER_BITS}=8", f"{SERVER_BITS}=8", f"{SERVER_BITS}=8"),
        (f"{SERVER_BITS}=12", f"{SERVER_BITS}=12", f"{SERVER_BITS}=12"),
        (f"{SERVER_BITS}=15", f"{SERVER_BITS}=12", f"{SERVER_BITS}=15"),
        (CLIENT_BITS, f"{SERVER_BITS}=12; {CLIENT_BITS}=12", ""),
        (f"{CLIENT_BITS}=8", f"{SERVER_BITS}=12; {CLIENT_BITS}=8", f"{CLIENT_BITS}=8"),
        (f"{CLIENT_BITS}=15", f"{SERVER_BITS}=12; {CLIENT_BITS}=12", f"{CLIENT_BITS}=15"),
        (f"{CLIENT_BITS}=10; {SERVER_BITS}=9", f"{SERVER_BITS}=9; {CLIENT_BITS}=10",
         f"{SERVER_BITS}=9; {CLIENT_BITS}=10"),
    ],
)  # fmt: skip
def test_server_answers_an_offer(offer: str, answer: str, answer_without_limits: str) -> None:
    for deflate, expected in (
        (Deflate(), answer),
        (Deflate(**NO_LIMITS), answer_without_limits),  # type: ignore[arg-type]  # as above
    ):
        answered = deflate.accept(parsed(offer))
        assert answered is not None
        assert shown(answered) == expected


@pytest.mark.parametrize(
    ("setting", "answer"),
    [("server_no_context_takeover", SERVER_ALONE), ("client_no_context_takeover", CLIENT_ALONE)],
)
def test_server_asks_for_messages_by_themselves(setting: str, answer: str) -> None:
    deflate = Deflate(**NO_LIMITS, **{setting: True})  # type: ignore[arg-type]  # as above
    assert deflate.accept(()) == ((answer, None),)


WRONG = [
    ("unknown", "unknown parameter unknown"),
    ("unknown=1", "unknown parameter unknown"),
    (SERVER_ALONE.upper(), f"unknown parameter {SERVER_ALONE.upper()}"),
    (f"{SERVER_ALONE}=1", f"{SERVER_ALONE} has the value 1, expected none"),
    (f"{CLIENT_ALONE}=true", f"{CLIENT_ALONE} has the value true, expected none"),
    (f"{SERVER_ALONE}; {SERVER_ALONE}", f"{SERVER_ALONE} comes twice"),
    (f"{CLIENT_ALONE}; {CLIENT_ALONE}", f"{CLIENT_ALONE} comes twice"),
    (f"{SERVER_BITS}=9; {SERVER_BITS}=9", f"{SERVER_BITS} comes twice"),
    (f"{CLIENT_BITS}=9; {CLIENT_BITS}=10", f"{CLIENT_BITS} comes twice"),
    (SERVER_BITS, f"{SERVER_BITS} has the value None, expected 8 to 15"),
    *(
        (f"{name}={value}", f"{name} has the value {value}, expected 8 to 15")
        for name in (SERVER_BITS, CLIENT_BITS)
        for value in ("7", "16", "08", "0", "-9", "+9", "9.0", "1e1", "x", "010")
    ),
]


@pytest.mark.parametrize("offer", [offer for offer, _ in WRONG])
def test_server_declines_an_offer_that_makes_no_sense(offer: str) -> None:
    # §7: it declines; whether another offer follows is none of its business.
    assert Deflate().accept(parsed(offer)) is None


@pytest.mark.parametrize("offer", [f"{CLIENT_BITS}; {CLIENT_BITS}", f"{CLIENT_BITS}=9; a"])
def test_server_declines_what_only_begins_well(offer: str) -> None:
    assert Deflate().accept(parsed(offer)) is None


def test_server_may_require_that_clients_can_limit_their_window() -> None:
    deflate = Deflate(require_client_max_window_bits=True)
    assert deflate.accept(()) is None
    assert deflate.accept(parsed(f"{SERVER_BITS}=9")) is None
    for offer in (CLIENT_BITS, f"{CLIENT_BITS}=12"):
        answer = deflate.accept(parsed(offer))
        assert answer is not None
        assert shown(answer) == f"{SERVER_BITS}=12; {CLIENT_BITS}=12"


# What a client makes of the answer


@pytest.mark.parametrize(
    ("deflate", "answer"),
    [
        (Deflate(), ""),
        (Deflate(), SERVER_ALONE),
        (Deflate(), CLIENT_ALONE),
        # §7.1.2.1: the fallback has no limit, and an answer may state one unasked.
        *((Deflate(), f"{SERVER_BITS}={bits}") for bits in range(8, 16)),
        # More than was offered is no limit at all.
        *((Deflate(), f"{CLIENT_BITS}={bits}") for bits in range(8, 16)),
        (Deflate(client_max_window_bits=8), f"{CLIENT_BITS}=9"),
        (Deflate(fallback=False), f"{SERVER_BITS}=12"),
        (Deflate(fallback=False), f"{SERVER_BITS}=8"),
        (Deflate(**NO_LIMITS), ""),  # type: ignore[arg-type]  # as above
        (Deflate(**NO_LIMITS, fallback=False), ""),  # type: ignore[arg-type]  # as above
        (Deflate(**NO_LIMITS, fallback=False), f"{SERVER_BITS}=15"),  # type: ignore[arg-type]  # as above
        (Deflate(server_no_context_takeover=True), SERVER_ALONE),
        (Deflate(client_no_context_takeover=True), ""),
        (Deflate(), f"{CLIENT_BITS}=9; {SERVER_ALONE}; {SERVER_BITS}=10; {CLIENT_ALONE}"),
    ],
)
def test_legal_answer_is_taken(deflate: Deflate, answer: str) -> None:
    deflate.check_answer(parsed(answer))


@pytest.mark.parametrize(
    ("deflate", "answer", "problem"),
    [
        *((Deflate(), answer, f": {problem}") for answer, problem in WRONG),
        (Deflate(), CLIENT_BITS, f": {CLIENT_BITS} has the value None, expected 8 to 15"),
        (Deflate(server_no_context_takeover=True), "", f", without {SERVER_ALONE}"),
        (Deflate(server_no_context_takeover=True), CLIENT_ALONE, f", without {SERVER_ALONE}"),
        (Deflate(fallback=False), "", f", asked for was {SERVER_BITS}=12"),
        (Deflate(fallback=False), f"{SERVER_BITS}=13", f", asked for was {SERVER_BITS}=12"),
        (Deflate(client_max_window_bits=None), f"{CLIENT_BITS}=15", ", which was not offered"),
    ],
)
def test_illegal_answer_is_refused(deflate: Deflate, answer: str, problem: str) -> None:
    # §7.1: the client must fail the connection.
    named = NamedExtension("permessage-deflate", parsed(answer))
    message = f"the server answered {named}{problem}"
    with pytest.raises(NegotiationError, match=f"^{re.escape(message)}$"):
        deflate.check_answer(named.parameters)


settings_drawn = st.fixed_dictionaries(
    {
        "server_no_context_takeover": st.booleans(),
        "client_no_context_takeover": st.booleans(),
        "server_max_window_bits": st.one_of(st.none(), st.integers(8, 15)),
        "client_max_window_bits": st.one_of(st.none(), st.integers(8, 15)),
        "fallback": st.booleans(),
    }
)


@given(settings_drawn, settings_drawn)
def test_client_takes_whatever_a_server_answers(
    of_client: dict[str, bool | int | None], of_server: dict[str, bool | int | None]
) -> None:
    client, server = Deflate(**of_client), Deflate(**of_server)  # type: ignore[arg-type]  # as above
    for offer in client.offers():
        answer = server.accept(offer)
        assert answer is not None
        client.check_answer(answer)
        for sender, receiver in Pair(client, answer, server).both_ways():
            for message in (patterned(300), b"", patterned(300)):
                assert decoded(receiver, encoded(sender, message)) == message


# `compression` and `extensions` together


class Other(Extension):
    name = "x-other"

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        raise NotImplementedError


def test_compression_stands_behind_the_extensions() -> None:
    other, deflate = Other(), Deflate()
    assert with_compression([other], deflate) == (other, deflate)
    assert with_compression((), deflate) == (deflate,)
    assert with_compression([other], None) == (other,)
    assert with_compression([], None) == ()


def test_compression_by_its_name_is_the_default_one() -> None:
    (deflate,) = with_compression([], "deflate")
    assert isinstance(deflate, Deflate)
    assert list(deflate.offers()) == list(Deflate().offers())


@pytest.mark.parametrize(
    "compression",
    ["gzip", "", True, False, Deflate, pytest.param(Other(), id="another extension")],
    ids=repr,
)
def test_what_is_no_compression_is_rejected(compression: object) -> None:
    message = f"compression is {compression!r}, expected 'deflate', a Deflate or None"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        with_compression([], compression)  # type: ignore[arg-type]  # the point of it


@pytest.mark.parametrize("compression", ["deflate", None])
def test_extensions_beside_the_compression_are_checked(compression: None) -> None:
    with pytest.raises(TypeError, match="is not an Extension"):
        with_compression([Other], compression)  # type: ignore[list-item]  # the point of it
    wrong = Other()
    wrong.rsv = 8
    with pytest.raises(LocalProtocolError, match="rsv of extension x-other is 8"):
        with_compression([wrong], compression)


# Messages: what they are encoded to, and decoded from


class Pair:
    """The codecs of both sides of one connection."""

    def __init__(
        self,
        client: Deflate,
        agreed: ExtensionParameters | str = "",
        server: Deflate | None = None,
    ) -> None:
        parameters = parsed(agreed) if isinstance(agreed, str) else agreed
        self.client = client.codec(parameters, is_client=True)
        self.server = (server or client).codec(parameters, is_client=False)

    def both_ways(self) -> Iterator[tuple[ExtensionCodec, ExtensionCodec]]:
        """Yield who sends and who receives."""
        yield self.client, self.server
        yield self.server, self.client


def encoded(codec: ExtensionCodec, message: bytes, fragments: Sequence[int] = ()) -> bytes:
    """Encode a message, of which fragments end at these places."""
    assert codec.begin_message(text=False, size=len(message), compress=True) == 0b100
    parts = []
    start = 0
    for end in fragments:
        parts.append(codec.encode(message[start:end], flush=True, final=False))
        start = end
    return b"".join([*parts, codec.encode(message[start:], flush=True, final=True)])


def decoded(codec: ExtensionCodec, data: bytes, cuts: Sequence[int] = ()) -> bytes:
    """Decode a message that arrives in pieces, and check the sizes of what comes of it."""
    codec.begin_receiving(text=False, rsv=0b100)
    found: list[bytes] = []
    for i, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
        found += codec.decode(data[start:end], final=i == len(cuts))
    assert max(map(len, found), default=0) <= 64 * KiB
    return b"".join(found)


def every_byte(data: bytes) -> range:
    return range(1, len(data))


class ZlibPeer:
    """One side as §7.2.1 and §7.2.2 describe it, by zlib."""

    def __init__(
        self,
        *,
        bits_out: int = 15,
        keeps_out: bool = True,
        bits_in: int = 15,
        keeps_in: bool = True,
    ) -> None:
        self._bits_out, self._keeps_out = bits_out, keeps_out
        self._bits_in, self._keeps_in = bits_in, keeps_in
        self._compressor = self.new_compressor()
        self._decompressor = zlib.decompressobj(-bits_in)

    def new_compressor(self, level: int = 6) -> zlib._Compress:
        return zlib.compressobj(level, zlib.DEFLATED, -max(9, self._bits_out), 8)

    def encode(self, message: bytes) -> bytes:
        if not self._keeps_out:
            self._compressor = self.new_compressor()
        data = self._compressor.compress(message) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(TAIL)
        return data[:-4]

    def decode(self, data: bytes) -> bytes:
        if not self._keeps_in:
            self._decompressor = zlib.decompressobj(-self._bits_in)
        message = self._decompressor.decompress(data + TAIL)
        # The tail was not part of anything: there is another block now, or its beginning.
        assert self._decompressor.copy().decompress(EMPTY_BLOCK) == b""
        assert not self._decompressor.unused_data
        return message


def deflated(message: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """Return a message of its own, compressed."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def new_codec(
    agreed: str = "", *, is_client: bool = True, engine: ModuleType = zlib
) -> ExtensionCodec:
    return Deflate(**NO_LIMITS, engine=engine).codec(parsed(agreed), is_client=is_client)  # type: ignore[arg-type]  # as above


#: §7.2.3.1 to 7.2.3.6: payloads, and what they come to.
EXAMPLES = {
    "7.2.3.1": (["f248cdc9c90700"], [b"Hello"]),
    "7.2.3.2": (["f248cdc9c90700", "f200110000"], [b"Hello", b"Hello"]),
    "7.2.3.2 without sharing": (["f248cdc9c90700"] * 2, [b"Hello"] * 2),
    "7.2.3.3": (["000500faff48656c6c6f00"], [b"Hello"]),
    "7.2.3.4": (["f348cdc9c9070000"], [b"Hello"]),
    "7.2.3.4 twice": (["f348cdc9c9070000"] * 2, [b"Hello"] * 2),
    "7.2.3.4 and then another": (["f348cdc9c9070000", "f248cdc9c90700"], [b"Hello"] * 2),
    "7.2.1, the end is a last block": (["f348cdc9c9070001", "f248cdc9c90700"], [b"Hello"] * 2),
    "7.2.3.5": (["f248050000" + "00ffff" + "cac9c90700"], [b"Hello"]),
    "7.2.3.6": (["00"], [b""]),
    "7.2.3.6 between others": (["f248cdc9c90700", "00", "00", "f200110000"],
                               [b"Hello", b"", b"", b"Hello"]),
}  # fmt: skip


@pytest.mark.parametrize("size", [None, 1, 3], ids=["whole", "byte by byte", "3 bytes at a time"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_rfc_are_decoded(name: str, size: int | None, engine: ModuleType) -> None:
    codec = new_codec(engine=engine)
    payloads, messages = EXAMPLES[name]
    for payload, message in zip(map(bytes.fromhex, payloads), messages, strict=True):
        assert decoded(codec, payload, range(size, len(payload), size) if size else ()) == message


def test_examples_of_the_rfc_are_what_is_encoded() -> None:
    # §7.2.3.1, §7.2.3.2, §7.2.3.6
    codec = new_codec()
    for payload in ("f248cdc9c90700", "f200110000"):
        assert encoded(codec, b"Hello") == bytes.fromhex(payload)
    assert encoded(codec, b"") == b"\x00"
    alone = new_codec(CLIENT_ALONE)
    for _ in range(2):
        assert encoded(alone, b"Hello") == bytes.fromhex("f248cdc9c90700")
    # §7.2.3.3
    stored = Deflate(level=0).codec((), is_client=True)
    assert encoded(stored, b"Hello") == bytes.fromhex("000500faff48656c6c6f00")


def test_empty_message_is_one_byte_wherever_it_comes(engine: ModuleType) -> None:
    # §7.2.3.6
    for agreed in ("", CLIENT_ALONE):
        codec = new_codec(agreed, engine=engine)
        payloads = [encoded(codec, message) for message in (b"", b"", b"Hello", b"", b"")]
        assert [payload for payload in payloads if len(payload) < 4] == [b"\x00"] * 4


@pytest.mark.parametrize("data", [b"", b"a", b"Hello" * 100])
def test_empty_end_of_a_message_ends_it(data: bytes, engine: ModuleType) -> None:
    codec, peer = new_codec(engine=engine), ZlibPeer()
    for fragments in ([len(data)], [len(data)] * 2, [0, len(data)], [0, 0]):
        assert peer.decode(encoded(codec, data, fragments)) == data


@pytest.mark.parametrize("alone", [False, True], ids=["with takeover", "without"])
@pytest.mark.parametrize("bits", range(8, 16))
def test_each_window_round_trips_both_ways(bits: int, alone: bool, engine: ModuleType) -> None:
    agreed = f"{SERVER_BITS}={bits}; {CLIENT_BITS}={bits}"
    if alone:
        agreed += f"; {SERVER_ALONE}; {CLIENT_ALONE}"
    deflate = Deflate(server_max_window_bits=bits, client_max_window_bits=bits, engine=engine)
    pair = Pair(deflate, agreed)
    period = noise((1 << bits) + 10)
    for sender, receiver in pair.both_ways():
        for message in (
            patterned(3000),
            period * 3,
            b"",
            noise(500),
            period[:300],
            patterned(70_000),
        ):
            data = encoded(sender, message)
            assert decoded(receiver, data) == message
        for message in (patterned(500), noise(300)):
            data = encoded(sender, message)
            assert decoded(receiver, data, every_byte(data)) == message


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("bits", [8, 9, 10])
@both_sides
def test_nothing_refers_to_what_is_behind_the_window(
    bits: int, level: int, is_client: bool, engine: ModuleType
) -> None:
    # §7.1.2: 2**8 bytes, which zlib itself does not compress within.
    agreed = f"{CLIENT_BITS if is_client else SERVER_BITS}={bits}"
    # By one byte of output at a time, zlib looks at no more than its window.
    window = zlib.decompressobj(-bits)
    codec = Deflate(level=level, engine=engine).codec(parsed(agreed), is_client=is_client)
    size = 1 << bits
    for period in (size - 12, size - 6, size - 5, size - 1, size, size + 1, size + 6, size + 50):
        message = noise(period, period) * 3 + noise(period, 1)[:100] * 2
        data = encoded(codec, message) + TAIL
        found = bytearray()
        while data:
            found += window.decompress(data, 1)
            data = window.unconsumed_tail
        while piece := window.decompress(b"", 1):
            found += piece
        assert found == message


@pytest.mark.parametrize("level", range(10))
def test_each_level_round_trips(level: int, engine: ModuleType) -> None:
    for memory_level in range(1, 10):
        pair = Pair(Deflate(level=level, memory_level=memory_level, engine=engine))
        for sender, receiver in pair.both_ways():
            for message in (patterned(2000), noise(2000), b"", patterned(2000), bytes(40_000)):
                assert decoded(receiver, encoded(sender, message)) == message


@pytest.mark.parametrize("agreed", ["", f"{CLIENT_BITS}=15", f"{CLIENT_BITS}=9"])
@both_sides
def test_client_limits_its_window_whatever_was_agreed_on(agreed: str, is_client: bool) -> None:
    # A repetition 2000 bytes back; a server that did not ask for less than 2**15 finds it.
    message = noise(2000) * 2
    deflate = Deflate(server_max_window_bits=None, client_max_window_bits=9)
    size = len(encoded(deflate.codec(parsed(agreed), is_client=is_client), message))
    assert (size > 3900) is is_client


@pytest.mark.parametrize(
    ("agreed", "kept"),
    [("", (True, True)), (SERVER_ALONE, (True, False)), (CLIENT_ALONE, (False, True)),
     (f"{SERVER_ALONE}; {CLIENT_ALONE}", (False, False))],
)  # fmt: skip
def test_context_is_kept_unless_agreed_otherwise(
    agreed: str, kept: tuple[bool, bool], engine: ModuleType
) -> None:
    message = noise(1000)
    pair = Pair(Deflate(engine=engine), agreed)
    for (sender, receiver), keeps in zip(pair.both_ways(), kept, strict=True):
        first, second = encoded(sender, message), encoded(sender, message)
        assert (len(second) < 100) is keeps
        assert decoded(receiver, first) == decoded(receiver, second) == message
        if not keeps:
            assert second == first
            # The receiver has forgotten the first one too: a reference to it leads nowhere.
            with pytest.raises(ValueError, match=r"^compressed data is broken: .*too far back"):
                decoded(receiver, bytes.fromhex("f200110000"))


def test_client_that_said_so_keeps_no_context_whatever_is_answered() -> None:
    # §7.1.1.2: what it offers is a hint that the server need not repeat.
    message = noise(1000)
    deflate = Deflate(client_no_context_takeover=True)
    client, server = (deflate.codec((), is_client=is_client) for is_client in (True, False))
    assert encoded(client, message) == encoded(client, message)
    assert encoded(server, message) != encoded(server, message)


# Which messages are compressed


@pytest.mark.parametrize(
    ("compress", "size", "bits"),
    [
        (None, 0, None), (None, 127, None), (None, 128, 0b100), (None, 1 << 30, 0b100),
        (None, None, 0b100),
        (True, 0, 0b100), (True, 127, 0b100), (True, 128, 0b100), (True, None, 0b100),
        (False, 0, None), (False, 128, None), (False, None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_messages_are_compressed_from_the_threshold_on_or_as_told(
    compress: bool | None, size: int | None, bits: int | None, text: bool
) -> None:
    codec = new_codec()
    assert codec.begin_message(text=text, size=size, compress=compress) == bits


@pytest.mark.parametrize(("threshold", "compressed"), [(0, True), (5, True), (6, False)])
def test_threshold_is_as_set(threshold: int, compressed: bool) -> None:
    codec = Deflate(threshold=threshold).codec((), is_client=True)
    assert codec.begin_message(text=False, size=5, compress=None) == (4 if compressed else None)


# Messages in slices and fragments, and those that are not sent


@pytest.mark.parametrize("flush", [False, True], ids=["slices", "fragments"])
@pytest.mark.parametrize("agreed", ["", CLIENT_ALONE], ids=["with takeover", "without"])
def test_message_in_parts_is_decoded(flush: bool, agreed: str, engine: ModuleType) -> None:
    codec, peer = new_codec(agreed, engine=engine), ZlibPeer(keeps_in=not agreed)
    for message in (b"", b"a", patterned(5000), noise(200_000), patterned(5000)):
        codec.begin_message(text=False, size=None, compress=None)
        step = max(1, len(message) // 7)
        data = b"".join(
            codec.encode(message[at : at + step], flush=flush, final=False)
            for at in range(0, len(message), step)
        )
        assert peer.decode(data + codec.encode(b"", flush=True, final=True)) == message


def test_what_is_flushed_can_be_decoded_at_once(engine: ModuleType) -> None:
    codec = new_codec(engine=engine)
    codec.begin_message(text=False, size=None, compress=None)
    inflate = zlib.decompressobj(-15)
    for i in range(20):
        piece = patterned(i * 10)
        assert inflate.decompress(codec.encode(piece, flush=True, final=False)) == piece
    last = codec.encode(b"end", flush=True, final=True)
    assert inflate.decompress(last + TAIL) == b"end"


@pytest.mark.parametrize("flush", [False, True], ids=["slices", "fragments"])
@pytest.mark.parametrize("agreed", ["", CLIENT_ALONE], ids=["with takeover", "without"])
@pytest.mark.parametrize("before", [0, 1, 3], ids=lambda n: f"behind {n}")
def test_message_that_is_cancelled_leaves_the_context_as_it_was(
    before: int, agreed: str, flush: bool, engine: ModuleType
) -> None:
    codec, untouched = (new_codec(agreed, engine=engine) for _ in range(2))
    peer = ZlibPeer(keeps_in=not agreed)
    for i in range(before):
        assert peer.decode(encoded(codec, patterned(i + 500))) == patterned(i + 500)
        encoded(untouched, patterned(i + 500))
    for parts in (0, 1, 5):
        codec.begin_message(text=False, size=None, compress=True)
        for i in range(parts):
            codec.encode(noise(3000, i), flush=flush, final=False)
        codec.cancel_message()
        # It would refer to what was never sent.
        data = encoded(codec, noise(3000))
        assert data == encoded(untouched, noise(3000))
        assert peer.decode(data) == noise(3000)


def test_nothing_is_cancelled_where_nothing_has_begun() -> None:
    codec = new_codec()
    codec.cancel_message()
    assert encoded(codec, b"Hello") == bytes.fromhex("f248cdc9c90700")
    codec.cancel_message()
    assert encoded(codec, b"Hello") == bytes.fromhex("f200110000")


# An inflate of its own, so that not zlib alone says what is legal (RFC 1951).


class Broken(Exception):
    """The data is no legal message."""


class Bits:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0  # in bits

    def take(self, n: int) -> int:
        value = 0
        for i in range(n):
            if self.at >= 8 * len(self.data):
                raise Broken("the data ends")
            value |= (self.data[self.at >> 3] >> (self.at & 7) & 1) << i
            self.at += 1
        return value

    def align(self) -> None:
        self.at = (self.at + 7) // 8 * 8


Code = dict[tuple[int, int], int]

LENGTHS = [*range(3, 11), 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
           163, 195, 227, 258]  # fmt: skip
LENGTH_BITS = [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4 + [0]
DISTANCE_BITS = [0, 0, 0, 0, *(n for n in range(1, 14) for _ in range(2))]
DISTANCES = [1 + sum(1 << n for n in DISTANCE_BITS[:i]) for i in range(30)]
ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]


def huffman(lengths: Sequence[int], *, may_be_incomplete: bool) -> Code:
    """Return the symbols by the length and the value of their code (§3.2.2)."""
    code: Code = {}
    value, left = 0, 1
    for length in range(1, 16):
        value, left = value << 1, left << 1
        for symbol, of_symbol in enumerate(lengths):
            if of_symbol == length:
                code[length, value] = symbol
                value += 1
                left -= 1
        if left < 0:
            raise Broken("too many codes")
    # zlib allows for a single code of one bit, and for none.
    if left and not (may_be_incomplete and max(lengths) <= 1):
        raise Broken("too few codes")
    return code


def symbol_of(bits: Bits, code: Code) -> int:
    value = 0
    for length in range(1, 16):
        value = value << 1 | bits.take(1)
        if (length, value) in code:
            return code[length, value]
    raise Broken("no such code")


FIXED = (
    huffman([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, may_be_incomplete=False),
    huffman([5] * 32, may_be_incomplete=False),
)


def dynamic(bits: Bits) -> tuple[Code, Code]:
    literals, distances, n = bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4
    if literals > 286 or distances > 30:
        raise Broken("too many symbols")
    of_lengths = [0] * 19
    for symbol in ORDER[:n]:
        of_lengths[symbol] = bits.take(3)
    code = huffman(of_lengths, may_be_incomplete=False)
    lengths: list[int] = []
    while len(lengths) < literals + distances:
        symbol = symbol_of(bits, code)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            if not lengths:
                raise Broken("nothing to repeat")
            lengths += lengths[-1:] * (3 + bits.take(2))
        else:
            lengths += [0] * (3 + bits.take(3) if symbol == 17 else 11 + bits.take(7))
    if len(lengths) > literals + distances or not lengths[256]:
        raise Broken("too many lengths, or no end of the block")
    return (
        huffman(lengths[:literals], may_be_incomplete=True),
        huffman(lengths[literals:], may_be_incomplete=True),
    )


def inflated(data: bytes) -> bytes:
    """Return the message that was compressed by itself to these bytes (RFC 7692 §7.2.2).

    Raises:
        Broken: they are no legal message.
    """
    bits = Bits(data + TAIL)
    found = bytearray()
    begun = 0  # where what may be referred to begins
    while bits.at < 8 * len(bits.data):
        is_last, kind = bits.take(1), bits.take(2)
        if kind == 3:
            raise Broken("no such block")
        if kind == 0:
            bits.align()
            n = bits.take(16)
            if n ^ 0xFFFF != bits.take(16):
                raise Broken("stored length")
            found += bytes(bits.take(8) for _ in range(n))
        else:
            literals, distances = FIXED if kind == 1 else dynamic(bits)
            while (symbol := symbol_of(bits, literals)) != 256:
                if symbol < 256:
                    found.append(symbol)
                    continue
                if symbol > 285:
                    raise Broken("no such length")
                n = LENGTHS[symbol - 257] + bits.take(LENGTH_BITS[symbol - 257])
                symbol = symbol_of(bits, distances)
                if symbol > 29:
                    raise Broken("no such distance")
                distance = DISTANCES[symbol] + bits.take(DISTANCE_BITS[symbol])
                if distance > len(found) - begun:
                    raise Broken("too far back")
                for _ in range(n):
                    found.append(found[-distance])
        if is_last:
            bits.align()
            begun = len(found)
    return bytes(found)


def outcome(data: bytes) -> bytes | None:
    try:
        return inflated(data)
    except Broken:
        return None


def outcome_of_codec(codec: ExtensionCodec, data: bytes, cuts: Sequence[int] = ()) -> bytes | None:
    try:
        return decoded(codec, data, cuts)
    except ValueError as exc:
        reason = str(exc)
    assert reason.startswith("compressed data ")
    return None


# Broken streams

SHORT = patterned(300)

STREAMS = {
    "fixed codes": deflated(b"Hello", strategy=zlib.Z_FIXED),
    "codes of its own": deflated(SHORT * 3),
    "stored": deflated(b"Hello, Hello", level=0),
    "several blocks": deflated(noise(700), strategy=zlib.Z_HUFFMAN_ONLY) + TAIL + deflated(SHORT),
    "a last block": bytes.fromhex("f348cdc9c9070000"),
    "a last block that is stored": bytes.fromhex("010500faff48656c6c6f00"),
    "empty": b"\x00",
}


def test_inflate_of_its_own_agrees_with_zlib() -> None:
    for data in STREAMS.values():
        assert zlib.decompressobj(-15).decompress(data + TAIL) == inflated(data)
    for payloads, messages in EXAMPLES.values():
        assert inflated(bytes.fromhex(payloads[0])) == messages[0]


@pytest.mark.parametrize("way", ["whole", "byte by byte"])
@pytest.mark.parametrize("name", STREAMS)
def test_stream_that_ends_anywhere_is_taken_only_if_it_is_one(
    name: str, way: str, engine: ModuleType
) -> None:
    data = STREAMS[name]
    broken = 0
    for n in range(len(data) + 1):
        part = data[:n]
        expected = outcome(part)
        broken += expected is None
        cuts = every_byte(part) if way == "byte by byte" else ()
        assert outcome_of_codec(new_codec(engine=engine), part, cuts) == expected, n
    # All but some that end between blocks, or whose last stored bytes are those of the tail.
    assert broken >= len(data) - 4


@pytest.mark.parametrize("way", ["whole", "byte by byte"])
@pytest.mark.parametrize("name", STREAMS)
def test_stream_with_any_byte_changed_is_what_it_is(
    name: str, way: str, engine: ModuleType
) -> None:
    data = STREAMS[name][:200]
    for at in range(len(data)):
        for change in (1, 0x80, 0xFF, 1 << at % 8):
            changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            cuts = every_byte(changed) if way == "byte by byte" else ()
            found = outcome_of_codec(new_codec(engine=engine), changed, cuts)
            assert found == outcome(changed), (at, change)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda data, at, more: data[: int(at * len(data))] + more,
            st.sampled_from(sorted(STREAMS.values())),
            st.floats(0, 1),
            st.binary(max_size=20),
        ),
    ),
    st.lists(st.floats(0, 1), max_size=5),
)
def test_any_bytes_are_decoded_as_they_ought_to_be_or_refused(
    data: bytes, fractions: list[float]
) -> None:
    cuts = sorted({int(fraction * len(data)) for fraction in fractions} - {0, len(data)})
    assert outcome_of_codec(new_codec(), data, cuts) == outcome(data)


WITHIN = "compressed data ends within a block"
LENGTHS_DIFFER = "compressed data is broken: .*invalid stored block lengths"
TOO_FAR = "compressed data is broken: .*invalid distance too far back"

BROKEN = {
    "nothing at all": ("", WITHIN),
    "one byte missing": ("f248cdc9c907", WITHIN),
    "last byte missing behind text": ("f248cdc9c9", WITHIN),
    "header of a stored block": ("000500", f"{WITHIN}|compressed data is broken: .*stored block"),
    "stored block without its end": ("000900f6ff4865", WITHIN),
    "stored lengths that differ": ("000500faee48656c6c6f00", "broken: .*invalid stored block"),
    "bad block type": ("07", "broken: .*invalid block type"),
    "too many symbols": ("fcff", "broken: .*too many length or distance symbols"),
    "distance too far": ("f200110000", TOO_FAR),
    "distance one too far": ("f248050300", f"{TOO_FAR}|{WITHIN}"),
    "no end behind a last block": ("f348cdc9c90700", WITHIN),
    "two bytes behind a last block": ("f348cdc9c907000000", LENGTHS_DIFFER),
    "the tail behind a last block": ("f348cdc9c907000000ffff", WITHIN),
    "distance beyond a last block": ("f348cdc9c907000211", f"{TOO_FAR}|{WITHIN}"),
    "last block that is not over": ("f348cdc9", f"{WITHIN}|broken: .*invalid block type"),
    "last stored block, too short": ("010a00f5ff48656c6c6f", WITHIN),
    # Its end is fifteen ones: one bit of the tail is left, and begins a block with what follows.
    "codes that make an end of the tail": ("04e0819224499224c922b1a87964f5ecbdffffdc07", WITHIN),
}


@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_stream_is_refused(name: str, size: int | None, engine: ModuleType) -> None:
    payload, message = BROKEN[name]
    data = bytes.fromhex(payload)
    assert outcome(data) is None
    with pytest.raises(ValueError, match=message):
        decoded(new_codec(engine=engine), data, every_byte(data) if size else ())


def test_tail_that_is_sent_as_well_is_one_more_empty_block() -> None:
    # A sender that leaves nothing out: what is put back is the length of a block that is missing.
    with pytest.raises(ValueError, match=WITHIN):
        decoded(new_codec(), STREAMS["fixed codes"] + TAIL)
    assert decoded(new_codec(), STREAMS["fixed codes"] + TAIL + b"\x00") == b"Hello"


def test_last_block_is_followed_by_its_end_later() -> None:
    codec = new_codec()
    data = bytes.fromhex("f348cdc9c9070000")
    for _ in range(2):
        for cut in range(1, len(data)):
            assert decoded(codec, data, [cut]) == b"Hello"


LAST_HELLO = bytes.fromhex("f348cdc9c90700")


@pytest.mark.parametrize("n", [1, 2, 256])
def test_blocks_may_follow_a_last_one(n: int, engine: ModuleType) -> None:
    # RFC 7692 §7.2.1
    for agreed in ("", "server_no_context_takeover"):
        data = LAST_HELLO * n + deflated(b"!")
        codec = new_codec(agreed, engine=engine)
        for cuts in ((), every_byte(data)[:50], [7], [14]):
            assert decoded(codec, data, cuts) == b"Hello" * n + b"!"
            assert decoded(codec, deflated(b"next")) == b"next"


def test_large_blocks_may_follow_a_last_one() -> None:
    compressor = zlib.compressobj(wbits=-15)
    last = compressor.compress(noise(100_000) + bytes(300_000)) + compressor.flush()
    message = (noise(100_000) + bytes(300_000)) * 3
    assert decoded(new_codec(), last * 3 + b"\x00") == message


def test_more_last_blocks_than_there_may_be_are_refused(engine: ModuleType) -> None:
    # R-C2: many of them, each with next to nothing, must not take long.
    codec = new_codec(engine=engine)
    with pytest.raises(ValueError, match="compressed data ends more than 256 times"):
        decoded(codec, b"\x03\x00" * 500_000)
    # In two messages there may be twice as many.
    codec = new_codec(engine=engine)
    for _ in range(2):
        assert decoded(codec, b"\x03\x00" * 256 + b"\x00") == b""


# How much is done at a time


@pytest.mark.parametrize("final", [False, True], ids=["more to come", "all"])
def test_bomb_is_decoded_as_far_as_it_is_asked_for(final: bool, engine: ModuleType) -> None:
    size = 64 << 20
    data = deflated(bytes(size), level=9)
    assert len(data) < 80 * KiB
    codec = new_codec(engine=engine)
    with traced() as peak:
        pieces = iter(codec.decode(data, final=final))
        total = count = 0
        for piece in pieces:
            assert len(piece) <= 64 * KiB
            total += len(piece)
            count += 1
        assert peak() < 512 * KiB
    if final:
        assert total == size
    assert size / (64 * KiB) <= count <= size / (64 * KiB) + 10


def test_small_bomb_in_one_go_is_decoded_by_steps(engine: ModuleType) -> None:
    # It fits in one piece of input.
    data = deflated(bytes(8 << 20), level=9)
    assert len(data) < 16 * KiB
    pieces = iter(new_codec(engine=engine).decode(data, final=True))
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 8 << 20
    assert max(sizes) == 64 * KiB


@pytest.mark.parametrize("size", [64 * KiB - 1, 64 * KiB, 64 * KiB + 1, 128 * KiB])
def test_message_of_as_much_as_fits_in_one_piece(size: int, engine: ModuleType) -> None:
    codec = new_codec(engine=engine)
    for message in (bytes(size), noise(size), b"Hello"):
        assert decoded(codec, deflated(message)) == message


@pytest.mark.parametrize(
    "block", [b"\x00\x00\x00\xff\xff", b"\x02\x08\x20\x80\x00"], ids=["stored", "four fixed"]
)
def test_million_empty_blocks_are_taken_in_steps(block: bytes, engine: ModuleType) -> None:
    codec = new_codec(engine=engine)
    data = block * 1_000_000 + b"\x00"
    pieces = list(codec.decode(data, final=True))
    assert not any(pieces)
    # 16 KiB of input each.
    assert len(data) / (16 * KiB) <= len(pieces) <= len(data) / (16 * KiB) + 2
    assert decoded(codec, b"\x00") == b""


def test_what_is_asked_for_first_is_ready_first() -> None:
    # The first piece of a large message does not wait for the others.
    data = deflated(bytes(16 << 20), level=9) + b"\x00" + b"\xff" * 100
    pieces = iter(new_codec().decode(data, final=True))
    assert next(pieces) == bytes(64 * KiB)


# What a message may take on the wire


@pytest.mark.parametrize("memory_level", range(1, 10))
def test_message_takes_no_more_than_is_said(memory_level: int, engine: ModuleType) -> None:
    # A message within the limits of the receiver must not be refused for what it takes encoded.
    too_large = []
    for bits, level, size in product((8, 9, 10, 12, 15), (0, 1, 6, 9), (0, 1, 1000, 300_000)):
        deflate = Deflate(level=level, memory_level=memory_level, engine=engine)
        codec = deflate.codec(parsed(f"{SERVER_BITS}={bits}"), is_client=False)
        n = len(encoded(codec, noise(size)))
        if n > codec.largest_encoded(size):
            too_large.append((bits, level, size, n, codec.largest_encoded(size)))
    assert not too_large


@pytest.mark.parametrize("n", [1, 10, 100, 1000])
def test_message_in_fragments_takes_no_more_than_is_said(n: int) -> None:
    # A connection takes 1024 fragments unless told otherwise, and each is flushed.
    message = noise(1024 * n)
    codec = new_codec()
    data = encoded(codec, message, range(n, len(message), n))
    # And 16 bytes for each, which a connection adds.
    fragments = len(message) // n
    assert len(data) <= codec.largest_encoded(len(message)) + 16 * fragments


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 20))
def test_more_bytes_never_take_less(size: int, more: int) -> None:
    codec = new_codec()
    assert codec.largest_encoded(size) <= codec.largest_encoded(size + more)


# Any messages

some_bytes = st.one_of(
    st.binary(max_size=200),
    st.builds(bytes.__mul__, st.binary(min_size=1, max_size=20), st.integers(0, 300)),
    st.integers(0, 3000).map(noise),
    st.sampled_from([16 * KiB, 64 * KiB - 1, 64 * KiB, 140_000]).map(patterned),
    st.sampled_from([16 * KiB, 70_000]).map(bytes),
)
fractions = st.lists(st.floats(0, 1), max_size=6)
window_bits = st.integers(8, 15)


def at(parts: list[float], data: bytes) -> list[int]:
    """Return places in the data at these fractions of it; some may be alike."""
    return sorted(int(part * len(data)) for part in parts)


@given(
    messages=st.lists(st.tuples(some_bytes, fractions, fractions, st.booleans()), max_size=5),
    bits=st.tuples(window_bits, window_bits),
    alone=st.tuples(st.booleans(), st.booleans()),
    is_client=st.booleans(),
    level=st.integers(0, 9),
    memory_level=st.integers(1, 9),
)
def test_any_messages_in_any_pieces_round_trip(
    engine: ModuleType,
    messages: list[tuple[bytes, list[float], list[float], bool]],
    bits: tuple[int, int],
    alone: tuple[bool, bool],
    is_client: bool,
    level: int,
    memory_level: int,
) -> None:
    agreed = ((SERVER_BITS, str(bits[0])), (CLIENT_BITS, str(bits[1])))
    agreed += tuple(
        (name, None)
        for name, is_so in zip((SERVER_ALONE, CLIENT_ALONE), alone, strict=True)
        if is_so
    )  # type: ignore[assignment]  # as ExtensionParameters
    deflate = Deflate(level=level, memory_level=memory_level, **NO_LIMITS, engine=engine)  # type: ignore[arg-type]  # as above
    codec = deflate.codec(agreed, is_client=is_client)
    mine, its = (1, 0) if is_client else (0, 1)
    peer = ZlibPeer(
        bits_out=bits[its],
        keeps_out=not alone[its],
        bits_in=bits[mine],
        keeps_in=not alone[mine],
    )
    for message, fragments, cuts, cancelled in messages:
        if cancelled:
            codec.begin_message(text=False, size=None, compress=None)
            codec.encode(message[::-1], flush=False, final=False)
            codec.cancel_message()
        assert peer.decode(encoded(codec, message, at(fragments, message))) == message
        # zlib as a peer cannot keep to 2**8 bytes, but it looks back 250 within 2**9.
        data = peer.encode(message)
        assert decoded(codec, data, at(cuts, data)) == message
