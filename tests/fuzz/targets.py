"""What a fuzzer calls: targets that take any bytes, of which only what is documented may come.

The first bytes of an input choose settings, how the rest is cut, and the like; the rest is what
comes from a peer or an application. `python -m tests.fuzz.guided` looks for inputs that reach new
code, and `tests/fuzz/corpus` keeps those that did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .field_targets import challenge, cookies, host, request, response, retry, uri
from .frame_targets import (
    calls,
    extensions,
    frames,
    inflate,
    read_bytes_script,
    read_calls_script,
)

__all__ = ["SCRIPTS", "TARGETS", "Target"]


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
    b"x",
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
