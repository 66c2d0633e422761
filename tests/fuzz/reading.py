"""How the core is given bytes, in one piece or in many, and what may come of any bytes at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from anyws import HandshakeError, InvalidHandshake, InvalidURI, Request, Response, parse_uri
from anyws._core.events import CloseReceived, Event, Fragment, Ping, Pong, TooBig, Violation
from anyws._core.grammar import is_token
from anyws._core.h11_http1 import MAX_BODY
from anyws._core.handshake import (
    BadRequest,
    accept_request,
    build_request,
    check_request,
    check_response,
    make_key,
    select_subprotocol,
)
from anyws._core.http1 import ClientHandshake, ServerHandshake
from anyws._core.plain_http1 import MAX_HEAD
from anyws._core.protocol import Flow, Protocol

__all__ = [
    "KEY",
    "REFUSALS",
    "REQUEST",
    "Reader",
    "WorkingReader",
    "check_events",
    "check_request_bytes",
    "check_response_bytes",
    "check_same_events",
    "check_uri",
    "not_empty",
    "pieces",
    "read_request",
    "read_response",
    "received",
    "worked",
]

#: What an application may be told, by kind of event.
DOCUMENTED_CODES = {Violation: {1002, 1007}, TooBig: {1008, 1009}}

#: The answers to a request that cannot be read, by the documentation of `serve`.
REFUSALS = frozenset({400, 413, 414, 431, 501, 505})

KEY = make_key(b"the sample nonce")
REQUEST = build_request(parse_uri("ws://host/"), KEY)


def pieces(data: bytes, fractions: Iterable[float]) -> list[bytes]:
    """Cut bytes at fractions of their length; pieces may be empty."""
    at = sorted(int(fraction * len(data)) for fraction in fractions)
    return [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True)]


def not_empty(chunks: list[bytes]) -> list[bytes]:
    """Leave out empty pieces: they stand for the end of the bytes."""
    return [chunk for chunk in chunks if chunk]


# Frames


def received(protocol: Protocol, chunks: Iterable[bytes]) -> list[Event]:
    """Return the events of the chunks."""
    return [event for chunk in chunks for event in protocol.receive_data(chunk)]


def worked(protocol: Protocol, chunks: Iterable[bytes]) -> list[Event]:
    """Return the events of the chunks, with all the work done behind each."""
    events: list[Event] = []
    for chunk in chunks:
        events += protocol.receive_data(chunk)
        while protocol.has_work:
            events += protocol.receive_data(b"")
    return events


def check_events(
    events: list[Event],
    protocol: Protocol,
    *,
    max_size: int | None,
    streaming: bool = False,
    own_codes: Collection[int] = (),
) -> None:
    """Check that these events of a protocol, all that there were, are legal ones.

    Args:
        events, protocol: as said.
        max_size: the limit of the protocol.
        streaming: whether messages may come as streams.
        own_codes: codes of violations that only an extension in use can bring.
    """
    for event in events:
        if isinstance(event, Violation):
            assert event.code in DOCUMENTED_CODES[Violation] or event.code in own_codes
            assert event.reason
        elif isinstance(event, TooBig):
            assert event.code in DOCUMENTED_CODES[TooBig]
            assert event.reason
        elif isinstance(event, str | bytes):
            assert max_size is None or _size(event) <= max_size
        elif isinstance(event, Fragment):
            assert streaming
            assert event.data or event.final
        else:
            assert isinstance(event, Ping | Pong | CloseReceived)
    final = [isinstance(event, Violation | CloseReceived) for event in events]
    assert not any(final[:-1]), "nothing comes behind the end"
    assert (protocol.reading is Flow.CLOSED) is any(final)
    held = [isinstance(event, TooBig) for event in events]
    assert streaming or not any(held[:-1]), "nothing comes behind what is held back"
    if protocol.reading is Flow.CLOSED:
        assert protocol.unfinished_bytes == 0


def check_same_events(first: list[Event], second: list[Event], *, extended: bool) -> None:
    """Check that the same bytes, in other pieces, gave the same events."""
    if not extended:
        assert first == second
        return
    if any(isinstance(event, Violation) for event in first + second):
        # Data that is too large and broken is one or the other, whichever is seen first.
        n = min(len(first), len(second)) - 1
        assert first[:n] == second[:n]
        assert isinstance(first[-1], Violation | TooBig)
        assert isinstance(second[-1], Violation | TooBig)
        return
    # How much is decoded when the limit is passed depends on what has come.
    assert list(map(_without_sizes, first)) == list(map(_without_sizes, second))


def _size(message: str | bytes) -> int:
    return len(message.encode() if isinstance(message, str) else message)


def _without_sizes(event: Event) -> Event:
    return replace(event, reason="") if isinstance(event, TooBig) else event


class Reader:
    """Takes bytes as an application would have them taken; `seen` has whole messages only."""

    def __init__(self, protocol: Protocol, *, always_streams: bool = False) -> None:
        self.protocol = protocol
        self.always_streams = always_streams
        self.seen: list[Event] = []
        self.held_back: TooBig | None = None
        self._pieces: list[str | bytes] = []
        if always_streams:
            protocol.read_as_stream()

    def receive(self, data: bytes) -> None:
        self.take(self.protocol.receive_data(data))

    def stream(self) -> None:
        self.held_back = None
        self.take(self.protocol.read_as_stream())

    def discard(self) -> None:
        """Take nothing but control frames from now on."""
        self.held_back = None
        self._pieces.clear()
        self.take(self.protocol.discard())

    def take(self, events: list[Event]) -> None:
        for event in events:
            assert self.held_back is None, "nothing comes behind what is held back"
            if isinstance(event, Fragment):
                self._pieces.append(event.data)
                if event.final:
                    self.seen.append(type(event.data)().join(self._pieces))  # type: ignore[arg-type]  # all of one type
                    self._pieces.clear()
            elif isinstance(event, TooBig):
                self.held_back = event
            else:
                assert not (self._pieces and isinstance(event, str | bytes))
                self.seen.append(event)
        if self.always_streams and self.protocol.reading is not Flow.CLOSED:
            if self.held_back is not None:
                self.stream()
            elif any(isinstance(e, Fragment) and e.final for e in events):
                self.take(self.protocol.read_as_stream())


class WorkingReader(Reader):
    """Does the work that is left at once, or leaves it for later."""

    at_once = True

    def receive(self, data: bytes) -> None:
        super().receive(data)
        if self.at_once:
            self.work()

    def stream(self) -> None:
        super().stream()
        if self.at_once:
            self.work()

    def discard(self) -> None:
        super().discard()
        self.work()

    def work(self) -> None:
        while self.protocol.has_work:
            self.take(self.protocol.receive_data(b""))


# The opening handshake


def read_request(chunks: list[bytes]) -> tuple[Request | int | None, bytes]:
    """Return the request, or the status that refuses it; and what came behind it."""
    server = ServerHandshake()
    for i, chunk in enumerate(chunks):
        try:
            request = server.receive_data(chunk)
        except BadRequest as exc:
            return exc.status_code, b""
        if request is not None:
            return request, server.trailing_data() + b"".join(chunks[i + 1 :])
    return None, b""


def read_response(chunks: list[bytes]) -> tuple[Response | type[Exception] | None, bytes]:
    """Return the response, or the kind of error that it is; and what came behind it."""
    client = ClientHandshake()
    client.send_request(REQUEST)
    for i, chunk in enumerate(chunks):
        try:
            response = client.receive_data(chunk)
        except InvalidHandshake as exc:
            return type(exc), b""
        if response is not None:
            rest = client.trailing_data() if response.status_code == 101 else b""
            return response, rest + b"".join(chunks[i + 1 :]) * (response.status_code == 101)
    return None, b""


def check_request_bytes(data: bytes, fractions: Iterable[float]) -> Request | None:
    """Check that a server refuses these bytes, or answers; return the request if it is one."""
    whole = read_request([data] if data else [])
    cut = read_request(not_empty(pieces(data, fractions)))
    request = whole[0]
    if cut != whole and isinstance(cut[0], Request) and "Expect" in cut[0].headers:
        # Nobody waited for its body (RFC 9110 §10.1.1), of which nothing was there yet.
        assert request is None or request == cut[0] or request in REFUSALS
        return None
    if isinstance(request, int):
        assert request in REFUSALS
        # What is too large and broken is one or the other, whichever is seen first.
        assert cut == whole or (len(data) > MAX_HEAD and cut[0] in REFUSALS)
        return None
    assert cut == whole
    if request is None:
        assert len(data) <= MAX_HEAD + MAX_BODY
        return None
    server = ServerHandshake()
    server.receive_data(data)
    checked = check_request(request)
    if isinstance(checked, Response):
        assert checked.status_code in (400, 405, 426)
        sent = server.send_response(checked)
    else:
        key, offered, extensions = checked
        assert all(map(is_token, offered))
        chosen = select_subprotocol(offered, offered)
        sent = server.send_response(accept_request(key, chosen, extensions, None))
    # What a client makes of it, which asked for the same.
    response, _ = read_response([sent])
    if request.method != "HEAD":
        assert isinstance(response, Response)
    return request


def check_response_bytes(data: bytes, fractions: Iterable[float]) -> None:
    """Check that a client accepts these bytes, or fails with one of its documented errors."""
    whole = read_response([data] if data else [])
    assert read_response(not_empty(pieces(data, fractions))) == whole
    response = whole[0]
    if isinstance(response, Response):
        assert len(response.body) <= MAX_BODY
        try:
            chosen, agreed = check_response(response, KEY, ("chat",))
        except HandshakeError:
            return
        assert chosen in (None, "chat")
        assert agreed == []


def check_uri(text: str) -> None:
    """Check that a URI is refused, or leads to a request that says the same."""
    try:
        uri = parse_uri(text)
    except InvalidURI as exc:
        str(exc).encode()
        return
    assert uri.host.isascii()
    assert 0 < uri.port < 65536
    request = build_request(uri, KEY)
    data = ClientHandshake().send_request(request)
    found, rest = read_request([data])
    assert isinstance(found, Request)
    assert (found.path, rest) == (uri.path, b"")
    assert found.headers["Host"] == uri.host_header
    # Put together again it is the same.
    scheme = "wss" if uri.secure else "ws"
    again = parse_uri(f"{scheme}://{uri.host_header}{uri.path}")
    assert (again.host, again.port, again.path) == (uri.host, uri.port, uri.path)
