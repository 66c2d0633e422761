"""`connect` in a pipe: lines are messages, and messages are lines."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence

import anyio
import pytest
from anyio.abc import ObjectReceiveStream
from anyio.lowlevel import checkpoint

from anyws import Server
from anyws._cli.notes import Notes
from anyws._cli.pipe import Pipe, read_lines
from anyws._cli.program import new_parser
from anyws._cli.running import FAILED, OK, Failure
from anyws.testing import connection_pair

from ..raw import LIMIT
from ..scripted import virtual_time
from .running import run

# The input


class Input:
    """A pipe to write to; what is read is at the other end."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def write(self, data: bytes) -> None:
        os.write(self._writer, data)

    def end(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1


@pytest.fixture
def stdin() -> Iterator[Input]:
    pipe = Input()
    yield pipe
    pipe.end()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\r\n\r\ntwo", [b"one", b"", b"two"]),
        (b"\n", [b""]),
        (b"", []),
        (b"x" * 100_000, [b"x" * 100_000]),
    ],
    ids=["ends", "windows", "empty line", "nothing", "long"],
)
async def test_lines_are_read(stdin: Input, data: bytes, expected: list[bytes]) -> None:
    def write() -> None:
        stdin.write(data)
        stdin.end()

    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks, read_lines(stdin.reader) as lines:
            tasks.start_soon(anyio.to_thread.run_sync, write)
            assert [line async for line in lines] == expected
    os.close(stdin.reader)


@pytest.mark.anyio
async def test_reading_can_be_left_while_nothing_comes(stdin: Input) -> None:
    # The thread is left behind, and its file with it.
    async with read_lines(stdin.reader) as lines:
        stdin.write(b"one\n")
        assert await anext(lines) == b"one"
        with anyio.move_on_after(0) as scope:
            await anext(lines)
        assert scope.cancelled_caught


# Conversations


def new_pipe(
    notes: io.StringIO, lines: Sequence[bytes] | None, *arguments: str, quiet: bool = False
) -> Pipe:
    """Return a conversation with such an input, or one in which nothing comes if None."""
    send, receive = anyio.create_memory_object_stream[bytes](100)
    for line in lines or ():
        send.send_nowait(line)
    if lines is not None:
        send.close()
    options = new_parser().parse_args(["connect", "ws://x/", *arguments])
    return Pipe(options, Notes(notes, quiet=quiet), _Holding(receive, send))


class _Holding:
    """A stream of lines with what keeps it open."""

    def __init__(
        self, receive: ObjectReceiveStream[bytes], send: anyio.abc.ObjectSendStream[bytes]
    ) -> None:
        self._receive = receive
        self._send = send

    async def __aenter__(self) -> ObjectReceiveStream[bytes]:
        return self._receive

    async def __aexit__(self, *_: object) -> None:
        await self._send.aclose()
        await self._receive.aclose()


@virtual_time
async def test_input_is_sent_and_silence_ends_it() -> None:
    notes = io.StringIO()
    async with connection_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(new_pipe(notes, [b"one", "zwölf".encode()], "--wait", "7").talk, client)
        assert await server.receive() == "one"
        assert await server.receive() == "zwölf"
        at = anyio.current_time()
        await anyio.sleep(6)
        await server.send("an answer")
        await server.wait_closed()
        assert anyio.current_time() == at + 13
        assert server.close_code == 1000
    assert notes.getvalue() == "closed with 1000 (normal closure)\n"


@virtual_time
async def test_wait_for_ever_ends_with_the_server() -> None:
    notes = io.StringIO()
    pair = connection_pair(ping_interval=None)
    async with pair as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(new_pipe(notes, [], "--wait", "inf").talk, client)
        await anyio.sleep(80_000)
        await server.close(1001)
    assert notes.getvalue().startswith("closed by the server with 1001 (going away")


@pytest.mark.anyio
async def test_what_comes_before_the_close_of_the_server_is_written(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    async with connection_pair() as (client, server), anyio.create_task_group() as tasks:
        await server.send("early")
        tasks.start_soon(new_pipe(io.StringIO(), [b"hello"], "--wait", "0").talk, client)
        assert await server.receive() == "hello"
        await server.wait_closed()
    assert capsysbinary.readouterr().out == b"early\n"


@pytest.mark.anyio
async def test_count_ends_it(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    async with connection_pair() as (client, server):
        for n in range(3):
            await server.send(f"message {n}")
        assert await new_pipe(io.StringIO(), None, "--count", "2").talk(client) == OK
    assert capsysbinary.readouterr().out == b"message 0\nmessage 1\n"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "message", "written"),
    [
        ([], "zwölf\x1b[m", "zwölf\x1b[m\n".encode()),
        ([], "two\nlines", b"two\nlines\n"),
        ([], b"\x00\xff", b"0x00ff\n"),
        ([], '{"a":1}', b'{"a":1}\n'),
        (["--json"], '{"a":1}', b'{\n  "a": 1\n}\n'),
        (["--json"], "no JSON", b"no JSON\n"),
        (["--raw"], "text", b"text"),
        (["--raw"], b"\x00\xff", b"\x00\xff"),
    ],
)
async def test_message_is_written(
    capsysbinary: pytest.CaptureFixture[bytes],
    arguments: list[str],
    message: str | bytes,
    written: bytes,
) -> None:
    async with connection_pair() as (client, server):
        await server.send(message)
        await new_pipe(io.StringIO(), None, "--count", "1", *arguments).talk(client)
    assert capsysbinary.readouterr().out == written


@pytest.mark.anyio
@pytest.mark.parametrize("arguments", [[], ["--raw"]])
async def test_terminal_gets_nothing_that_it_may_obey(
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    async with connection_pair() as (client, server):
        await server.send("\x1b[2Jzwölf")
        await new_pipe(io.StringIO(), None, "--count", "1", *arguments).talk(client)
    assert capsysbinary.readouterr().out == "\\x1b[2Jzwölf\n".encode()


@pytest.mark.anyio
async def test_lines_can_be_binary() -> None:
    async with connection_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(new_pipe(io.StringIO(), [b"\xff"], "--binary", "--wait", "0").talk, client)
        assert await server.receive() == b"\xff"


@pytest.mark.anyio
async def test_line_that_is_no_text_is_named() -> None:
    async with connection_pair() as (client, server), anyio.create_task_group() as tasks:

        async def check() -> None:
            assert await server.receive() == "text"
            await server.wait_closed()

        tasks.start_soon(check)
        with pytest.raises(Failure, match=r"^line 2 of the input is not UTF-8\nhint: --binary"):
            await new_pipe(io.StringIO(), [b"text", b"\xff"]).talk(client)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "status", "note"),
    [
        (1001, 0, "closed by the server with 1001 (going away"),
        (4000, 1, "error: closed by the server with 4000 (a code of the application): enough"),
    ],
)
async def test_end_by_the_server_is_told(code: int, status: int, note: str) -> None:
    notes = io.StringIO()
    async with connection_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(server.close, code, "enough")
        assert await new_pipe(notes, None).talk(client) == status
    assert notes.getvalue().startswith(note)


@pytest.mark.anyio
async def test_line_after_the_end_is_no_error() -> None:
    notes = io.StringIO()
    async with connection_pair() as (client, server):
        await server.close(1000)
        while client.state.value == "open":
            await checkpoint()
        assert await new_pipe(notes, [b"late"]).talk(client) == OK
    assert notes.getvalue() == "closed by the server with 1000 (normal closure)\n"


@pytest.mark.anyio
async def test_quiet_tells_of_errors() -> None:
    notes = io.StringIO()
    async with connection_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(server.close, 1011)
        assert await new_pipe(notes, None, quiet=True).talk(client) == FAILED
    assert notes.getvalue().startswith("error: closed by the server with 1011 ")


@pytest.mark.anyio
async def test_quiet_says_nothing_of_a_normal_end() -> None:
    notes = io.StringIO()
    async with connection_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(server.close)
        assert await new_pipe(notes, None, quiet=True).talk(client) == OK
    assert notes.getvalue() == ""


# In a process of its own


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_lines_come_back_from_a_server_that_echoes(server: Server, backend: str) -> None:
    done = run(
        "connect", server.uri, "--backend", backend, "--count", "3", stdin="one\n\nzwölf".encode()
    )
    assert (done.returncode, done.stdout) == (0, "one\n\nzwölf\n".encode())
    assert done.stderr.decode() == f"connected to {server.uri}\n"
