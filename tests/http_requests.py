"""HTTP requests as bytes: opening handshakes with something changed, and others."""

from __future__ import annotations

__all__ = ["PLAIN_GET", "request"]


def request(first_line: str = "GET / HTTP/1.1", **fields: str | None) -> bytes:
    """Return an opening handshake with some header fields replaced, or left out if None."""
    usual: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    changed = usual | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in changed.items() if value is not None]
    return ("\r\n".join([first_line, *lines]) + "\r\n\r\n").encode()


PLAIN_GET = request(
    Upgrade=None, Connection=None, Sec_WebSocket_Key=None, Sec_WebSocket_Version=None
)
