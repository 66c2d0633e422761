"""Tests of `anyws._io.dial`."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket as Socket

import anyio
import pytest

from anyws._io.dial import dial_tcp, dial_unix

from .conformance import STUCK, settle
from .network import (
    black_hole,
    forget_no_scope,
    full,
    link_local_address,
    open_files,
    refusing,
    resolve_to,
    tcp_server,
)

pytestmark = pytest.mark.anyio

# Seconds between attempts that no test waits for.
NEVER = 3600.0


@contextmanager
def accepted(sock: Socket, listening: Socket) -> Iterator[Socket]:
    """Give the other end of a connection, once it is clear that it is one."""
    with sock:
        assert sock.gettimeout() == 0
        peer, _ = listening.accept()
        with peer:
            sock.send(b"hello")
            assert peer.recv(5) == b"hello"
            yield peer


# TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_single_address_is_connected_to(host: str) -> None:
    with tcp_server(host) as listening:
        port = listening.getsockname()[1]
        with accepted(await dial_tcp(host, port), listening) as peer:
            assert peer.getpeername()[0] == host


async def test_link_local_address_is_connected_to_in_its_scope() -> None:
    host = link_local_address()
    forget_no_scope()
    where = stdlib_socket.getaddrinfo(host, 0, type=stdlib_socket.SOCK_STREAM)[0][4]
    with Socket(stdlib_socket.AF_INET6) as listening:
        listening.bind(where)
        listening.listen()
        port = listening.getsockname()[1]
        with accepted(await dial_tcp(host, port, local_host=host), listening) as peer:
            assert peer.getpeername() == (where[0], peer.getpeername()[1], *where[2:])


async def test_refusal_of_a_single_address_is_raised_as_it_is() -> None:
    with refusing() as (host, port):
        with pytest.raises(ConnectionRefusedError, match="cannot connect to") as caught:
            await dial_tcp(host, port)
        assert caught.value.__cause__ is None


async def test_name_that_is_not_found_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    with pytest.raises(stdlib_socket.gaierror, match="no such name"):
        await dial_tcp("example.org", 80)


async def test_next_address_is_tried_at_once_when_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with refusing("::1") as dead, tcp_server() as listening:
        resolve_to(monkeypatch, [dead, listening.getsockname()])
        with anyio.fail_after(STUCK):
            sock = await dial_tcp("example.org", 80, happy_eyeballs_delay=NEVER)
        with accepted(sock, listening):
            pass


async def test_next_address_is_tried_beside_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with black_hole() as silent, tcp_server("::1") as listening:
        resolve_to(monkeypatch, [silent, listening.getsockname()[:2]])
        files = open_files()
        with anyio.fail_after(STUCK):
            sock = await dial_tcp("example.org", 80, happy_eyeballs_delay=0.01)
        # The attempt that lost has closed its socket.
        assert open_files() == files + 1
        with accepted(sock, listening):
            pass


async def test_first_address_may_still_win_after_the_next_was_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tcp_server() as listening, black_hole("::1") as silent:
        gate = _Gate(monkeypatch, held=1, until=2)
        resolve_to(monkeypatch, [listening.getsockname(), silent])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.open)
            sock = await dial_tcp("example.org", 80, happy_eyeballs_delay=0)
        with accepted(sock, listening):
            pass


async def test_addresses_are_tried_by_turns_of_their_family_and_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # RFC 8305 §4.
    with (
        refusing("::1") as six,
        refusing("::1") as six_too,
        refusing("127.0.0.1") as four,
        refusing("127.0.0.2") as four_too,
        refusing("127.0.0.3") as four_also,
    ):
        resolve_to(monkeypatch, [six, six, six_too, four, four_too, six, four_also])
        with pytest.raises(ConnectionRefusedError) as caught:
            await dial_tcp("example.org", 80, happy_eyeballs_delay=NEVER)
    message = str(caught.value)
    order = [message.index(repr(where)) for where in (six, four, six_too, four_too, four_also)]
    assert order == sorted(order)
    assert "all 5 addresses of example.org port 80 failed" in message


async def test_refusal_by_all_addresses_is_one_error_of_their_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with refusing("::1") as one, refusing() as other:
        resolve_to(monkeypatch, [one, other])
        with pytest.raises(ConnectionRefusedError) as caught:
            await dial_tcp("example.org", 80)
    assert caught.value.errno == errno.ECONNREFUSED
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    assert [type(exc) for exc in group.exceptions] == [ConnectionRefusedError] * 2


async def test_failures_of_several_kinds_are_one_error_of_no_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with refusing("::1") as one, refusing() as other:
        # There is no address of the one's family to connect from.
        resolve_to(monkeypatch, [one, other], here=[("127.0.0.1", 0)])
        with pytest.raises(OSError, match="no local address of the family") as caught:
            await dial_tcp("example.org", 80, local_host="here")
    assert type(caught.value) is OSError
    assert caught.value.errno is None
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_local_host_is_where_the_connection_comes_from() -> None:
    with tcp_server() as listening:
        port = listening.getsockname()[1]
        sock = await dial_tcp("127.0.0.1", port, local_host="127.0.0.2")
        with accepted(sock, listening) as peer:
            assert peer.getpeername()[0] == "127.0.0.2"


async def test_local_host_of_another_family_is_an_error() -> None:
    with pytest.raises(OSError, match="no local address of the family") as caught:
        await dial_tcp("127.0.0.1", 1, local_host="::1")
    assert caught.value.errno == errno.EAFNOSUPPORT


async def test_cancelling_closes_the_sockets_of_all_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with black_hole() as one, black_hole("::1") as other, black_hole("127.0.0.2") as third:
        resolve_to(monkeypatch, [one, other, third])
        files = open_files()
        with anyio.fail_after(STUCK):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_dial, "example.org")
                while open_files() < files + 3:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        assert open_files() == files


async def test_cancelling_a_single_attempt_closes_its_socket() -> None:
    with black_hole() as (host, port):
        with anyio.move_on_after(0.001) as scope:
            await dial_tcp(host, port)
        assert scope.cancelled_caught


async def test_second_of_two_that_win_in_one_turn_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tcp_server() as one, tcp_server() as other:
        gate = _Gate(monkeypatch, held=2, until=2)
        resolve_to(monkeypatch, [one.getsockname(), other.getsockname()])
        files = open_files()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.open)
            sock = await dial_tcp("example.org", 80, happy_eyeballs_delay=0)
        assert open_files() == files + 1
        sock.close()


async def test_winner_is_closed_if_the_dialling_is_cancelled_in_the_same_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tcp_server() as one, tcp_server() as other:
        gate = _Gate(monkeypatch, held=1, until=1)
        resolve_to(monkeypatch, [one.getsockname(), other.getsockname()])
        files = open_files()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.open, tasks.cancel_scope.cancel)
            await dial_tcp("example.org", 80, happy_eyeballs_delay=NEVER)
        assert open_files() == files


class _Gate:
    """Holds the first attempts back, until so many have begun, and then lets them go on at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, held: int, until: int) -> None:
        self._held = held
        self._until = until
        self._begun = 0
        self._opened = anyio.Event()
        self._wait_writable = anyio.wait_writable
        monkeypatch.setattr(anyio, "wait_writable", self._wait)

    async def _wait(self, sock: Socket) -> None:
        self._begun += 1
        if self._begun > self._held:
            await self._wait_writable(sock)
        else:
            await self._opened.wait()

    async def open(self, action: Callable[[], None] = lambda: None) -> None:
        while self._begun < self._until:
            await anyio.lowlevel.checkpoint()
        self._opened.set()
        action()


async def _dial(host: str) -> None:
    await dial_tcp(host, 80, happy_eyeballs_delay=0)


# Unix


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
async def test_unix_socket_is_connected_to(
    kind: Callable[[str], str | bytes | Path], tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    with Socket(stdlib_socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with accepted(await dial_unix(kind(path)), listening):
            pass


@pytest.mark.parametrize("kind", [str, os.fsencode])
async def test_abstract_unix_socket_is_connected_to(
    kind: Callable[[str], str | bytes], tmp_path: Path
) -> None:
    name = f"\0{tmp_path}"
    with Socket(stdlib_socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen()
        with accepted(await dial_unix(kind(name)), listening):
            pass


async def test_unix_socket_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with pytest.raises(FileNotFoundError, match=r"cannot connect to .*/socket'"):
        await dial_unix(path)


async def test_unix_socket_that_nobody_listens_on_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Socket(stdlib_socket.AF_UNIX) as bound:
        bound.bind(path)
    with pytest.raises(ConnectionRefusedError, match=r"cannot connect to .*/socket'"):
        await dial_unix(path)


async def test_unix_socket_whose_backlog_is_full_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Socket(stdlib_socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        connected: list[Socket] = []

        async def dial() -> None:
            connected.append(await dial_unix(path))

        with full(listening), anyio.fail_after(STUCK):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(dial)
                await settle()
                assert connected == []
                listening.setblocking(False)
                while not connected:
                    try:
                        listening.accept()[0].close()
                    except BlockingIOError:
                        await anyio.lowlevel.checkpoint()
        connected[0].close()


async def test_cancelling_the_wait_for_a_backlog_closes_the_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Socket(stdlib_socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        with full(listening):
            with anyio.move_on_after(0.001) as scope:
                await dial_unix(path)
            assert scope.cancelled_caught
