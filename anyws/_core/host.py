"""A host with a port, as Host and Origin name it (RFC 9110 §7.2, RFC 3986 §3.2).

Owns their grammar and the form in which two of them are compared. It must not know which are
allowed, nor how one is reached.
"""

from __future__ import annotations

import re

__all__ = ["ascii_host", "is_host", "split_host"]

# RFC 3986 §3.2.2: an IPv6 address in brackets, or a name, which an IPv4 address is too. Versions of
# addresses that are yet to come ("[v7.x]") nobody has. No two parts can match the same character.
_HOST_AND_PORT = re.compile(
    r"(\[[0-9A-Fa-f:.]{2,45}\]|(?:[-.0-9A-Za-z_~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]*))?"
)


def is_host(value: str) -> bool:
    """Say whether `value` can be that of a Host header (RFC 9110 §7.2).

    An empty one cannot: it stands for a URI without a host, which those of WebSocket have
    (RFC 9110 §4.2.1).
    """
    return split_host(value) is not None


def split_host(text: str) -> tuple[str, int | None] | None:
    """Split `host` or `host:port`, in time linear in its length; None if it is neither.

    Returns:
        The host in lower case, an IPv6 address in brackets and in its shortest form; and the port,
        0 to 65535, None where it is missing or empty (RFC 3986 §3.2.3). A dot at the end stays:
        browsers tell `host.` from `host`.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        return None
    host, digits = match.groups()
    port = None
    if digits:
        digits = digits.lstrip("0") or "0"
        # A number of thousands of digits would take its time, or be an error.
        port = int(digits) if len(digits) <= 5 else 1 << 16
        if port > 65535:
            return None
    if not host.startswith("["):
        return host.lower(), port
    from ipaddress import IPv6Address  # for the few that need it

    try:
        return f"[{IPv6Address(host[1:-1])}]", port
    except ValueError:
        return None


def ascii_host(host: str) -> str:
    """Bring an international host name to ASCII (IDNA 2008); leave others as they are.

    Raises:
        ValueError: it is no domain name.
    """
    if host.isascii():
        return host
    import idna  # with its tables, which few need

    return idna.encode(host, uts46=True).decode("ascii")
