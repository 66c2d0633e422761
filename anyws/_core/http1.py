"""The opening handshake over HTTP/1.1 (RFC 6455 §4, RFC 9112), with h11 for the grammar.

Owns the bytes of the two messages. The rules on what they say are in `handshake.py`.
"""

from __future__ import annotations

import h11

from .._errors import InvalidHandshake
from .headers import Headers, Request, Response

__all__ = ["MAX_BODY", "MAX_HEAD", "ClientHandshake", "ServerHandshake"]

#: 16 KiB of first line and header fields together: as much as h11 and most servers take.
MAX_HEAD = 16 * 1024

#: 64 KiB of a refusal's body are kept for `HandshakeRejected.response`; the rest is not read.
MAX_BODY = 64 * 1024


class ClientHandshake:
    """A client's opening handshake: one request out, one response in."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._refusal: Response | None = None

    def send_request(self, request: Request) -> bytes:
        """Return the bytes of the request."""
        return self._send(
            h11.Request(
                method=request.method,
                target=request.path,
                headers=_to_wire(request.headers),
            )
        ) + self._send(h11.EndOfMessage())

    def receive_data(self, data: bytes) -> Response | None:
        """Take bytes of the response, b"" for their end; return it once it is complete.

        Raises:
            InvalidHandshake: it is not HTTP/1.1, passes `MAX_HEAD`, or ends before its time.
        """
        try:
            self._http.receive_data(data)
            return self._next_response()
        except h11.RemoteProtocolError as exc:
            raise InvalidHandshake(f"the server's answer is not a valid response: {exc}") from exc

    def trailing_data(self) -> bytes:
        """Return what came behind a 101: the first bytes of the WebSocket connection."""
        return bytes(self._http.trailing_data[0])

    def _next_response(self) -> Response | None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return _from_wire(event)
                # RFC 9110 §15.2: other interim responses are for skipping.
            elif isinstance(event, h11.Response):
                self._refusal = _from_wire(event)
            elif isinstance(event, h11.Data):
                assert self._refusal is not None
                self._refusal.body += bytes(event.data)
                if len(self._refusal.body) >= MAX_BODY:
                    self._refusal.body = self._refusal.body[:MAX_BODY]
                    return self._refusal
            elif isinstance(event, h11.EndOfMessage):
                return self._refusal
            elif isinstance(event, h11.ConnectionClosed):
                raise InvalidHandshake("the server closed the connection before it answered")
            else:
                return None

    def _send(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""


class ServerHandshake:
    """A server's opening handshake: one request in, one response out."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: Request | None = None

    def receive_data(self, data: bytes) -> Request | None:
        """Take bytes of the request, b"" for their end; return it once its head is complete.

        Raises:
            BadRequest: it is not HTTP, or passes `MAX_HEAD`.
        """
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadRequest(exc.error_status_hint, str(exc)) from exc
        if isinstance(event, h11.ConnectionClosed):
            raise BadRequest(400, "the connection ended before a request")
        if not isinstance(event, h11.Request):
            return None
        return Request(
            path=event.target.decode("ascii"),
            headers=Headers.from_wire(event.headers.raw_items()),
            method=event.method.decode("ascii"),
            http_version=event.http_version.decode("ascii"),
        )

    def trailing_data(self) -> bytes:
        """Return what came behind the request: the first bytes of the WebSocket connection."""
        return bytes(self._http.trailing_data[0])

    def send_response(self, response: Response) -> bytes:
        """Return the bytes of a response: an upgrade for 101, else a whole message."""
        kind = h11.InformationalResponse if response.status_code == 101 else h11.Response
        head = self._http.send(
            kind(
                status_code=response.status_code,
                headers=_to_wire(response.headers),
                reason=response.reason_phrase.encode("ascii"),
            )
        )
        parts = [head]
        if kind is h11.Response:
            if response.body:
                parts.append(self._http.send(h11.Data(data=response.body)))
            parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(part or b"" for part in parts)


class BadRequest(InvalidHandshake):
    """A request that cannot be read; `status_code` is what to answer."""

    def __init__(self, status_code: int, text: str) -> None:
        super().__init__(text)
        self.status_code = status_code


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
