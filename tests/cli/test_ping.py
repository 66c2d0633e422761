"""`ping`: lines like those of ping(8)."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from anyws import Server
from anyws._cli.program import main
from anyws.testing import RawPeer, close_frame

from .. import support
from .running import BACKENDS, finish, running

FIGURE = r"\d+\.\d\d"


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_ping_has_a_line_and_all_have_a_summary(
    capsys: pytest.CaptureFixture[str], server: Server, backend: str
) -> None:
    arguments = ["--count", "3", "--interval", "0.001", "--backend", backend]
    assert main(["ping", server.uri, *arguments]) == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"PING {re.escape(server.uri)}: open after [\d.]+ ms", first)
    assert len(lines) == 3
    for n, line in enumerate(lines, 1):
        assert re.fullmatch(f"pong {n}: {FIGURE} ms", line)
    figures = f"{FIGURE} / {FIGURE} / {FIGURE}"
    assert re.fullmatch(f"3 Pings, 3 answered; min / median / max {figures} ms", last)


def test_server_that_closes_is_told(capsys: pytest.CaptureFixture[str], server: Server) -> None:
    assert main(["ping", f"{server.uri}bye", "--interval", "100"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "closed by the server with 4001 (a code of the application): go\\x1b[2J away" in lines


@pytest.fixture
def mute() -> Iterator[str]:
    """The URI of a server that answers no Ping."""

    async def serve_one(listener: socket.socket) -> None:
        async with await support.accept(listener) as stream:
            peer = RawPeer(stream, is_client=False)
            await peer.accept()
            await peer.receive_to_close()
            await peer.send(close_frame(1000))

    with support.listen() as listener, start_blocking_portal() as portal:
        task = portal.start_task_soon(serve_one, listener)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        task.result()


def test_ping_without_an_answer_is_told(capsys: pytest.CaptureFixture[str], mute: str) -> None:
    # So long for the opening handshake too.
    assert main(["ping", mute, "--count", "1", "--timeout", "0.5"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "pong 1: none within 0.5 s",
        "1 Ping, 0 answered, 1 not",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_ends_it_with_the_summary(server: Server) -> None:
    with running("ping", server.uri, "--interval", "1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("PING ")
        assert process.stdout.readline().startswith("pong 1: ")
        process.send_signal(signal.SIGINT)
        status, out, err = finish(process)
    assert (status, err) == (0, "")
    assert out.startswith("1 Ping, 1 answered; min / median / max ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_before_the_first_answer_has_its_exit_status(mute: str) -> None:
    with running("ping", mute, "--timeout", "1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("PING ")
        process.send_signal(signal.SIGINT)
        assert finish(process) == (130, "", "")
