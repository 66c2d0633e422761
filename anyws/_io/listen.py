"""Listening sockets: TCP on every family with one port, Unix sockets, inherited ones.

Owns binding and accepting. It must not know what is done with a connection.
"""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import stat
from collections.abc import Callable, Sequence
from socket import socket as Socket

import anyio

from .addresses import socket_address
from .transport import Reactor

__all__ = ["Listener", "inherited_sockets", "listen_tcp", "listen_unix"]

# Port 0 of several families: the kernel picks for the first, and another may have taken that port
# in the second. 20 tries: the odds of one collision are below 1 in 10.
_PORT_TRIES = 20

# Accepted in one turn of the loop, so that a crowd at the door does not starve those inside.
_ACCEPTED_A_TURN = 64

# What one queue holds: net.core.somaxconn of Linux as it comes. Those who come faster than they are
# accepted shall not keep it from ending.
_HELD_AT_MOST = 4096

# Out of files or memory, as a rule: accepting again at once would spin.
_PAUSE_AFTER_FAILURE = 0.25

# That connection is gone already, or never could come: the next one may be fine. accept(2) has the
# list. Not every system has every one.
_GONE = frozenset(
    getattr(errno, name, None)
    for name in (
        *("ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "ETIMEDOUT"),
        *("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET", "ENOPROTOOPT"),
        "EOPNOTSUPP",
    )
)

_FIRST_INHERITED = 3  # systemd's SD_LISTEN_FDS_START


async def listen_tcp(
    host: str | None, port: int, *, backlog: int, reuse_port: bool
) -> list[Socket]:
    """Bind one socket to each address of `host`, all with one port; None is every interface.

    Raises:
        OSError: an address cannot be bound; none is left bound then.
    """
    addresses = await anyio.getaddrinfo(
        host,
        port,
        type=stdlib_socket.SOCK_STREAM,
        flags=stdlib_socket.AI_PASSIVE,
    )
    # A family that the system resolves but does not have is no reason to fail.
    wanted = [
        (family, address)
        for family, _, _, _, address in dict.fromkeys(addresses)
        if family != stdlib_socket.AF_INET6 or stdlib_socket.has_ipv6
    ]
    for attempt in range(_PORT_TRIES):
        try:
            return _bind_all(wanted, port, backlog, reuse_port)
        except OSError as exc:
            collided = port == 0 and exc.errno == errno.EADDRINUSE
            if not collided or attempt == _PORT_TRIES - 1:
                raise
    raise AssertionError  # pragma: no cover


def _bind_all(
    wanted: Sequence[tuple[int, tuple[str, int]]],
    port: int,
    backlog: int,
    reuse_port: bool,
) -> list[Socket]:
    sockets: list[Socket] = []
    skipped: OSError | None = None
    try:
        for family, address in wanted:
            where = socket_address((address[0], port))
            try:
                sockets.append(_bind(family, where, backlog=backlog, reuse_port=reuse_port))
            except OSError as exc:
                if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or len(wanted) == 1:
                    raise
                skipped = exc  # a family without an address on this machine
                continue
            port = port or sockets[0].getsockname()[1]
        if not sockets and skipped is not None:
            raise skipped
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(family: int, address: tuple[str | int, ...], *, backlog: int, reuse_port: bool) -> Socket:
    sock = Socket(family, stdlib_socket.SOCK_STREAM)
    try:
        if os.name != "nt":
            # On Windows the option would let a second server steal the port.
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEPORT, 1)
        if family == stdlib_socket.AF_INET6:
            sock.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        try:
            sock.bind(address)
        except OSError as exc:
            raise OSError(exc.errno, f"cannot listen on {address!r}: {exc.strerror}") from exc
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: str | bytes | os.PathLike[str], *, mode: int | None, backlog: int) -> Socket:
    """Bind a Unix socket; a path that begins with a NUL is an abstract name (Linux).

    A socket that is there already is removed if nobody listens on it. `mode` sets the permissions
    of the file; None leaves them to the umask.

    Raises:
        OSError: the path is taken, by a server or by a file of another kind, or cannot be bound.
    """
    name = os.fspath(path)
    abstract = name[:1] in ("\0", b"\0")
    if not abstract:
        _remove_stale(name)
    sock = _UnixSocket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(name)
        if not abstract:
            sock.take_file(name)
            if mode is not None:
                os.chmod(name, mode)
        sock.listen(backlog)
    except BaseException:
        sock.remove_file()
        sock.close()
        raise
    return sock


class _UnixSocket(Socket):
    """A Unix socket that was bound here, and so knows the file that it made."""

    _file: tuple[str | bytes, os.stat_result] | None = None

    def take_file(self, path: str | bytes) -> None:
        """Take note of the file, and which one it is: another server may replace it."""
        # Absolute, lest the working directory change.
        self._file = os.path.abspath(path), os.lstat(path)

    def remove_file(self) -> None:
        """Remove the file, if there is one and it is still the same."""
        if self._file is None:
            return
        path, made = self._file
        try:
            if os.path.samestat(os.lstat(path), made):
                os.unlink(path)
        except FileNotFoundError:
            pass


def _remove_stale(path: str | bytes) -> None:
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EADDRINUSE, f"cannot listen on {path!r}: it is not a socket")
    with Socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result != errno.ECONNREFUSED:
        raise OSError(errno.EADDRINUSE, f"cannot listen on {path!r}: a server listens there")
    os.unlink(path)


def inherited_sockets() -> list[Socket]:
    """Return the listening sockets that systemd passed to this process (LISTEN_FDS), if any.

    Takes the variables out of the environment, so that no child process takes them for its own.
    """
    pid = os.environ.pop("LISTEN_PID", None)
    count = os.environ.pop("LISTEN_FDS", None)
    os.environ.pop("LISTEN_FDNAMES", None)
    if count is None or pid != str(os.getpid()):
        return []
    found = []
    for fd in range(_FIRST_INHERITED, _FIRST_INHERITED + int(count)):
        os.set_inheritable(fd, False)
        found.append(Socket(fileno=fd))
    return found


class Listener:
    """Accepts connections on one listening socket, which it owns.

    Args:
        reactor: that of the server.
        sock: bound; made to listen if it does not.
        accepted: called with each connection's socket; may not block or raise.
        failed: called with the error when accepting fails, for want of files or memory as a rule,
            and pauses for a moment.
    """

    def __init__(
        self,
        reactor: Reactor,
        sock: Socket,
        accepted: Callable[[Socket], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self.sock = sock
        self._reactor = reactor
        self._accepted = accepted
        self._failed = failed
        self._listening = True
        self._watching = False
        self._paused = False
        sock.setblocking(False)
        if not sock.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN):
            sock.listen()
        self.resume()

    def pause(self) -> None:
        """Accept no more until `resume`; the kernel holds those who come. Idempotent."""
        self._paused = True
        self._stop_watching()

    def resume(self) -> None:
        """Accept again, unless it is closed. Idempotent."""
        self._paused = False
        if self._listening and not self._watching:
            self._watching = True
            self._reactor.add_reader(self.sock, self._accept)

    def _stop_watching(self) -> None:
        if self._watching:
            self._watching = False
            self._reactor.remove_reader(self.sock)

    def accept_rest(self) -> None:
        """Accept now those whom the kernel holds, paused or not: closing would reset them."""
        for _ in range(_HELD_AT_MOST):
            if not self._accept_next():
                return

    def close(self) -> None:
        """Accept no more, and close the socket. Idempotent.

        The file of a Unix socket is removed if `listen_unix` made it. Others are not ours: systemd
        keeps listening on its own, and several processes may share one.
        """
        if not self._listening:
            return
        self._listening = False
        self.pause()
        if isinstance(self.sock, _UnixSocket):
            self.sock.remove_file()
        self.sock.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_A_TURN):
            if not (self._watching and self._accept_next()):
                return

    def _accept_next(self) -> bool:
        """Accept one; say whether there may be another one."""
        try:
            sock, _ = self.sock.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            if exc.errno in _GONE:
                return True
            self._stop_watching()
            self._reactor.call_later(_PAUSE_AFTER_FAILURE, self._try_again)
            self._failed(exc)
            return False
        self._accepted(sock)
        return True

    def _try_again(self) -> None:
        """Accept again after a failure, unless it has been paused since."""
        if not self._paused:
            self.resume()
