"""Tests of `anyws._io.listen`."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import socket as Socket

import anyio
import pytest

from anyws._io import listen
from anyws._io.listen import Listener, inherited_sockets, listen_tcp, listen_unix
from anyws._io.reactors import new_reactor
from anyws._io.transport import Reactor

from .conformance import settle
from .network import (
    forget_no_scope,
    link_local_address,
    no_more_files,
    open_files,
    resolve_to,
)
from .reactor_conformance import running

pytestmark = pytest.mark.anyio


@contextmanager
def closing(sockets: list[Socket]) -> Iterator[list[Socket]]:
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def can_be_reached(listening: Socket) -> bool:
    with Socket(listening.family) as client:
        return client.connect_ex(listening.getsockname()) == 0


# TCP


async def test_every_interface_is_bound_with_one_port() -> None:
    with closing(await listen_tcp(None, 0, backlog=10, reuse_port=False)) as sockets:
        families = [sock.family for sock in sockets]
        assert sorted(families) == [stdlib_socket.AF_INET, stdlib_socket.AF_INET6]
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(ports) == 1
        assert 0 not in ports
        for sock in sockets:
            assert sock.gettimeout() == 0
            assert can_be_reached(sock)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
async def test_single_address_is_bound(host: str) -> None:
    with closing(await listen_tcp(host, 0, backlog=10, reuse_port=False)) as sockets:
        (sock,) = sockets
        assert sock.getsockname()[0] == host
        assert can_be_reached(sock)


async def test_link_local_address_is_bound_in_its_scope() -> None:
    host = link_local_address()
    forget_no_scope()
    with closing(await listen_tcp(host, 0, backlog=10, reuse_port=False)) as sockets:
        assert can_be_reached(sockets[0])


async def test_given_port_is_bound_again_once_it_is_free() -> None:
    with closing(await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)) as sockets:
        port = sockets[0].getsockname()[1]
        with stdlib_socket.create_connection(("127.0.0.1", port)):
            # Closed from this side, so that the kernel holds the address for a while.
            sockets[0].accept()[0].close()
    with closing(await listen_tcp("127.0.0.1", port, backlog=10, reuse_port=False)) as sockets:
        assert sockets[0].getsockname() == ("127.0.0.1", port)


async def test_port_that_is_taken_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)) as sockets:
        where = sockets[0].getsockname()
        resolve_to(monkeypatch, [("::1", where[1]), where])
        files = open_files()
        with pytest.raises(OSError, match=r"cannot listen on .*: Address already in use") as caught:
            await listen_tcp("localhost", where[1], backlog=10, reuse_port=False)
        assert caught.value.errno == errno.EADDRINUSE
        assert repr(where) in str(caught.value)
        # The address that was free is free again.
        assert open_files() == files


async def test_port_may_be_shared_if_all_want_that() -> None:
    with closing(await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=True)) as sockets:
        port = sockets[0].getsockname()[1]
        with closing(await listen_tcp("127.0.0.1", port, backlog=10, reuse_port=True)) as others:
            assert others[0].getsockname() == sockets[0].getsockname()
        with pytest.raises(OSError, match="Address already in use"):
            await listen_tcp("127.0.0.1", port, backlog=10, reuse_port=False)


async def test_another_port_is_tried_if_that_of_one_family_is_taken_in_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused: list[int] = []

    class Unlucky(Socket):
        """Finds the port taken when it is the second family's turn."""

        def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]  # as used
            if self.family == stdlib_socket.AF_INET6 and len(refused) < 2:
                refused.append(address[1])
                raise OSError(errno.EADDRINUSE, "Address already in use")
            super().bind(address)

    monkeypatch.setattr(listen, "Socket", Unlucky)
    resolve_to(monkeypatch, [("127.0.0.1", 0), ("::1", 0)])
    with closing(await listen_tcp("localhost", 0, backlog=10, reuse_port=False)) as sockets:
        assert len(refused) == 2
        assert len({sock.getsockname()[1] for sock in sockets}) == 1


async def test_ports_are_tried_20_times(monkeypatch: pytest.MonkeyPatch) -> None:
    # The second covers the first, whatever the port.
    resolve_to(monkeypatch, [("127.0.0.1", 0), ("0.0.0.0", 0)])
    files = open_files()
    with pytest.raises(OSError, match="Address already in use"):
        await listen_tcp("localhost", 0, backlog=10, reuse_port=False)
    assert open_files() == files


async def test_family_without_an_address_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, [("2001:db8::1", 0), ("127.0.0.1", 0)])
    with closing(await listen_tcp("localhost", 0, backlog=10, reuse_port=False)) as sockets:
        assert [sock.family for sock in sockets] == [stdlib_socket.AF_INET]


@pytest.mark.parametrize("n", [1, 2])
async def test_host_without_any_address_here_is_an_error(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, [("2001:db8::1", 0), ("2001:db8::2", 0)][:n])
    with pytest.raises(OSError, match="cannot listen on") as caught:
        await listen_tcp("elsewhere", 0, backlog=10, reuse_port=False)
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_python_without_ipv6_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdlib_socket, "has_ipv6", False)
    with closing(await listen_tcp(None, 0, backlog=10, reuse_port=False)) as sockets:
        assert [sock.family for sock in sockets] == [stdlib_socket.AF_INET]


async def test_address_is_not_reused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    # There it would let a second server take the port of the first.
    monkeypatch.setattr(os, "name", "nt")
    with closing(await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)) as sockets:
        option = sockets[0].getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR)
    monkeypatch.undo()
    assert option == 0


# Unix


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_unix_socket_is_bound(kind: Callable[[str], str | bytes | Path], tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with listen_unix(kind(path), mode=None, backlog=10) as sock:
        assert sock.gettimeout() == 0
        assert sock.getsockname() == path
        assert can_be_reached(sock)


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_unix_socket_has_the_permissions_that_are_asked_for(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(path, mode=mode, backlog=10):
        assert path.stat().st_mode & 0o777 == mode


def test_permissions_of_a_unix_socket_are_left_to_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    umask = os.umask(0o027)
    try:
        with listen_unix(path, mode=None, backlog=10):
            assert path.stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(umask)


@pytest.mark.parametrize("kind", [str, os.fsencode])
@pytest.mark.parametrize("mode", [None, 0o600])
def test_abstract_name_is_bound_and_leaves_no_file(
    kind: Callable[[str], str | bytes], mode: int | None, tmp_path: Path
) -> None:
    with listen_unix(kind(f"\0{tmp_path}/socket"), mode=mode, backlog=10) as sock:
        assert can_be_reached(sock)
        assert list(tmp_path.iterdir()) == []


def test_unix_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Socket(stdlib_socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with listen_unix(path, mode=None, backlog=10) as sock:
        assert can_be_reached(sock)


@pytest.mark.parametrize("backlog", [10, 0], ids=["backlog free", "backlog full"])
def test_unix_socket_that_a_server_listens_on_is_left_alone(backlog: int, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(path, mode=None, backlog=backlog) as live, Socket(live.family) as client:
        client.connect(str(path))
        with pytest.raises(OSError, match=r"cannot listen on .*: a server listens there") as caught:
            listen_unix(path, mode=None, backlog=10)
        assert caught.value.errno == errno.EADDRINUSE
        assert path.is_socket()


def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious", encoding="ascii")
    with pytest.raises(OSError, match=r"cannot listen on .*: it is not a socket") as caught:
        listen_unix(path, mode=None, backlog=10)
    assert caught.value.errno == errno.EADDRINUSE
    assert path.read_text(encoding="ascii") == "precious"


def test_unix_socket_in_no_directory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Relative: a path of more than 107 bytes is another error.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        listen_unix("missing/socket", mode=None, backlog=10)


def test_unix_socket_that_cannot_listen_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        listen_unix(tmp_path / "socket", mode=None, backlog=1 << 40)
    assert list(tmp_path.iterdir()) == []


# Inherited sockets


def test_inherited_sockets_are_those_that_systemd_passes(tmp_path: Path) -> None:
    # What systemd does, and a program that then runs in the place of the script.
    script = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:web")

from anyws import inherited_sockets

for sock in inherited_sockets():
    print(sock.fileno(), sock.getsockname(), sock.get_inheritable())
    sock.close()
print([name for name in os.environ if name.startswith("LISTEN_")], inherited_sockets())
"""
    path = str(tmp_path / "socket")
    with (
        stdlib_socket.create_server(("127.0.0.1", 0)) as one,
        Socket(stdlib_socket.AF_UNIX) as other,
    ):
        other.bind(path)
        numbers = one.fileno(), other.fileno()
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, *map(str, numbers)],
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            f"3 {one.getsockname()} False",
            f"4 {path} False",
            "[] []",
        ]


def test_inherited_socket_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with stdlib_socket.create_server(("127.0.0.1", 0)) as sock:
        where = sock.getsockname()
        number = sock.detach()
    monkeypatch.setattr(listen, "_FIRST_INHERITED", number)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    (found,) = inherited_sockets()
    with found:
        assert found.getsockname() == where
        assert can_be_reached(found)
    assert "LISTEN_FDS" not in os.environ


def test_sockets_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert inherited_sockets() == []
    assert "LISTEN_FDS" not in os.environ


def test_nothing_is_inherited_unless_systemd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    assert inherited_sockets() == []


# Accepting


class Door:
    """What a listener has let in.

    Attributes:
        reactor: that of the listener.
        accepted: the connections.
        errors: why accepting has paused.
        then: called after each connection.
    """

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.accepted: list[Socket] = []
        self.errors: list[OSError] = []
        self.then: Callable[[], None] | None = None
        self._news = anyio.Event()

    def accept(self, sock: Socket) -> None:
        self.accepted.append(sock)
        if self.then is not None:
            self.then()
        self._tell()

    def pause(self, exc: OSError) -> None:
        self.errors.append(exc)
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._news.wait()


@asynccontextmanager
async def opened(sock: Socket) -> AsyncIterator[tuple[Listener, Door]]:
    """Give a listener on a socket."""
    async with running(new_reactor()) as reactor:
        door = Door(reactor)
        listener = Listener(reactor, sock, door.accept, door.pause)
        try:
            yield listener, door
        finally:
            listener.close()
            for accepted in door.accepted:
                accepted.close()


@contextmanager
def clients(n: int, where: object) -> Iterator[list[Socket]]:
    """Give connections to an address."""
    family = stdlib_socket.AF_INET if isinstance(where, tuple) else stdlib_socket.AF_UNIX
    with closing([Socket(family) for _ in range(n)]) as sockets:
        for sock in sockets:
            sock.connect(where)  # type: ignore[arg-type]  # of the family's form
        yield sockets


async def test_connections_are_accepted_until_the_listener_is_closed() -> None:
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=200, reuse_port=False)
    where = sock.getsockname()
    async with opened(sock) as (listener, door):
        # More than are accepted in one turn.
        with clients(100, where):
            await door.until(lambda: len(door.accepted) == 100)
        listener.close()
        listener.close()
        assert sock.fileno() == -1
        with pytest.raises(ConnectionRefusedError), clients(1, where):
            pass
        await settle()
    assert len(door.accepted) == 100
    assert door.errors == []


async def test_socket_that_is_bound_only_is_made_to_listen() -> None:
    sock = Socket(stdlib_socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    async with opened(sock) as (_, door):
        with clients(1, sock.getsockname()):
            await door.until(lambda: len(door.accepted) == 1)


async def test_file_of_a_unix_socket_is_removed_on_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sock = listen_unix("socket", mode=None, backlog=10)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    async with opened(sock) as (_, door):
        with clients(1, str(tmp_path / "socket")):
            await door.until(lambda: len(door.accepted) == 1)
        assert (tmp_path / "socket").exists()
    assert not (tmp_path / "socket").exists()


async def test_file_of_a_unix_socket_may_be_gone_already(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with opened(listen_unix(path, mode=None, backlog=10)):
        path.unlink()


async def test_file_of_a_unix_socket_is_left_to_the_server_that_has_replaced_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "socket"
    async with opened(listen_unix(path, mode=None, backlog=10)) as (listener, _):
        path.unlink()
        with listen_unix(path, mode=None, backlog=10) as other:
            listener.close()
            assert path.is_socket()
            assert can_be_reached(other)


async def test_file_of_a_unix_socket_that_was_bound_elsewhere_is_left(tmp_path: Path) -> None:
    # By systemd, which goes on listening, or for several processes.
    path = tmp_path / "socket"
    sock = Socket(stdlib_socket.AF_UNIX)
    sock.bind(str(path))
    async with opened(sock):
        pass
    assert path.is_socket()


async def test_abstract_name_is_free_again_after_closing(tmp_path: Path) -> None:
    name = f"\0{tmp_path}"
    for _ in range(2):
        async with opened(listen_unix(name, mode=None, backlog=10)) as (_, door):
            with clients(1, name):
                await door.until(lambda: len(door.accepted) == 1)  # awaited here


async def test_want_of_files_pauses_accepting_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_PAUSE_AFTER_FAILURE", 0.001)
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (_, door):
        with clients(3, sock.getsockname()):
            with no_more_files():
                await door.until(lambda: len(door.errors) == 2)
            assert {exc.errno for exc in door.errors} == {errno.EMFILE}
            assert door.accepted == []
            await door.until(lambda: len(door.accepted) == 3)


async def test_listener_may_be_closed_while_it_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_PAUSE_AFTER_FAILURE", 0.001)
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (listener, door):
        with clients(1, sock.getsockname()):
            with no_more_files():
                await door.until(lambda: len(door.errors) == 1)
            listener.close()
            # A timer that is due after that of the pause.
            past_the_pause = anyio.Event()
            door.reactor.call_later(0.005, past_the_pause.set)
            await past_the_pause.wait()
    assert door.accepted == []
    assert len(door.errors) == 1


async def test_listener_that_fails_by_itself_pauses_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_PAUSE_AFTER_FAILURE", 0.001)
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (_, door):
        sock.shutdown(stdlib_socket.SHUT_RD)
        await door.until(lambda: len(door.errors) == 2)
        sock.listen(10)
        with clients(1, sock.getsockname()):
            await door.until(lambda: len(door.accepted) == 1)
    assert {exc.errno for exc in door.errors} == {errno.EINVAL}


async def test_listener_that_is_paused_stays_so_when_it_would_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "_PAUSE_AFTER_FAILURE", 0.001)
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (listener, door):
        with clients(1, sock.getsockname()):
            with no_more_files():
                await door.until(lambda: len(door.errors) == 1)
                listener.pause()
            # A timer that is due after that of the pause.
            past_the_pause = anyio.Event()
            door.reactor.call_later(0.005, past_the_pause.set)
            await past_the_pause.wait()
            await settle()
            assert door.accepted == []
            listener.resume()
            await door.until(lambda: len(door.accepted) == 1)


async def test_listener_may_be_resumed_before_it_would_try_again() -> None:
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (listener, door):
        with clients(1, sock.getsockname()):
            with no_more_files():
                await door.until(lambda: len(door.errors) == 1)
            listener.resume()
            await settle()
            assert len(door.accepted) == 1


class Aborted(Socket):
    """A listening socket whose first connection is gone before it is accepted."""

    left = 1

    def accept(self) -> tuple[Socket, object]:
        sock, address = super().accept()
        if self.left:
            self.left -= 1
            sock.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        return sock, address


async def test_connection_that_is_gone_does_not_stop_the_listener() -> None:
    sock = Aborted(stdlib_socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    async with opened(sock) as (_, door):
        with clients(2, sock.getsockname()):
            await door.until(lambda: len(door.accepted) == 1)
    assert door.errors == []


async def test_paused_listener_leaves_connections_to_the_kernel() -> None:
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (listener, door):
        listener.pause()
        listener.pause()
        with clients(2, sock.getsockname()):
            await settle()
            assert door.accepted == []
            listener.resume()
            listener.resume()
            await door.until(lambda: len(door.accepted) == 2)
            listener.close()
            listener.resume()


async def test_listener_may_be_paused_by_one_that_it_accepts() -> None:
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (listener, door):
        door.then = listener.pause
        with clients(3, sock.getsockname()):
            await door.until(lambda: len(door.accepted) == 1)
            await settle()
            assert len(door.accepted) == 1
            listener.resume()
            await door.until(lambda: len(door.accepted) == 2)


async def test_rest_of_the_queue_can_be_accepted_before_closing() -> None:
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (listener, door):
        with clients(3, sock.getsockname()):
            listener.accept_rest()
            listener.close()
            assert len(door.accepted) == 3


async def test_rest_of_the_queue_may_be_longer_than_a_turn_and_the_listener_paused() -> None:
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=100, reuse_port=False)
    async with opened(sock) as (listener, door):
        listener.pause()
        with clients(100, sock.getsockname()):
            listener.accept_rest()
            assert len(door.accepted) == 100


async def test_want_of_files_ends_accepting_the_rest_of_the_queue() -> None:
    (sock,) = await listen_tcp("127.0.0.1", 0, backlog=10, reuse_port=False)
    async with opened(sock) as (listener, door):
        with clients(3, sock.getsockname()):
            with no_more_files():
                listener.accept_rest()
            assert (len(door.accepted), len(door.errors)) == (0, 1)
