"""The handshake of SOCKS, by python-socks, over a socket that is connected to the proxy.

Owns what python-socks must not do: connecting, looking up names, limiting the time, and closing.
"""

from __future__ import annotations

import socket as stdlib_socket
import sys
from socket import socket as Socket
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import current_token

from ._core.uri import URI
from ._errors import ProxyError, ProxyStep
from ._proxy import Proxy, authority
from ._retry import SOCKS_REPLIES_OF_THE_WAY

if TYPE_CHECKING:
    from python_socks import ProxyError as SocksError
    from python_socks import ProxyType
    from python_socks.async_.asyncio import Proxy as AsyncioProxy
    from python_socks.async_.trio import Proxy as TrioProxy
    from trio.socket import SocketType as TrioSocket

__all__ = ["check_installed", "shake_hands"]

# 10 years: python-socks takes a minute unless it is told how long, and cannot be told for ever. The
# limit is `open_timeout`, which has been set by whoever calls.
_NO_LIMIT = 3e8


def check_installed(proxy: Proxy) -> None:
    """Check that python-socks is there.

    Raises:
        ImportError: it is not.
    """
    try:
        import python_socks  # noqa: F401
    except ImportError as exc:
        raise ImportError(
            f"proxy {proxy} needs python-socks, an extra: in a checkout, pip install '.[socks]'"
        ) from exc


async def shake_hands(sock: Socket, proxy: Proxy, target: URI) -> None:
    """Let the proxy at the other end of `sock` connect to the server.

    Raises:
        ProxyError: it did not, or what it says is not SOCKS.
        OSError: the server's name could not be looked up, which socks4 and socks5 leave to us.

    Cancelling: the socket is of no further use; it may be closed or not.
    """
    import python_socks

    host = target.host
    if proxy.scheme in ("socks4", "socks5"):
        host = await _look_up(proxy, target)
    kind = python_socks.ProxyType.SOCKS5
    if proxy.scheme in ("socks4", "socks4a"):
        kind = python_socks.ProxyType.SOCKS4
    # Names that are left are the proxy's to look up.
    client = _client(sock, kind, *(proxy.user_info or ("", "")))
    where = authority(target.host, target.port)
    try:
        await client.connect(host, target.port, timeout=_NO_LIMIT)
    except python_socks.ProxyError as exc:
        raise _error(proxy, where, exc) from _cause(exc)
    except ValueError as exc:
        # It is for us that a name is too long, and for the proxy that the rest is not valid.
        reason = f"{where} cannot be named to the proxy, or its answer is not valid: {exc}"
        raise ProxyError(str(proxy), "SOCKS", reason) from exc
    except OSError as exc:
        reason = f"the connection broke before the proxy answered: {exc}"
        raise ProxyError(str(proxy), "SOCKS", reason) from exc


async def _look_up(proxy: Proxy, target: URI) -> str:
    """Return an address of the server, the resolver's first choice."""
    family = stdlib_socket.AF_UNSPEC if proxy.scheme == "socks5" else stdlib_socket.AF_INET
    if proxy.scheme == "socks4" and ":" in target.host:
        reason = f"SOCKS4 has no IPv6, which {target.host} is an address of"
        raise ProxyError(str(proxy), "SOCKS", reason)
    found = await anyio.getaddrinfo(
        target.host, target.port, family=family, type=stdlib_socket.SOCK_STREAM
    )
    return found[0][4][0]


def _client(sock: Socket, kind: ProxyType, name: str, password: str) -> AsyncioProxy | TrioProxy:
    """Return the client of python-socks for the running loop, going on from our socket."""
    asyncio = sys.modules.get("asyncio")
    native = current_token().native_token
    front: Any  # it need not be of the type that is declared
    if asyncio is not None and isinstance(native, asyncio.AbstractEventLoop):
        from python_socks.async_.asyncio import Proxy as ForAsyncio

        front = _Connected(sock)
        return ForAsyncio(kind, "", 0, name, password, rdns=True, forward=front)
    import trio
    from python_socks.async_.trio import Proxy as ForTrio

    front = _Connected(trio.socket.from_stdlib_socket(sock))
    return ForTrio(kind, "", 0, name, password, rdns=True, forward=front)


class _Connected:
    """A proxy in front of the proxy, for python-socks: the connection is there already."""

    def __init__(self, sock: Socket | TrioSocket) -> None:
        self._sock = sock

    async def connect(self, dest_host: str, dest_port: int, **_: object) -> Socket | TrioSocket:
        return self._sock


def _error(proxy: Proxy, where: str, exc: SocksError) -> ProxyError:
    """Say in our words what a ProxyError of python-socks means."""
    text = str(exc)
    step: ProxyStep = "SOCKS"
    if exc.error_code is None:
        # Nothing but its text tells this apart.
        if "authentication" in text:
            step = "authentication"
            if proxy.user_info is None:
                text += "; the proxy asks for a user name and a password"
        return ProxyError(str(proxy), step, text)
    code = int(exc.error_code)
    what = "could not reach" if code in SOCKS_REPLIES_OF_THE_WAY else "refuses to connect to"
    return ProxyError(str(proxy), step, f"{text}: the proxy {what} {where}", None, code)


def _cause(exc: SocksError) -> Exception:
    ended = exc.error_code is None and "closed" in str(exc)
    return EOFError("the proxy ended the byte stream") if ended else exc
