"""Which proxy leads to a server: URIs of proxies, and what the environment says.

Owns their grammar, the order of the environment's variables, and the rules of NO_PROXY. It must not
know how one goes through a proxy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ._auth import BasicAuth
from ._core.host import ascii_host
from ._core.uri import URI
from ._errors import InvalidURI, LocalProtocolError

__all__ = ["Proxy", "choose_proxy", "is_bypassed", "is_loopback", "parse_proxy"]

Scheme = Literal["http", "https", "socks4", "socks4a", "socks5", "socks5h"]

_DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}

# What `urllib` calls the variables, the first one counts. Those of the scheme of WebSocket come
# first, as in curl; OS settings have none, and name the proxies for http and https.
_VARIABLES = {False: ("ws", "http", "all"), True: ("wss", "https", "all")}

_HOST_WITH_PORT = re.compile(r"(.*?)(?::([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. As a str it is its URI without user information, for messages.

    Attributes:
        scheme: of its URI.
        host: in ASCII, an IPv6 address without its brackets.
        port: the given one or the scheme's.
        user_info: user name and password, percent-decoded, or None.
    """

    scheme: Scheme
    host: str
    port: int
    user_info: tuple[str, str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{authority(self.host, self.port)}"

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS, and not HTTP."""
        return self.scheme.startswith("socks")


def authority(host: str, port: int) -> str:
    """Return `host:port`, with the brackets that an IPv6 address needs (RFC 3986 §3.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def choose_proxy(proxy: str | None, target: URI) -> Proxy | None:
    """Return the proxy that leads to `target`; None for the direct way.

    Args:
        proxy: its URI, or "env" for what the environment says, or None.
        target: where to.

    Raises:
        InvalidURI: the URI of the proxy cannot be used.
    """
    if proxy is None:
        return None
    return _environment_proxy(target) if proxy == "env" else parse_proxy(proxy)


# URIs


def parse_proxy(uri: str) -> Proxy:
    """Split the URI of a proxy: scheme, host, and maybe a port, a user name and a password.

    Raises:
        InvalidURI: it is none of those, or has more than that, or its user name and password are
            not of the kind that the scheme can carry. The message has neither of them.
    """
    shown = _shown(uri)
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in uri):
        raise InvalidURI(f"proxy {shown} has spaces or control characters")
    try:
        parts = urlsplit(uri)
        port = parts.port
        host = ascii_host(parts.hostname or "")
    except ValueError:
        # Not `from` the cause, whose message may quote a password.
        raise InvalidURI(f"proxy {shown} has a host or a port that is not valid") from None
    if parts.scheme not in _DEFAULT_PORTS or "://" not in uri:
        allowed = ", ".join(_DEFAULT_PORTS)
        raise InvalidURI(f"proxy {shown} has no scheme of a proxy, allowed are {allowed}")
    scheme = cast(Scheme, parts.scheme)  # it is one of the keys
    if not host:
        raise InvalidURI(f"proxy {shown} has no host")
    if port == 0:
        raise InvalidURI(f"proxy {shown} has the port 0")
    if parts.path not in ("", "/") or "?" in uri or "#" in uri:
        raise InvalidURI(f"proxy {shown} has more than a host and a port")
    user_info = None
    if parts.username is not None or parts.password is not None:
        user_info = (unquote(parts.username or ""), unquote(parts.password or ""))
        _check_user_info(shown, scheme, *user_info)
    return Proxy(scheme, host, port or _DEFAULT_PORTS[scheme], user_info)


def _check_user_info(shown: str, scheme: Scheme, name: str, password: str) -> None:
    problem = ""
    if not name:
        problem = "user information without a user name"
    elif scheme in ("http", "https"):
        try:
            BasicAuth(name, password)
        except LocalProtocolError:  # it may quote the name
            problem = "a user name with a colon, or control characters in it or in the password"
    elif scheme in ("socks4", "socks4a"):
        if password:
            problem = "a password, which SOCKS4 does not know"
        elif not name.isascii() or "\0" in name:
            problem = "a user name that is not ASCII"
    elif not all(text.isascii() and 1 <= len(text) <= 255 for text in (name, password)):
        # RFC 1929 §2 has no empty ones; python-socks takes ASCII only.
        problem = "a user name and a password that are not of 1 to 255 ASCII characters each"
    if problem:
        raise InvalidURI(f"proxy {shown} has {problem}")


def _shown(uri: str) -> str:
    """The URI for a message, without its credentials."""
    before, at, after = uri.rpartition("@")
    if not at:
        return repr(uri)
    scheme, separator, _ = before.partition("://")
    return repr(f"{scheme}{separator}***@{after}") if separator else repr(f"***@{after}")


# The environment


def _environment_proxy(target: URI) -> Proxy | None:
    if is_loopback(target.host):
        return None
    # Lower case goes before upper case; HTTP_PROXY is not used in a CGI script, where it is a
    # header of the request. On Windows and macOS without such variables: the system's settings.
    proxies = getproxies()
    uri = next((proxies[name] for name in _VARIABLES[target.secure] if proxies.get(name)), None)
    if uri is None:
        return None
    no_proxy = proxies.get("no")
    if no_proxy is not None:
        if is_bypassed(target.host, target.port, no_proxy):
            return None
    elif proxy_bypass(target.host):  # the system's exceptions
        return None
    return parse_proxy(uri if "://" in uri else f"http://{uri}")


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine: a loopback address, or `localhost` (RFC 6761 §6.3)."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Say whether NO_PROXY names a host.

    Its entries are separated by commas or spaces. `*` is every host. A name stands for itself and
    for all names below it, with or without a dot or `*.` in front. An address stands for itself, a
    network (`10.0.0.0/8`) for its addresses; names are not looked up for that. With `:port` behind
    it, an entry holds for that port alone.
    """
    name = host.lower().removesuffix(".")
    address = _address(host)
    return any(
        _is_named(name, address, port, entry.lower()) for entry in re.split(r"[\s,]+", no_proxy)
    )


def _is_named(name: str, address: IPv4Address | IPv6Address | None, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if address is not None and "/" in entry:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False
    if _address(entry) is None:  # the colons of an IPv6 address are no port's
        match = _HOST_WITH_PORT.fullmatch(entry)
        assert match is not None
        entry, digits = match.groups()
        if digits and digits.lstrip("0") != str(port):
            return False
    if address is not None:
        return address == _address(entry)
    entry = entry.removeprefix("*").removeprefix(".").removesuffix(".")
    return bool(entry) and (name == entry or name.endswith(f".{entry}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return an address, with or without brackets; an IPv4 one in IPv6 is that; None for a name."""
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
