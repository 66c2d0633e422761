"""What a fuzzer calls: each target takes any bytes, and fails if anything comes of them but what is
documented.

The first bytes of an input choose settings, how the rest is cut, and the like; the rest is what
comes from a peer or an application. `python -m tests.fuzz.guided` looks for inputs that reach new
code, and `tests/fuzz/corpus` keeps those that did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Final, TypeVar
from urllib.parse import urlsplit

from anyws import (
    HandshakeError,
    HandshakeRejected,
    Headers,
    InvalidHandshake,
    LocalProtocolError,
    NegotiationError,
    Request,
    Response,
    parse_uri,
)
from anyws._cookies import CookieSource
from anyws._core.deflate import Deflate
from anyws._core.events import CloseReceived, Event, Fragment, Ping, Pong, TooBig, Violation
from anyws._core.extensions import ExtensionCodec, agree_extensions, select_extensions
from anyws._core.grammar import (
    ExtensionParameters,
    is_token,
    parse_challenges,
    parse_extensions,
    parse_parameters,
    split_tokens,
)
from anyws._core.h11_http1 import MAX_BODY, H11Client
from anyws._core.handshake import check_host, check_target
from anyws._core.headers import check_text
from anyws._core.host import split_host
from anyws._core.origins import OriginPolicy
from anyws._core.plain_http1 import MAX_HEAD
from anyws._core.protocol import Protocol
from anyws._digest import DigestAuth, DigestExchange
from anyws._retry import LONGEST_RETRY_AFTER, retry_after
from anyws._visit import _resolve
from anyws.testing import FrameReader

from .._core.test_plain_http1 import check_request_against_h11, check_upgrade_against_h11
from ..builds import INSTALLED
from .reading import (
    Reader,
    WorkingReader,
    check_events,
    check_request_bytes,
    check_response_bytes,
    check_same_events,
    check_uri,
    not_empty,
    pieces,
    worked,
)
from .reference import Inflate
from .transcripts import (
    CANCEL,
    EXTENSIONS,
    FILL,
    SLICE,
    Call,
    Script,
    new_codecs,
    transcript,
)

__all__ = ["SCRIPTS", "TARGETS", "Source", "Target"]

_T = TypeVar("_T")

#: What an application may be told by an exception of `Protocol`; all else is a mistake of ours.
_DOCUMENTED_ERRORS: Final = {"LocalProtocolError"}

#: Those that do not mind how their bytes are cut.
_STEADY_EXTENSIONS: Final = ("", *(names for names in EXTENSIONS if "xor" not in names))

_SIZES: Final = (1 << 20, None, 0, 1, 100, 1000)
_FRAGMENTS: Final = (1024, None, 1, 3)


class Source:
    """Takes choices off the front of an input; behind its end, each is the first one there is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number by the next byte."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % below

    def flag(self) -> bool:
        return self.number(2) == 1

    def choice(self, among: Sequence[_T]) -> _T:
        return among[self.number(len(among))]

    def fractions(self) -> list[float]:
        """Return where to cut: at up to seven places."""
        return [self.number(256) / 256 for _ in range(self.number(8))]

    def some(self, *, at_most: int) -> bytes:
        """Return the next bytes, as many as the first of them says."""
        n = min(self.number(256), at_most)
        self._at += n
        return self._data[self._at - n : self._at]

    def rest(self) -> bytes:
        """Return all that is left."""
        self._at, start = len(self._data), self._at
        return self._data[start:]

    def __bool__(self) -> bool:
        return self._at < len(self._data)


# Frames


def read_bytes_script(data: bytes) -> Script:
    """Return what `frames` does, for both builds to do it."""
    source = Source(data)
    return Script(
        is_client=source.flag(),
        extensions=source.choice(_STEADY_EXTENSIONS),
        max_size=source.choice(_SIZES),
        max_fragments=source.choice(_FRAGMENTS),
        lifts=False,
        mask_seed=0,
        calls=[Call("receive_data", (p,)) for p in _cut(source.fractions(), source.rest())],
    )


def frames(data: bytes) -> None:
    """Give bytes of a peer to a `Protocol`: in one piece, in many, as streams, to be discarded."""
    script = read_bytes_script(data)
    names = script.extensions
    chunks = [call.arguments[0] for call in script.calls]
    assert all(isinstance(chunk, bytes) for chunk in chunks)
    chunks = [chunk for chunk in chunks if isinstance(chunk, bytes)]
    stream = b"".join(chunks)

    def new() -> Protocol:
        return Protocol(
            is_client=script.is_client,
            max_size=script.max_size,
            max_fragments=script.max_fragments,
            extensions=new_codecs(names, is_client=script.is_client),
        )

    whole = new()
    events = worked(whole, [stream])
    check_events(events, whole, max_size=script.max_size)
    for cut in (chunks, [stream[i : i + 1] for i in range(min(len(stream), 300))]):
        if sum(map(len, cut)) == len(stream):
            protocol = new()
            found = worked(protocol, cut)
            check_same_events(events, found, extended=bool(names))
            check_events(found, protocol, max_size=script.max_size)
    _check_streamed(WorkingReader(new(), always_streams=True), chunks, events)
    _check_discarded(new(), chunks, events)
    _check_sent_again(script.is_client, names, events)


def _check_streamed(reader: Reader, chunks: list[bytes], events: list[Event]) -> None:
    """Check that streams come to the same as whole messages, as far as these may be."""
    for chunk in chunks:
        reader.receive(chunk)
    n = len(events)
    if events and isinstance(events[-1], Violation | TooBig):
        n -= 1
        # No limit applies to a stream.
        if isinstance(events[-1], Violation):
            assert isinstance(reader.seen[n], Violation)
            assert reader.seen[n].code == events[n].code  # type: ignore[union-attr]  # both are
            assert len(reader.seen) == n + 1
    assert reader.seen[:n] == events[:n]


def _check_discarded(protocol: Protocol, chunks: list[bytes], events: list[Event]) -> None:
    """Check that control frames still count where messages do not."""
    protocol.discard()
    found = worked(protocol, chunks)
    assert not any(isinstance(event, str | bytes | Fragment | TooBig) for event in found)
    control = [event for event in events if isinstance(event, Ping | Pong | CloseReceived)]
    assert found[: len(control)] == control


def _check_sent_again(is_client: bool, names: str, events: list[Event]) -> None:
    """Check that a peer can send what was received, and that it comes out as it was."""
    sender = Protocol(
        is_client=not is_client, extensions=new_codecs(names, is_client=not is_client)
    )
    receiver = Protocol(
        is_client=is_client, max_size=None, extensions=new_codecs(names, is_client=is_client)
    )
    wire: list[bytes] = []
    expected: list[Event] = []
    for event in events:
        if isinstance(event, str | bytes):
            payload = event.encode() if isinstance(event, str) else event
            wire += sender.send_message(payload, isinstance(event, str))
        elif isinstance(event, Ping):
            wire.append(sender.send_ping(event.data))
        elif isinstance(event, Pong):
            wire.append(sender.send_pong(event.data))
        elif isinstance(event, CloseReceived):
            wire.append(sender.send_close(event.close.code, event.close.reason))
        else:
            continue
        expected.append(event)
    found = worked(receiver, [b"".join(wire)])
    assert found == expected


# Calls

_CALLS: Final = (
    "receive_data",
    FILL,
    "send_message",
    "send_fragment",
    "send_ping",
    "send_pong",
    "send_close",
    SLICE,
    CANCEL,
    "read_as_stream",
    "read_whole",
    "discard",
)
_CODES: Final = (1000, 1001, 1004, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000, -1)


def read_calls_script(data: bytes) -> Script:
    """Return what `calls` does, for both builds to do it."""
    source = Source(data)
    script = Script(
        is_client=source.flag(),
        extensions=source.choice(("", *EXTENSIONS)),
        max_size=source.choice(_SIZES),
        max_fragments=source.choice(_FRAGMENTS),
        lifts=source.flag(),
        mask_seed=source.number(256),
        calls=(calls := []),
    )
    while source and len(calls) < 40:
        calls.append(_read_call(source))
    return script


def _read_call(source: Source) -> Call:
    name = source.choice(_CALLS)
    if name in ("read_as_stream", "read_whole", "discard"):
        return Call(name)
    if name == "send_close":
        code = source.choice(_CODES)
        return Call(name, (code, source.some(at_most=140).decode("iso-8859-1")))
    text, final = source.flag(), source.flag()
    compress = source.choice((None, True, False))
    large = source.number(256) == 255
    payload = source.some(at_most=140) * (1000 if large else 1)
    if name == FILL:
        return Call(name, (payload, source.choice((1, 7, 5000, 1 << 20))))
    if name == SLICE:
        return Call(name, (payload, source.choice((1000, 4096, 7, 1 << 17)), text))
    if name == "send_message":
        return Call(name, (payload, text, compress))
    if name == "send_fragment":
        return Call(name, (payload,), {"text": text, "final": final, "compress": compress})
    return Call(name, (payload,))


def calls(data: bytes) -> None:
    """Call the methods of a `Protocol` in any order, and read what it sends."""
    script = read_calls_script(data)
    reserved = 0
    for rsv, _ in new_codecs(script.extensions, is_client=script.is_client):
        reserved |= rsv
    reader = FrameReader(masked=script.is_client, reserved=reserved)
    for call, entry in zip(script.calls, transcript(script, INSTALLED), strict=True):
        assert isinstance(entry, tuple)
        for result in entry[0]:
            if isinstance(result, tuple) and len(result) == 2:
                what, value = result
                assert what in _DOCUMENTED_ERRORS or isinstance(what, type), result
                if isinstance(what, type) and (call.name.startswith("send") or call.name == SLICE):
                    reader.feed(value if isinstance(value, bytes) else b"".join(value))
    assert not reader.begun


# The opening handshake


def _stretched(source: Source) -> bytes:
    """Return the rest of an input; sometimes with a part of it over and over, to pass limits."""
    if source.number(16) < 15:
        return source.rest()
    fraction = source.number(256) / 256
    n = 1 + source.number(30)
    data = source.rest()
    at = int(len(data) * fraction)
    return data[:at] + data[at : at + n] * (20_000 // n) + data[at + n :]


def request(data: bytes) -> None:
    """Give bytes of a client to a server's opening handshake."""
    source = Source(data)
    fractions = source.fractions()
    stream = _stretched(source)
    found = check_request_bytes(stream, fractions)
    check_request_against_h11(stream)
    if found is None:
        return
    for refusal in (check_target(found), check_host(found)):
        assert refusal is None or refusal.status_code == 400
    _check_request_values(found)


def _check_request_values(found: Request) -> None:
    """Read everything that a handler may read of a request."""
    assert found.path_without_query
    assert all(values for values in found.query.values())
    assert not any(set(value) & set(";\r\n") for pair in found.cookies.items() for value in pair)
    token = found.bearer_token()
    assert token is None or (token.isascii() and " " not in token)
    for name, value in found.headers.multi_items():
        assert is_token(name)
        check_text(name, value)
    for policy in (OriginPolicy("same-host"), OriginPolicy(["https://example.com"])):
        reason = policy.refusal(found)
        assert reason is None or reason.isascii()


def response(data: bytes) -> None:
    """Give bytes of a server, or of a proxy, to a client's opening handshake."""
    source = Source(data)
    is_proxy = source.flag()
    fractions = source.fractions()
    stream = _stretched(source)
    if is_proxy:
        whole = _read_proxy_response([stream])
        assert _read_proxy_response(pieces(stream, fractions)) == whole
        return
    check_response_bytes(stream, fractions)
    check_upgrade_against_h11(stream)


def _read_proxy_response(chunks: list[bytes]) -> object:
    proxy = H11Client("the proxy")
    proxy.send_request(Request("host:443", Headers({"Host": "host:443"}), method="CONNECT"))
    for i, chunk in enumerate(not_empty(chunks)):
        try:
            found = proxy.receive_data(chunk)
        except InvalidHandshake:
            return None
        if found is not None:
            assert len(found.body) <= MAX_BODY
            if not 200 <= found.status_code <= 299:
                return found
            return found, proxy.trailing_data() + b"".join(not_empty(chunks)[i + 1 :])
    assert len(b"".join(chunks)) <= MAX_HEAD + 2 * MAX_BODY
    return proxy.refusal


# Extensions

_DEFLATES: Final = (
    Deflate(),
    Deflate(server_max_window_bits=None, client_max_window_bits=None),
    Deflate(server_max_window_bits=9, client_max_window_bits=8, fallback=False),
    Deflate(server_no_context_takeover=True, client_no_context_takeover=True, threshold=0),
    Deflate(require_client_max_window_bits=True, server_max_window_bits=15),
)
_SAMPLES: Final = (b"", b"sample", bytes(5000), bytes(range(256)) * 20, b"sample" * 100)


def extensions(data: bytes) -> None:
    """Give a Sec-WebSocket-Extensions to a server, and to a client."""
    source = Source(data)
    deflate = source.choice(_DEFLATES)
    text = source.rest().decode("iso-8859-1")
    try:
        found = parse_extensions([text])
    except ValueError:
        return
    assert parse_extensions([", ".join(map(str, found))]) == found
    for name, parameters in found:
        assert is_token(name)
        assert all(is_token(n) and (v is None or is_token(v)) for n, v in parameters)
    for _, answer in select_extensions([deflate], found):
        offers = [_by_name(p) for name, p in found if name == deflate.name]
        assert any(_answers(_by_name(answer.parameters), offer) for offer in offers)
        _check_codecs(deflate, answer.parameters)
    try:
        agreed = agree_extensions([deflate], found)
    except NegotiationError:
        return
    for _, answer in agreed:
        _check_codecs(deflate, answer.parameters)


def _by_name(parameters: ExtensionParameters) -> dict[str, str | None] | None:
    """Return parameters by name; None if one comes twice, or is no number (RFC 7692 §7.1)."""
    by_name = dict(parameters)
    numbers = [v for n, v in parameters if n.endswith("_bits") and v is not None]
    if len(by_name) < len(parameters) or not all(map(str.isdecimal, numbers)):
        return None
    return by_name


def _answers(answer: dict[str, str | None] | None, offer: dict[str, str | None] | None) -> bool:
    """Say whether an answer fits an offer (RFC 7692 §7.1)."""
    if answer is None or offer is None:
        return False
    # §7.1.1.1
    if "server_no_context_takeover" in offer and "server_no_context_takeover" not in answer:
        return False
    # §7.1.2.1
    asked = offer.get("server_max_window_bits")
    if asked is not None and int(answer.get("server_max_window_bits") or 99) > int(asked):
        return False
    # §7.1.2.2
    if "client_max_window_bits" in answer:
        most = offer.get("client_max_window_bits", "0") or "15"
        return int(answer["client_max_window_bits"] or 99) <= int(most)
    return True


def _check_codecs(deflate: Deflate, agreed: ExtensionParameters) -> None:
    """Check that both sides can read each other, message after message."""
    client = deflate.codec(agreed, is_client=True)
    server = deflate.codec(agreed, is_client=False)
    for sender, receiver in ((client, server), (server, client)):
        for payload in _SAMPLES:
            assert _decoded(receiver, [_encoded(sender, payload)]) == payload


def _encoded(codec: ExtensionCodec, payload: bytes) -> bytes:
    rsv = codec.begin_message(text=False, size=len(payload), compress=True)
    assert rsv == Deflate.rsv
    return codec.encode(payload, flush=True, final=True)


def _decoded(codec: ExtensionCodec, chunks: list[bytes]) -> bytes:
    codec.begin_receiving(text=False, rsv=Deflate.rsv)
    found: list[bytes] = []
    for i, chunk in enumerate(chunks):
        for piece in codec.decode(chunk, final=i == len(chunks) - 1):
            assert len(piece) <= 1 << 16
            found.append(piece)
    return b"".join(found)


_MOST_INFLATED: Final = 4 << 20


def inflate(data: bytes) -> None:
    """Decompress messages of a peer, whole and in pieces; and compress them as an application's."""
    source = Source(data)
    bits = source.choice((None, "8", "9", "12", "15"))
    keeps = source.flag()
    fractions = source.fractions()
    first = source.some(at_most=255)
    messages = [message for message in (first, source.rest()) if message]
    agreed: ExtensionParameters = ()
    if bits is not None:
        agreed = (("client_max_window_bits", bits), ("server_max_window_bits", bits))
    if not keeps:
        agreed += (("client_no_context_takeover", None), ("server_no_context_takeover", None))
    deflate = Deflate(client_max_window_bits=None)
    whole, cut = (deflate.codec(agreed, is_client=True) for _ in range(2))
    reference = Inflate(int(bits or 15), keeps=keeps)
    for message in messages:
        expected = reference.decode(message)
        assert _outcome(whole, [message]) == expected
        assert _outcome(cut, pieces(message, fractions)) == expected
        if expected is None:
            break
    sender, receiver = (deflate.codec(agreed, is_client=is_client) for is_client in (True, False))
    for message in messages:
        assert _decoded(receiver, [_encoded(sender, message)]) == message
        parts = pieces(message, fractions)
        sender.begin_message(text=False, size=None, compress=True)
        encoded = [
            sender.encode(part, flush=i % 2 == 0 or i == len(parts) - 1, final=i == len(parts) - 1)
            for i, part in enumerate(parts)
        ]
        assert _decoded(receiver, encoded) == message


def _outcome(codec: ExtensionCodec, chunks: list[bytes]) -> bytes | None:
    try:
        return _decoded(codec, chunks)
    except ValueError:
        return None


# Fields and URIs


def uri(data: bytes) -> None:
    """Parse a URI that a user gave, and one to which a server redirects."""
    text = data.decode("utf-8", "surrogateescape")
    check_uri(text)
    base = parse_uri("wss://example.com:8443/a/b?c")
    try:
        target = _resolve(base, text)
    except HandshakeError as exc:
        str(exc).encode(errors="backslashreplace")
        return
    assert target.user_info is None
    check_uri(f"{target.origin}{target.path}")


def host(data: bytes) -> None:
    """Compare a Host, in the first line of the input, with an Origin, in the second."""
    own, _, origin = data.decode("iso-8859-1").partition("\n")
    found = split_host(own)
    if found is not None:
        name, port = found
        assert split_host(name if port is None else f"{name}:{port}") == found
        assert name == name.lower()
    asked = Request("/", Headers.from_wire([(b"Host", own.encode("iso-8859-1"))]))
    asked.headers._fields.append(("Origin", origin))
    if OriginPolicy("same-host").refusal(asked) is None:
        _check_same_host(own, origin)
    try:
        listed = OriginPolicy([origin])
    except ValueError:
        return
    if origin not in ("same-host", "null") and origin.isascii():
        assert listed.refusal(asked) is None


def _check_same_host(own: str, origin: str) -> None:
    """Check with the parser of another that two hosts are one."""
    parts, other = urlsplit(origin), urlsplit(f"//{own}")
    assert parts.username is None
    assert parts.path == parts.query == parts.fragment == ""
    default = {"http": 80, "https": 443, "ws": 80, "wss": 443}[parts.scheme]
    assert (parts.port or default) == (other.port or default) or 0 in (parts.port, other.port)
    if ":" not in (parts.hostname or ""):
        assert parts.hostname == other.hostname


def challenge(data: bytes) -> None:
    """Answer a challenge of a server (RFC 7616), and read what else a refusal may say."""
    source = Source(data)
    texts = source.rest().decode("iso-8859-1").split("\n")
    try:
        values = Headers([("WWW-Authenticate", text) for text in texts[:4]])
    except LocalProtocolError:
        return  # h11 would have refused it
    response = Response(401, values)
    auth = DigestAuth("Mufasa é", "Circle of Life")
    exchange = DigestExchange(auth, parse_uri("ws://example.com/dir?a=b"))
    for _ in range(4):
        again = exchange.take_response(response)
        if not again:
            break
        value = exchange.header_value()
        assert value is not None
        assert Headers({"Authorization": value})["Authorization"] == value
        ((scheme, parameters),) = parse_challenges(value)
        assert scheme == "digest"
        assert parameters is not None
        assert {"realm", "nonce", "uri", "response"} <= parameters.keys()
        _check_echo(values, parameters)
    assert not again, "a server cannot make a client ask on and on"
    for text in texts[:4]:
        split_tokens([text[:500]])
        exchange.take_response(Response(101, Headers({"Authentication-Info": text})))
        parse_parameters(text)


def _check_echo(values: Headers, answered: dict[str, str]) -> None:
    """Check that realm and nonce are those of one challenge."""
    asked = [
        (parameters.get("realm"), parameters.get("nonce"))
        for value in values.get_all("WWW-Authenticate")
        for _, parameters in parse_challenges(value)
        if parameters
    ]
    assert (answered["realm"], answered["nonce"]) in asked


def retry(data: bytes) -> None:
    """Read a Retry-After, which is a number or a date of any kind."""
    text = data.decode("iso-8859-1")
    try:
        headers = Headers({"Retry-After": text})
    except LocalProtocolError:
        return
    seconds = retry_after(HandshakeRejected(Response(503, headers)))
    assert 0 <= seconds <= LONGEST_RETRY_AFTER


def cookies(data: bytes) -> None:
    """Put into a jar what servers set, and take out what goes to others; read it there."""
    texts = data.decode("iso-8859-1").split("\n")
    try:
        headers = Headers([("Set-Cookie", text) for text in texts[:8]])
    except LocalProtocolError:
        return
    first, second = parse_uri("wss://example.com/a/b"), parse_uri("ws://www.example.com:81/a")
    source = CookieSource(CookieJar(), first)
    source.take(first, Response(101, headers))
    for target in (first, second):
        value = source.header_for(target)
        if value is not None:
            asked = Request("/", Headers({"Cookie": value}))
            assert asked.headers["Cookie"] == value.strip(" \t")
            _check_request_values(asked)
    _check_request_values(Request("/", Headers([("Cookie", text) for text in texts[:8]])))


@dataclass(frozen=True, slots=True)
class Target:
    """A target, and what helps a fuzzer with it.

    Attributes:
        run: takes an input, and raises if it finds a fault.
        words: that inputs may be made of.
        max_bytes: of an input; longer ones reach nothing that shorter ones do not.
    """

    run: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()
    max_bytes: int = 1024


_FIELDS: Final = (
    b"\r\n",
    b"Host: ",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Protocol: chat\r\n",
    b"Sec-WebSocket-Extensions: ",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Origin: ",
    b"Cookie: ",
    b"Authorization: Bearer ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
)
_PARAMETERS: Final = (
    b"permessage-deflate",
    b"server_no_context_takeover",
    b"client_no_context_takeover",
    b"server_max_window_bits",
    b"client_max_window_bits",
    b"; ",
    b", ",
    b'="',
)
_DIGEST: Final = (
    b"Digest ",
    b'realm="',
    b'nonce="',
    b'qop="auth,auth-int"',
    b"algorithm=SHA-256-sess",
    b"algorithm=SHA-512-256",
    b"algorithm=MD5",
    b"stale=true",
    b"userhash=true",
    b"charset=UTF-8",
    b"nextnonce=",
    b'opaque="',
)
_ATTRIBUTES: Final = (
    b"; Path=/a",
    b"; Domain=.example.com",
    b"; Max-Age=",
    b"; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
    b"; Secure",
    b"; HttpOnly",
    b"; Version=1",
    b'"',
    b"\n",
)

#: The targets by name.
TARGETS: Final = {
    "frames": Target(frames, (b"\x81", b"\x82", b"\xfe", b"\xff", b"\x03\xe8", b"\xed\xa0\x80")),
    "calls": Target(calls, (b"\x81\x80", b"\x01\x80", b"\x00\x80", b"\x89\x80", b"\x03\xe8")),
    "request": Target(request, (b"GET ", b"HEAD ", *_FIELDS), 2048),
    "response": Target(response, (b"HTTP/1.1 101 ", b"HTTP/1.1 200 ", *_FIELDS), 2048),
    "extensions": Target(extensions, _PARAMETERS, 512),
    "inflate": Target(inflate, (b"\x00\x00\xff\xff", b"\x01\x00\x00\xff\xff", b"\x03\x00")),
    "uri": Target(uri, (b"ws://", b"wss://", b"[::1]", b"%41", b"@", b"xn--"), 256),
    "host": Target(host, (b"\n", b"https://", b"http://", b"[::1]", b":443", b"null"), 256),
    "challenge": Target(challenge, _DIGEST, 512),
    "retry": Target(retry, (b"Wed, 21 Oct 2026 07:28:00 GMT", b"-0000", b" ", b":"), 64),
    "cookies": Target(cookies, _ATTRIBUTES, 512),
}

#: Targets of which both builds can be asked for a transcript.
SCRIPTS: Final = {"frames": read_bytes_script, "calls": read_calls_script}


def _cut(fractions: list[float], data: bytes) -> Iterator[bytes]:
    yield from pieces(data, fractions)
