"""`connect` at a terminal: the prompt, what is typed at it, and what comes above it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

pytest.importorskip("prompt_toolkit", reason="the extra cli is not installed")

from prompt_toolkit.data_structures import Size
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from anyws import ServerConnection
from anyws._cli.notes import Notes
from anyws._cli.program import new_parser
from anyws._cli.prompt import Prompt, open_history
from anyws.testing import connection_pair

from ..raw import LIMIT
from .running import Screen

pytestmark = pytest.mark.anyio

ENTER, CTRL_C, CTRL_D, TAB = "\r", "\x03", "\x04", "\t"


@pytest.fixture
def anyio_backend() -> str:
    """prompt-toolkit is made for asyncio."""
    return "asyncio"


# What the server's end does while the user is at the prompt.
Scene = Callable[[ServerConnection, PipeInput, Screen], Awaitable[None]]


async def talk(scene: Scene, *arguments: str) -> tuple[int, str]:
    """Let a user and a server play a scene; return the exit status and what was on the screen."""
    options = new_parser().parse_args(["connect", "ws://x/", "--no-history", *arguments])
    screen, status = Screen(), []
    output = Vt100_Output(screen, lambda: Size(rows=24, columns=80), term="xterm")
    with anyio.fail_after(LIMIT), create_pipe_input() as keyboard:
        async with connection_pair() as (client, server), anyio.create_task_group() as tasks:
            prompt = Prompt(options, Notes(screen), keyboard, output)

            async def run() -> None:
                status.append(await prompt.talk(client))

            tasks.start_soon(run)
            await screen.shows("\x1b[0m>")
            await scene(server, keyboard, screen)
    return status[0], screen.getvalue()


async def test_line_is_sent_and_the_answer_shown() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text("hello" + ENTER)
        assert await server.receive() == "hello"
        await server.send("and hello to you")
        await screen.shows("< and hello to you\n")
        keyboard.send_text(CTRL_D)
        await server.wait_closed()
        assert server.close_code == 1000

    status, shown = await talk(scene)
    assert status == 0
    assert shown.endswith("closed with 1000 (normal closure)\n")


async def test_line_is_kept_while_messages_arrive() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text("half a")
        await screen.shows("half a")
        for n in range(3):
            await server.send(f"message {n}")
            await screen.shows(f"< message {n}\n")
        keyboard.send_text(" line" + ENTER)
        assert await server.receive() == "half a line"
        keyboard.send_text(CTRL_D)

    _, shown = await talk(scene)
    # It is drawn again below what came.
    assert "half a" in shown.partition("< message 2\n")[2]


async def test_messages_that_come_at_once_are_all_shown() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        for n in range(1000):
            await server.send(f"message {n}")
        await screen.shows("< message 999\n")
        keyboard.send_text(CTRL_D)

    _, shown = await talk(scene)
    lines = [line for line in shown.splitlines() if "< message" in line]
    assert [line.rpartition(" ")[2] for line in lines] == [str(n) for n in range(1000)]


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        ("\x1b[2Jevil\n> hello", "< \\x1b[2Jevil\n  > hello\n"),
        (b"\x00\xff", f"< 2 bytes\n  0000  {'00 ff':23}  {'':23}  ..\n"),
        ('{"a":1}', '< {"a":1}\n'),
    ],
    ids=["escapes", "binary", "json"],
)
async def test_message_is_shown(message: str | bytes, lines: str) -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        await server.send(message)
        await screen.shows(lines)
        keyboard.send_text(CTRL_D)

    assert (await talk(scene))[0] == 0


async def test_json_is_laid_out_if_asked_for() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        await server.send('{"a":1}')
        await screen.shows('< {\n    "a": 1\n  }\n')
        keyboard.send_text(CTRL_D)

    assert (await talk(scene, "--json"))[0] == 0


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/ping", "the Pong came after "),
        ("/ping with data", "the Pong came after "),
        ("/stats", "received 0 messages, 0 bytes; sent 0 messages, "),
        ("/help", "/close [CODE] [REASON]"),
        ("/nothing", "! there is no command /nothing"),
        ("/close 1005", "! close code 1005 may not be sent"),
        (f"/ping {'x' * 126}", "! "),
    ],
)
async def test_command_is_answered(line: str, answer: str) -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text(line + ENTER)
        await screen.shows(answer)
        keyboard.send_text(CTRL_D)

    assert (await talk(scene))[0] == 0


async def test_bytes_and_slashes_can_be_sent() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text("/binary 00ff" + ENTER)
        assert await server.receive() == b"\x00\xff"
        keyboard.send_text("//help" + ENTER)
        assert await server.receive() == "/help"
        keyboard.send_text(ENTER)  # which is no message
        keyboard.send_text("end" + ENTER)
        assert await server.receive() == "end"
        keyboard.send_text(CTRL_D)

    assert (await talk(scene))[0] == 0


async def test_tab_completes_commands() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text("/pi" + TAB)
        await screen.shows("ng")  # which may be drawn by itself
        keyboard.send_text(ENTER)
        await screen.shows("the Pong came after ")
        keyboard.send_text(CTRL_D)

    assert (await talk(scene))[0] == 0


async def test_close_has_code_and_reason() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text("/close 4000 had enough" + ENTER)
        await server.wait_closed()
        assert (server.close_code, server.close_reason) == (4000, "had enough")

    status, shown = await talk(scene)
    assert status == 0
    assert shown.endswith("\x1b[?2004lclosed with 4000 (a code of the application): had enough\n")


async def test_ctrl_c_clears_the_line_and_then_leaves() -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text("never sent" + CTRL_C + "sent" + ENTER)
        assert await server.receive() == "sent"
        keyboard.send_text(CTRL_C)
        await server.wait_closed()
        assert server.close_code == 1000

    status, shown = await talk(scene)
    assert status == 130
    assert shown.endswith("closed with 1000 (normal closure)\n")


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        (1001, 0, "closed by the server with 1001 (going away: the program ends, or the page was"),
        (1011, 1, "error: closed by the server with 1011 (internal error: the program on that"),
    ],
)
async def test_server_can_close_while_a_line_is_typed(code: int, status: int, line: str) -> None:
    async def scene(server: ServerConnection, keyboard: PipeInput, screen: Screen) -> None:
        keyboard.send_text("half a line")
        await screen.shows("half a line")
        await server.close(code)

    seen, shown = await talk(scene)
    assert seen == status
    assert line in shown.splitlines()[-1]


# The history


def test_history_is_kept_where_only_the_user_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    history = open_history()
    assert isinstance(history, FileHistory)
    history.append_string("hello")
    path = tmp_path / "anyws" / "history"
    assert path.read_text(encoding="utf-8").endswith("+hello\n")
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(open_history().load_history_strings()) == ["hello"]


def test_history_is_below_the_home_directory_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    open_history()
    assert (tmp_path / ".local" / "state" / "anyws" / "history").is_file()


def test_history_that_cannot_be_written_is_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert isinstance(open_history(), InMemoryHistory)
