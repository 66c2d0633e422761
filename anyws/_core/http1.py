"""The opening handshake over HTTP/1.1 (RFC 6455 §4, RFC 9112): one message out, one in.

Owns the choice of the way: the short one of `plain_http1.py` for a message that is as plain as most
of them are, h11 for everything else. The rules on what they say are in `handshake.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .headers import Request, Response
from .plain_http1 import read_request, read_upgrade, write_request, write_upgrade

if TYPE_CHECKING:
    from .h11_http1 import H11Client, H11Server

__all__ = ["ClientHandshake", "ServerHandshake"]


class ClientHandshake:
    """A client's opening handshake: one request out, one response in."""

    def __init__(self) -> None:
        self._request: Request | None = None  # sent the short way
        self._trailing = b""
        self._h11: H11Client | None = None

    def send_request(self, request: Request) -> bytes:
        """Return the bytes of the request.

        Raises:
            LocalProtocolError: its method, target or headers cannot be put on the wire.
        """
        data = write_request(request)
        if data is None:
            self._h11 = _new_client()
            return self._h11.send_request(request)
        self._request = request
        return data

    def receive_data(self, data: bytes) -> Response | None:
        """Take bytes of the response, b"" for their end; return it once it is complete.

        Raises:
            InvalidHandshake: it is not HTTP/1.1, passes `MAX_HEAD` together with the interim
                responses before it, or ends before its time.
        """
        if self._h11 is None:
            found = read_upgrade(data)
            if found is not None:
                response, head_bytes = found
                self._trailing = data[head_bytes:]
                return response
            assert self._request is not None, "the request comes first"
            self._h11 = _new_client()
            self._h11.send_request(self._request)  # it reads the answer to what it has sent
        return self._h11.receive_data(data)

    @property
    def refusal(self) -> Response | None:
        """A response with another status than 101, with as much as has come of its body."""
        return None if self._h11 is None else self._h11.refusal

    @property
    def is_cut(self) -> bool:
        """Whether the connection ended before the body of that did."""
        return self._h11 is not None and self._h11.is_cut

    def trailing_data(self) -> bytes:
        """Return what came behind a 101: the first bytes of the WebSocket connection."""
        return self._trailing if self._h11 is None else self._h11.trailing_data()


class ServerHandshake:
    """A server's opening handshake: one request in, one response out."""

    __slots__ = ("_h11", "_head_bytes", "_received")

    def __init__(self) -> None:
        self._received = b""  # the short way
        self._head_bytes = 0
        self._h11: H11Server | None = None

    def receive_data(self, data: bytes) -> Request | None:
        """Take bytes of the request, b"" for their end; return it once it is complete.

        A body is read and dropped, unless the client waits to be told to send it.

        Raises:
            BadRequest: it is not HTTP, or passes `MAX_HEAD` or, with its body, `MAX_BODY`.
        """
        if self._h11 is None:
            found = read_request(data)
            if found is not None:
                self._received = data
                request, self._head_bytes = found
                return request
            self._h11 = _new_server()
        return self._h11.receive_data(data)

    def trailing_data(self) -> bytes:
        """Return what came behind the request: the first bytes of the WebSocket connection."""
        return (
            self._received[self._head_bytes :] if self._h11 is None else self._h11.trailing_data()
        )

    def send_response(self, response: Response) -> bytes:
        """Return the bytes of a response: an upgrade for 101, else a whole message.

        Content-Length is added where neither it nor Transfer-Encoding is given. The body is left
        out where HTTP has none: in the answer to a HEAD request, and with status 204 and 304,
        which have no Content-Length either.

        Raises:
            LocalProtocolError: a part of it cannot be put on the wire, or its Content-Length is
                not that of its body. Another response may be sent then.
        """
        if self._h11 is None:
            data = write_upgrade(response) if self._received else None
            if data is not None:
                return data
            self._h11 = _new_server()
            if self._received:
                self._h11.receive_data(self._received)  # it writes the answer to what it has read
        return self._h11.send_response(response)


# Imported where they are needed: most processes never need them.


def _new_client() -> H11Client:
    from .h11_http1 import H11Client

    return H11Client()


def _new_server() -> H11Server:
    from .h11_http1 import H11Server

    return H11Server()
