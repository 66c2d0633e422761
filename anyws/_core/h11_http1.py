"""The opening handshake over HTTP/1.1 with h11, which knows all of its grammar (RFC 9112).

Owns the messages that `plain_http1.py` does not take: unusual ones, refusals, and what is wrong.
"""

from __future__ import annotations

import h11

from .._errors import InvalidHandshake, LocalProtocolError
from .handshake import BadRequest
from .headers import Headers, Request, Response, check_text
from .plain_http1 import MAX_HEAD

__all__ = ["MAX_BODY", "H11Client", "H11Server", "is_success"]

#: 64 KiB of a refusal's body are kept for `HandshakeRejected.response`; the rest is not read. The
#: body of a request, which nobody wants, may have as much, with all that it is wrapped in.
MAX_BODY = 64 * 1024

# 200 characters: what is wrong with a request, which may quote it.
_TEXT = 200

# RFC 9110 §15.3.5, §15.4.5
_WITHOUT_BODY = frozenset({204, 304})

# RFC 9112 §6.3: each says how long a body is.
_BODY_FIELDS = ("content-length", "transfer-encoding")


class _Incoming:
    """One message that comes in, as h11 reads it, and how far that has got.

    h11 limits what it is given only while it wants more of it. So what is too large in pieces would
    do in one.
    """

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self._http = h11.Connection(role, max_incomplete_event_size=MAX_HEAD)
        self._received = 0
        self._understood = 0  # where the head ended, or else the last bytes of the body

    def trailing_data(self) -> bytes:
        """Return what came behind the message: the first bytes of the WebSocket connection."""
        return bytes(self._http.trailing_data[0])

    @property
    def _read(self) -> int:
        """The bytes that have been understood so far."""
        return self._received - len(self.trailing_data())

    def _is_wrapped_too_well(self, event: h11.Data | h11.EndOfMessage) -> bool:
        """Say whether more is around a piece of the body, or behind it, than a head may have."""
        read = self._read
        size = len(event.data) if isinstance(event, h11.Data) else 0
        wrapping = read - self._understood - size
        self._understood = read
        return wrapping > MAX_HEAD


class H11Client(_Incoming):
    """A client's opening handshake, or its way through a proxy: one request out, one response in.

    Args:
        peer: who answers, as the messages of errors call it.

    Attributes:
        refusal: a response with another status, with as much as has come of its body.
        is_cut: the connection ended before the body did.
    """

    def __init__(self, peer: str = "the server") -> None:
        super().__init__(h11.CLIENT)
        self._peer = peer
        self._is_connect = False
        self.refusal: Response | None = None
        self.is_cut: bool = False

    def send_request(self, request: Request) -> bytes:
        """Return the bytes of the request.

        Raises:
            LocalProtocolError: its method, target or headers cannot be put on the wire.
        """
        self._is_connect = request.method == "CONNECT"
        try:
            head = self._http.send(
                h11.Request(
                    method=request.method,
                    target=request.path,
                    headers=_to_wire(request.headers),
                )
            )
            end = self._http.send(h11.EndOfMessage())
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise LocalProtocolError(f"the request cannot be sent: {exc}") from exc
        return (head or b"") + (end or b"")

    def receive_data(self, data: bytes) -> Response | None:
        """Take bytes of the response, b"" for their end; return it once it is complete.

        A body that breaks off, or goes wrong, is one that was cut.

        Raises:
            InvalidHandshake: it is not HTTP/1.1, passes `MAX_HEAD` together with the interim
                responses before it, or ends before its head does.
        """
        if not data and self.refusal is None and not self.trailing_data():
            raise InvalidHandshake(f"{self._peer} closed the connection before it answered")
        self._received += len(data)
        try:
            self._http.receive_data(data)
            return self._next_response()
        except h11.RemoteProtocolError as exc:
            exc.__traceback__ = None  # with a frame of h11's that has the exception: a cycle
            if self.refusal is not None:
                self.is_cut = not data
                return self.refusal
            raise InvalidHandshake(f"{self._peer}'s answer is not a valid response: {exc}") from exc

    def _next_response(self) -> Response | None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.InformationalResponse | h11.Response):
                self._understood = self._read
                if self._understood > MAX_HEAD:
                    raise InvalidHandshake(f"{self._peer}'s answer has more than {MAX_HEAD} bytes")
                if event.status_code == 101 or (self._is_connect and is_success(event.status_code)):
                    return self._checked(_from_wire(event))
                if isinstance(event, h11.Response):
                    self.refusal = _from_wire(event)
                # RFC 9110 §15.2: other interim responses are for skipping.
            elif isinstance(event, h11.Data):
                assert self.refusal is not None
                if self._is_wrapped_too_well(event):
                    return self.refusal
                self.refusal.body += bytes(event.data)
                if len(self.refusal.body) >= MAX_BODY:
                    self.refusal.body = self.refusal.body[:MAX_BODY]
                    return self.refusal
            elif isinstance(event, h11.EndOfMessage):
                return self.refusal
            else:
                return None

    def _checked(self, response: Response) -> Response:
        """Refuse control characters in a response that opens a connection, as a server does."""
        try:
            _check_values(response.headers)
        except BadRequest as exc:
            raise InvalidHandshake(f"{self._peer}'s answer is not a valid response: {exc}") from exc
        return response


def is_success(status: int) -> bool:
    """Say whether a status is of those by which a tunnel is granted (RFC 9110 §9.3.6)."""
    return 200 <= status <= 299


class H11Server(_Incoming):
    """A server's opening handshake: one request in, one response out."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER)
        self._line_bytes = 0  # of the first line, as far as it has come
        self._has_line = False  # whether it is complete
        self._is_head = False
        self._request: Request | None = None  # whose body is to come
        self._head_bytes = 0

    def receive_data(self, data: bytes) -> Request | None:
        """Take bytes of the request, b"" for their end; return it once it is complete.

        A body is read and dropped, unless the client waits to be told to send it.

        Raises:
            BadRequest: it is not HTTP, or passes `MAX_HEAD` or, with its body, `MAX_BODY`.
        """
        self._received += len(data)
        if not self._has_line:
            line, line_end, _ = data.partition(b"\n")
            self._line_bytes += len(line)
            self._has_line = bool(line_end)
        try:
            self._http.receive_data(data)
            return self._next_request()
        except h11.RemoteProtocolError as exc:
            exc.__traceback__ = None  # with a frame of h11's that has the exception: a cycle
            if exc.error_status_hint == 431:
                self._check_line()
            raise BadRequest(exc.error_status_hint, str(exc)[:_TEXT]) from exc

    def _next_request(self) -> Request | None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._check_wrapping(event)
                self._check_body(self._read - self._head_bytes)
            elif isinstance(event, h11.EndOfMessage):
                self._check_wrapping(event)
                return self._request
            elif isinstance(event, h11.ConnectionClosed):
                raise BadRequest(400, "the connection ended before a request")
            elif self._http.they_are_waiting_for_100_continue:
                return self._request
            else:
                return None

    def _begin(self, event: h11.Request) -> None:
        self._is_head = event.method == b"HEAD"
        self._head_bytes = self._understood = self._read
        # h11 counts only while a head is not complete.
        if self._head_bytes > MAX_HEAD:
            self._check_line()
            raise BadRequest(431, f"the request has a head of more than {MAX_HEAD} bytes")
        version = event.http_version.decode("ascii")
        if not version.startswith("1."):
            raise BadRequest(505, f"the version of HTTP is {version}, expected 1.1")
        headers = Headers.from_wire(event.headers.raw_items())
        _check_values(headers)
        length = headers.get("Content-Length")
        if length is not None and "Transfer-Encoding" in headers:
            # RFC 9112 §6.1: a proxy in between may have understood the one or the other.
            raise BadRequest(400, "the request has both Content-Length and Transfer-Encoding")
        self._request = Request(
            path=event.target.decode("ascii"),
            headers=headers,
            method=event.method.decode("ascii"),
            http_version=version,
        )
        if length is not None:
            self._check_body(int(length))

    def _check_line(self) -> None:
        if self._line_bytes > MAX_HEAD:
            raise BadRequest(414, f"the request has a first line of more than {MAX_HEAD} bytes")

    def _check_wrapping(self, event: h11.Data | h11.EndOfMessage) -> None:
        if self._is_wrapped_too_well(event):
            raise BadRequest(431, f"more than {MAX_HEAD} bytes are around the request's body")

    def _check_body(self, n: int) -> None:
        if n > MAX_BODY:
            raise BadRequest(413, f"the request has a body of more than {MAX_BODY} bytes")

    def send_response(self, response: Response) -> bytes:
        """Return the bytes of a response: an upgrade for 101, else a whole message.

        Content-Length is added where neither it nor Transfer-Encoding is given. The body is left
        out where HTTP has none: in the answer to a HEAD request, and with status 204 and 304,
        which have no Content-Length either.

        Raises:
            LocalProtocolError: a part of it cannot be put on the wire, or its Content-Length is
                not that of its body; another one may be sent instead.
        """
        check_text("reason phrase of the response", response.reason_phrase)
        reason = response.reason_phrase.encode("iso-8859-1")
        has_body = response.status_code not in _WITHOUT_BODY
        headers = _to_wire(response.headers)
        if not has_body:
            # RFC 9110 §8.6; with 304 it would be that of another response.
            headers = [field for field in headers if field[0].lower() != b"content-length"]
        try:
            if response.status_code == 101:
                upgrade = h11.InformationalResponse(status_code=101, headers=headers, reason=reason)
                return self._http.send(upgrade) or b""
            if has_body and response.headers.keys().isdisjoint(_BODY_FIELDS):
                headers.append((b"Content-Length", b"%d" % len(response.body)))
            events: list[h11.Event] = [
                h11.Response(status_code=response.status_code, headers=headers, reason=reason)
            ]
            if has_body and response.body and not self._is_head:
                events.append(h11.Data(data=response.body))
            events.append(h11.EndOfMessage())
            return b"".join(self._http.send(event) or b"" for event in events)
        except h11.LocalProtocolError as exc:
            self._http = self._in_front_of_an_answer()
            raise LocalProtocolError(f"the response cannot be sent: {exc}") from exc

    def _in_front_of_an_answer(self) -> h11.Connection:
        """Return what takes another response: h11 takes none after one that was wrong."""
        http = h11.Connection(h11.SERVER)
        method = b"HEAD" if self._is_head else b"GET"
        http.receive_data(method + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while http.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            pass
        return http


def _check_values(headers: Headers) -> None:
    """Refuse control characters, most of which h11 lets pass.

    RFC 9110 §5.5 has them invalid. Some of them end a line for `str.splitlines`, and others act on
    the terminal that shows a log.
    """
    for name, value in headers.multi_items():
        try:
            check_text(f"header {name}", value)
        except LocalProtocolError as exc:
            raise BadRequest(400, str(exc)[:_TEXT]) from exc


def _to_wire(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode("ascii"), value.encode("iso-8859-1")) for name, value in headers.multi_items()
    ]


def _from_wire(event: h11.InformationalResponse | h11.Response) -> Response:
    return Response(
        event.status_code,
        Headers.from_wire(event.headers.raw_items()),
        reason_phrase=event.reason.decode("iso-8859-1"),
    )
