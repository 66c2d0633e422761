"""`bench`: figures of a server that echoes."""

from __future__ import annotations

import io
import re
import signal
import sys

import anyio
import pytest
from anyio import to_thread

from anyws import Server, ServerConnection, serve
from anyws._cli.bench import percentile
from anyws._cli.program import main

from .running import BACKENDS, finish, running

QUICK = ("--seconds", "0.05", "--connections", "2")


@pytest.mark.parametrize("backend", BACKENDS)
def test_figures_are_printed(
    capsys: pytest.CaptureFixture[str], server: Server, backend: str
) -> None:
    assert main(["bench", server.uri, *QUICK, "--size", "5000", "--backend", backend]) == 0
    out, err = capsys.readouterr()
    title, trips, rate, latency = out.splitlines()
    assert title == (
        f"{server.uri}: 2 connections, messages of 5,000 bytes, "
        f"{re.search(r'[0-9.]+ s', title)[0]} on {backend}"  # type: ignore[index]
    )
    assert re.fullmatch(r"  round trips  [\d,]+", trips)
    assert re.fullmatch(
        r"  per second   [\d,]+, which is [\d,]+ messages and [\d,.]+ MB both ways", rate
    )
    names = ["min", "median", "90 %", "99 %", "99.9 %", "max"]
    assert [part.rpartition(" ")[0] for part in latency[15:].split(", ")] == names
    assert err == ""


def test_message_larger_than_what_is_received_by_default_comes_back(server: Server) -> None:
    assert main(["bench", server.uri, *QUICK, "--size", "1000000", "--max-size", "10"]) == 0


def test_server_of_its_own_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *QUICK]) == 0
    assert capsys.readouterr().out.startswith("ws://127.0.0.1:")


def test_server_that_does_not_echo_is_told(
    capsys: pytest.CaptureFixture[str], server: Server
) -> None:
    assert main(["bench", f"{server.uri}other", *QUICK]) == 1
    assert capsys.readouterr() == (
        "",
        "error: what came back is not what was sent: is it a server that echoes?\n",
    )


def test_server_that_says_nothing_is_told(
    capsys: pytest.CaptureFixture[str], server: Server
) -> None:
    assert main(["bench", f"{server.uri}silent", *QUICK, "--timeout", "0.5"]) == 1
    assert capsys.readouterr() == (
        "",
        "error: messages did not come back within 0.5 s: is it a server that echoes?\n",
    )


def test_server_that_closes_is_told(capsys: pytest.CaptureFixture[str], server: Server) -> None:
    assert main(["bench", f"{server.uri}bye", *QUICK]) == 1
    assert "closed by the server with 4001" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_at_a_terminal(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the extra cli is not installed")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["bench", server.uri, "--seconds", "0.3", "--connections", "2"]) == 0
    shown = screen.getvalue()
    assert "2 of 2 connections" in shown
    assert re.search(r"[\d,]+ round trips/s", shown)
    screen.truncate(0)
    assert main(["bench", server.uri, *QUICK, "--quiet"]) == 0
    assert screen.getvalue() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the program is in another process
async def test_ctrl_c_prints_what_there_is() -> None:
    has_begun = anyio.Event()

    async def echo(ws: ServerConnection) -> None:
        async for message in ws:
            await ws.send(message)
            if ws.stats.received_messages > 1:
                has_begun.set()

    async with serve(echo, "127.0.0.1", 0) as own:
        with running("bench", own.uri, "--seconds", "1000", "--connections", "1") as process:
            await has_begun.wait()
            process.send_signal(signal.SIGINT)
            status, out, err = await to_thread.run_sync(finish, process)
    assert (status, err) == (130, "")
    assert out.startswith(f"{own.uri}: 1 connection, messages of 32 bytes, ")


@pytest.mark.parametrize(
    ("share", "figure"), [(0, 1), (0.5, 2), (0.51, 3), (0.75, 3), (0.99, 4), (1, 4)]
)
def test_percentile_is_a_figure_that_was_measured(share: float, figure: float) -> None:
    assert percentile([1, 2, 3, 4], share) == figure
