"""Just enough of HTTP for the opening handshake of a raw peer (RFC 6455 §4).

Shares no code with the implementation in `anyws`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

__all__ = ["END_OF_HEAD", "UPGRADE", "Head", "check_request", "check_response", "parse_head"]

END_OF_HEAD = b"\r\n\r\n"

#: A request that opens a connection; the key is that of RFC 6455 §1.3.
UPGRADE = (
    b"GET / HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)

# What answers that key, from the same section.
_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Head:
    """The head of a request or a response, and the body of a response.

    Attributes:
        first_line: without the line end.
        headers: names in lower case; several values of one name are joined by commas.
        body: of a response, if `RawPeer.read_response` has read it.
    """

    first_line: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def status(self) -> int:
        """The status code of a response."""
        return int(self.first_line.split()[1])

    @property
    def accept(self) -> str:
        """The value of Sec-WebSocket-Accept that answers this request (RFC 6455 §4.2.2)."""
        key = self.headers["sec-websocket-key"]
        return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()

    def switch(self, *fields: str) -> bytes:
        """Return the response that accepts this request, with more header fields.

        Args:
            fields: whole lines, "Server: test" for instance.
        """
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept}",
            *fields,
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def parse_head(raw: bytes) -> Head:
    """Take a head apart, the empty line at its end included."""
    first_line, *lines = raw.decode("iso-8859-1")[: -len(END_OF_HEAD)].split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        before = headers.get(name.lower())
        headers[name.lower()] = f"{before}, {value.strip()}" if before else value.strip()
    return Head(first_line, headers)


def check_request(request: Head) -> None:
    """Check what RFC 6455 §4.1 wants of a client.

    Raises:
        AssertionError: it does not; the message has all of the head.
    """
    headers = request.headers
    method, _, rest = request.first_line.partition(" ")
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except binascii.Error:
        key = b""
    if (
        method != "GET"
        or not rest.endswith(" HTTP/1.1")
        or "host" not in headers
        or headers.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in _tokens(headers.get("connection", ""))
        or headers.get("sec-websocket-version") != "13"
        or len(key) != 16
    ):
        raise AssertionError(f"expected a request that opens a connection (§4.1), got {request}")


def check_response(response: Head) -> None:
    """Check what RFC 6455 §4.2.2 wants of a server whose client has sent `UPGRADE`.

    Raises:
        AssertionError: it does not; the message has all of the head.
    """
    headers = response.headers
    if (
        response.status != 101
        or headers.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in _tokens(headers.get("connection", ""))
        or headers.get("sec-websocket-accept") != _ACCEPT
    ):
        raise AssertionError(f"expected a response that accepts (§4.2.2), got {response}")


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]
