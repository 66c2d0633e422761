"""The way through a proxy: to a transport behind which the server is (RFC 9110 §9.3.6).

Owns the steps, TLS with the proxy and CONNECT among them, and what is said when one fails. SOCKS is
in `_socks.py`; which proxy it is, `_proxy.py` knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from socket import socket as Socket
from ssl import SSLContext

from ._auth import BasicAuth
from ._core.h11_http1 import H11Client, is_success
from ._core.headers import Headers, Request, Response
from ._core.uri import URI
from ._errors import InvalidHandshake, ProxyError, ProxyStep
from ._io.pull import PullReceiver
from ._io.socket_transport import SocketTransport
from ._io.tls import TLSTransport
from ._io.transport import Reactor, Receiver, Transport
from ._proxy import Proxy, authority, choose_proxy
from ._socks import check_installed, shake_hands

__all__ = ["Tunnel", "find_tunnel"]


# RFC 9110 §15.5.8; tinyproxy answers to a wrong password with 401, which is a server's.
_UNAUTHENTICATED = frozenset({401, 407})


def find_tunnel(
    proxy: str | None,
    target: URI,
    dial: Callable[[str, int], Awaitable[Socket]],
    *,
    is_elsewhere: bool,
    ssl: SSLContext | None,
    default_ssl: Callable[[], SSLContext],
    user_agent: str | None,
) -> Tunnel | None:
    """Return the way to `target` that the arguments of `connect` ask for; None for the direct one.

    Args:
        proxy: its URI, or "env", or None.
        target: where to.
        dial: connects a socket to a host and a port.
        is_elsewhere: whether a Unix socket or a stream leads to the server, and so no proxy can.
        ssl: for an https proxy.
        default_ssl: gives the one that is used if there is none.
        user_agent: what the proxy may know.

    Raises:
        InvalidURI: the URI of the proxy cannot be used.
        ValueError: what is given does not go together.
        ImportError: python-socks is not installed.
    """
    if is_elsewhere:
        if proxy not in (None, "env"):
            raise ValueError("proxy and path exclude each other, and so do proxy and stream")
        return None
    chosen = choose_proxy(proxy, target)
    if ssl is not None and proxy != "env" and (chosen is None or chosen.scheme != "https"):
        raise ValueError(f"proxy_ssl is for https proxies, not for {chosen}")
    if chosen is None:
        return None
    if chosen.is_socks:
        check_installed(chosen)
    return Tunnel(chosen, target, dial, ssl=ssl or default_ssl, user_agent=user_agent)


class Tunnel:
    """A way through a proxy to one server, to be opened once.

    Args:
        proxy: which one.
        target: the server's URI.
        dial: connects a socket to a host and a port.
        ssl: for a proxy with TLS; a function that gives the context is called if there is need.
        user_agent: what the proxy may know; None sends none.

    Attributes:
        proxy: the same.
        step: what is being done, for a timeout; empty once it is open.
    """

    def __init__(
        self,
        proxy: Proxy,
        target: URI,
        dial: Callable[[str, int], Awaitable[Socket]],
        *,
        ssl: SSLContext | Callable[[], SSLContext],
        user_agent: str | None,
    ) -> None:
        self.proxy: Proxy = proxy
        self.step: str = ""
        self._target = target
        self._dial = dial
        self._ssl = ssl
        self._user_agent = user_agent

    async def open(self, reactor: Reactor) -> tuple[Transport, Callable[[Receiver], None]]:
        """Go through the proxy.

        Returns:
            The transport, and the function that makes something its receiver: it is started
            already, where the proxy speaks HTTP.

        Raises:
            ProxyError: a step failed.
            OSError: the server's name could not be looked up, where this side has to.

        Cancelling: the socket is closed.
        """
        self.step = f"connecting to proxy {self.proxy}"
        try:
            sock = await self._dial(self.proxy.host, self.proxy.port)
        except OSError as exc:
            raise self._error("connecting to the proxy", str(exc)) from exc
        opened = await (self._open_socks if self.proxy.is_socks else self._open_http)(sock, reactor)
        self.step = ""
        return opened

    async def _open_socks(
        self, sock: Socket, reactor: Reactor
    ) -> tuple[Transport, Callable[[Receiver], None]]:
        self.step = f"SOCKS through proxy {self.proxy}"
        try:
            await shake_hands(sock, self.proxy, self._target)
        except BaseException:
            sock.close()
            raise
        transport = SocketTransport(reactor, sock)
        return transport, transport.start

    async def _open_http(
        self, sock: Socket, reactor: Reactor
    ) -> tuple[Transport, Callable[[Receiver], None]]:
        transport: Transport = SocketTransport(reactor, sock)
        try:
            if self.proxy.scheme == "https":
                transport = await self._start_tls(transport)
            puller = PullReceiver(transport)
            transport.start(puller)
            unused = await self._connect(transport, puller)
        except BaseException:
            transport.abort()
            raise
        return transport, partial(puller.hand_over, unused=unused)

    async def _start_tls(self, transport: Transport) -> Transport:
        self.step = f"the TLS handshake with proxy {self.proxy}"
        context = self._ssl() if callable(self._ssl) else self._ssl
        tls = TLSTransport(transport, context, self.proxy.host)
        try:
            await tls.handshake()
        except OSError as exc:  # an SSLError, or the end of the connection
            raise self._error("the TLS handshake with the proxy", str(exc)) from exc
        return tls

    async def _connect(self, transport: Transport, puller: PullReceiver) -> bytes:
        """Ask for a tunnel; return what came behind the answer, which is the server's."""
        self.step = f"CONNECT through proxy {self.proxy}"
        http = H11Client("the proxy")
        transport.write(http.send_request(self._request()))
        response: Response | None = None
        while response is None:
            try:
                data = await puller.receive()
            except OSError as exc:
                reason = f"the connection broke before the proxy answered: {exc}"
                raise self._error("CONNECT", reason) from exc
            try:
                response = http.receive_data(data)
            except InvalidHandshake as exc:
                # It may have been restarted: `reconnect` tries again after an early end.
                early = exc if data else EOFError("the proxy ended the byte stream")
                raise self._error("CONNECT", str(exc)) from early
        if not is_success(response.status_code):
            # What broke off may have been meant otherwise, and is worth another attempt too.
            cause = EOFError("the proxy ended the byte stream") if http.is_cut else None
            raise self._refusal(response) from cause
        return http.trailing_data()

    def _request(self) -> Request:
        where = authority(self._target.host, self._target.port)
        headers = Headers({"Host": where})
        if self._user_agent is not None:
            headers.add("User-Agent", self._user_agent)
        if self.proxy.user_info is not None:
            basic = BasicAuth(*self.proxy.user_info)
            headers.add("Proxy-Authorization", basic.header_value())
        return Request(where, headers, method="CONNECT")

    def _refusal(self, response: Response) -> ProxyError:
        where = authority(self._target.host, self._target.port)
        status = f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
        if response.status_code in _UNAUTHENTICATED:
            if self.proxy.user_info is None:
                reason = f"{status}: the proxy asks for a user name and a password"
            else:
                reason = f"{status}: the proxy does not take this user name and password"
            return self._error("authentication", reason, response)
        if response.status_code >= 500:  # 502, 503 or 504; tinyproxy has 500
            reason = f"{status}: the proxy could not reach {where}"
        else:
            reason = f"{status}: the proxy refuses to connect to {where}"
        return self._error("CONNECT", reason, response)

    def _error(self, step: ProxyStep, reason: str, response: Response | None = None) -> ProxyError:
        return ProxyError(str(self.proxy), step, reason, response)
