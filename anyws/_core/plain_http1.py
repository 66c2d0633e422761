"""The straight path of the opening handshake: messages that are as plain as most of them are.

Owns two regular expressions over whole heads, by which they are read and checked when written.
What these accept, h11 accepts too and says the same of it, at twenty times the cost; the tests hold
the two equal. What they do not accept is left to h11: all that is incomplete, unusual or wrong.
"""

from __future__ import annotations

import re

from .headers import Headers, Request, Response

__all__ = ["MAX_HEAD", "read_request", "read_upgrade", "write_request", "write_upgrade"]

#: 16 KiB of first line and header fields together: as much as h11 and most servers take.
MAX_HEAD = 16 * 1024

# RFC 9110 §5.6.2 and §5.5, without tabs and obsolete characters. Nor with fields that say how long
# a body is (RFC 9112 §6): there is none, and what they may say is a matter of its own.
_FIELDS = (
    rb"((?:(?!(?i:content-length|transfer-encoding):)[-!#$%&'*+.^_`|~0-9A-Za-z]+:[ -~]*\r\n)*)\r\n"
)

_REQUEST = re.compile(rb"GET ([!-~]+) HTTP/1\.1\r\n" + _FIELDS)
_UPGRADE = re.compile(rb"HTTP/1\.1 101 ([ -~]*)\r\n" + _FIELDS)


def read_request(data: bytes) -> tuple[Request, int] | None:
    """Read a plain request for an upgrade to WebSocket; return it and the length of its head."""
    match = _REQUEST.match(data, 0, MAX_HEAD)
    if match is None:
        return None
    target, lines = match.groups()
    found = b"\n" + lines.lower()
    # RFC 9112 §3.2: exactly one Host. RFC 9110 §7.8: without Upgrade, 101 is no answer.
    if found.count(b"\nhost:") != 1 or b"\nupgrade: websocket\r\n" not in found:
        return None
    return Request(target.decode("ascii"), Headers.from_lines(lines)), match.end()


def read_upgrade(data: bytes) -> tuple[Response, int] | None:
    """Read a plain response with status 101; return it and its length."""
    match = _UPGRADE.match(data, 0, MAX_HEAD)
    if match is None:
        return None
    reason, lines = match.groups()
    response = Response(101, Headers.from_lines(lines), reason_phrase=reason.decode("ascii"))
    return response, match.end()


def write_request(request: Request) -> bytes | None:
    """Return the bytes of a request, if they are one that `read_request` reads, and reads so."""
    lines = request.headers.to_lines()
    if request.method != "GET" or not request.path.isascii():
        return None
    if not lines.lower().startswith(b"host:"):
        return None  # RFC 9112 §3.2: Host comes first, and h11 sees to that
    data = b"GET %s HTTP/1.1\r\n%s\r\n" % (request.path.encode("ascii"), lines)
    found = read_request(data)
    # Fields have been checked; a path might be taken for some.
    is_plain = found is not None and found[0].path == request.path and found[1] == len(data)
    return data if is_plain else None


def write_upgrade(response: Response) -> bytes | None:
    """Return the bytes of a response, if they are one that `read_upgrade` reads, and reads so."""
    if response.status_code != 101 or not response.reason_phrase.isascii():
        return None
    reason = response.reason_phrase.encode("ascii")
    data = b"HTTP/1.1 101 %s\r\n%s\r\n" % (reason, response.headers.to_lines())
    match = _UPGRADE.fullmatch(data, 0, MAX_HEAD)
    return data if match is not None and match.group(1) == reason else None
