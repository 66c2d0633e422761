"""`serve` in one process: handlers, the log, and the end."""

from __future__ import annotations

import logging
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import trustme
from anyio import to_thread

from anyws import ConnectionClosedError, HandshakeRejected, connect
from anyws._cli.program import main, new_parser
from anyws._cli.running import Failure
from anyws._cli.server_log import LOGGER, set_up_log
from anyws._cli.serving import load_handler, serve_until

from ..raw import LIMIT
from .running import finish, running

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

HANDLERS = """
from anyws import Router

async def shout(ws):
    async for message in ws:
        await ws.send(message.upper())

async def fail(ws):
    raise RuntimeError("out of order")

async def stay(ws):
    import anyio
    with anyio.CancelScope() as scope:
        await anyio.sleep_forever()

router = Router()
router.route("/loud")(shout)
value = 5
"""


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with handlers, below the current directory."""
    (tmp_path / "some_handlers.py").write_text(HANDLERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield "some_handlers"
    sys.modules.pop("some_handlers", None)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What has been logged."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    output = Lines()
    LOGGER.addHandler(output)
    level = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    yield lines
    LOGGER.setLevel(level)
    LOGGER.removeHandler(output)


class Serving:
    """A server of the command line, in a task of the test."""

    def __init__(self, *arguments: str) -> None:
        self.options = new_parser().parse_args(["serve", "--port", "0", *arguments])
        self._send, self.stops = anyio.create_memory_object_stream[int](10)
        self.uri = ""
        self._listens = anyio.Event()
        self.ended = anyio.Event()

    async def run(self) -> None:
        with self._send, self.stops:
            await serve_until(self.options, self._started, self.stops)
        self.ended.set()

    def _started(self, uri: str) -> None:
        self.uri = uri
        self._listens.set()

    async def listens(self) -> str:
        with anyio.fail_after(LIMIT):
            await self._listens.wait()
        return self.uri

    async def stop(self, code: int = 1001) -> None:
        await self._send.send(code)


# One server


@pytest.mark.anyio
async def test_echo_sends_everything_back_and_logs_a_line(log: list[str]) -> None:
    serving = Serving("--echo", "--host", "127.0.0.1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run)
        async with connect(f"{await serving.listens()}a?secret=b") as ws:
            for message in ("text", b"bytes"):
                await ws.send(message)
                assert await ws.receive() == message
        await serving.stop()
    (line,) = log
    assert line.startswith("127.0.0.1:")
    assert " /a: 1000 after " in line
    assert line.endswith(" s, received 2, sent 2")


@pytest.mark.anyio
@pytest.mark.parametrize("code", [1001, 1012, signal.SIGINT])
async def test_stop_closes_connections(log: list[str], code: int) -> None:
    serving = Serving("--echo")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run)
        async with connect(await serving.listens()) as ws:
            await ws.send("hello")
            await ws.receive()
            await serving.stop(code)
            await ws.wait_closed()
            assert ws.close_code == (code if code > 1000 else 1001)
    assert log[0] == "closing what is open: 1; Ctrl+C again to hurry"
    assert len(log) == 2


@pytest.mark.anyio
async def test_second_stop_does_not_wait_for_handlers(handlers: str, log: list[str]) -> None:
    serving = Serving("--handler", f"{handlers}:stay")
    with anyio.fail_after(LIMIT / 2):  # less than the grace of a shutdown
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serving.run)
            async with connect(await serving.listens()) as ws:
                await serving.stop()
                await ws.wait_closed()
                await serving.stop()
                await serving.ended.wait()
    assert log[-1].endswith(" s, received 0, sent 0")


@pytest.mark.anyio
async def test_error_of_a_handler_is_logged(
    handlers: str, log: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    serving = Serving("--handler", f"{handlers}:fail")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run)
        async with connect(await serving.listens()) as ws:
            with pytest.raises(ConnectionClosedError, match="1011"):
                await ws.receive()
        await serving.stop()
    assert " /: 1011 after " in log[0]
    assert "RuntimeError: out of order" in caplog.text


@pytest.mark.anyio
async def test_router_is_a_handler_and_refusals_are_logged(handlers: str, log: list[str]) -> None:
    serving = Serving("--handler", f"{handlers}:router")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run)
        uri = await serving.listens()
        async with connect(f"{uri}loud") as ws:
            await ws.send("hello")
            assert await ws.receive() == "HELLO"
        with pytest.raises(HandshakeRejected, match="404"):
            async with connect(f"{uri}elsewhere"):
                pass
        await serving.stop()
    assert " /loud: 1000 after " in log[0]
    assert log[1].endswith(" /elsewhere: HTTP 404 Not Found")


@pytest.mark.anyio
async def test_options_are_those_of_the_library() -> None:
    arguments = ["--compression", "--subprotocol", "chat", "--max-size", "5"]
    arguments += ["--origins", "https://one.example", "https://two.example"]
    serving = Serving("--echo", *arguments)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run)
        uri = await serving.listens()
        options = {"compression": "deflate", "subprotocols": ["other", "chat"]}
        async with connect(uri, origin="https://two.example", **options) as ws:  # type: ignore[arg-type]
            assert ws.subprotocol == "chat"
            assert [extension.name for extension in ws.extensions] == ["permessage-deflate"]
            await ws.send("123456")
            with pytest.raises(ConnectionClosedError, match="1009"):
                await ws.receive()
        with pytest.raises(HandshakeRejected, match="403"):
            async with connect(uri, origin="https://three.example"):
                pass
        await serving.stop()


@pytest.mark.anyio
async def test_certificate_makes_it_secure(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1", "::1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = ["--certfile", str(tmp_path / "cert.pem"), "--keyfile", str(tmp_path / "key.pem")]
    serving = Serving("--echo", *files)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run)
        uri = await serving.listens()
        assert uri.startswith("wss://")
        async with connect(uri, ssl=context) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        await serving.stop()


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix sockets")
async def test_unix_socket_is_listened_on(tmp_path: Path, log: list[str]) -> None:
    path = str(tmp_path / "socket")
    serving = Serving("--echo", "--unix-socket", path)
    serving.options.port = 8765  # the default, which does not count then
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run)
        assert await serving.listens() == path
        async with connect("ws://localhost/", path=path) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        await serving.stop()
    assert log[0].startswith("a Unix socket /: 1000 after ")


# What cannot be served


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["serve", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err.removeprefix("error: ").rstrip()


def test_port_in_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for more in ([], ["--workers", "2"]) if sys.platform != "win32" else ([],):
            told = error_of(capsys, "--echo", "--host", "127.0.0.1", "--port", port, *more)
            assert told == (
                f"port {port} of 127.0.0.1 is in use already\nhint: --port 0 picks a free one"
            )


def test_address_that_is_not_ours_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    # TEST-NET-1, RFC 5737.
    told = error_of(capsys, "--echo", "--host", "192.0.2.1", "--port", "0")
    assert told.startswith("port 0 of 192.0.2.1 cannot be listened on: ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shout", "--handler shout is not MODULE:FUNCTION"),
        (":shout", "--handler :shout is not MODULE:FUNCTION"),
        ("no_such_module:shout", "there is no module no_such_module to be found from here"),
        ("some_handlers.sub:shout", "there is no module some_handlers.sub to be found from here"),
        ("some_handlers:whisper", "module some_handlers has no whisper"),
        ("some_handlers:value", "some_handlers:value is 5, expected an async function"),
    ],
)
def test_handler_that_is_none_is_told(
    capsys: pytest.CaptureFixture[str], handlers: str, name: str, told: str
) -> None:
    assert error_of(capsys, "--handler", name) == told


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = (\n", "SyntaxError: '(' was never closed"),
        ("\n1 / 0\n", ", line 2, in <module>\n    1 / 0\n"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_module_that_fails_is_shown_from_its_first_line_on(
    handlers: str, tmp_path: Path, source: str, told: str
) -> None:
    (tmp_path / "broken_handlers.py").write_text(source)
    options = new_parser().parse_args(["serve", "--handler", "broken_handlers:f"])
    with pytest.raises(Failure) as raised:
        load_handler(options)
    text = str(raised.value)
    assert text.startswith("module broken_handlers cannot be imported\n")
    assert told in text
    assert "importlib" not in text
    assert "serving.py" not in text


def test_member_of_a_member_is_a_handler(handlers: str) -> None:
    options = new_parser().parse_args(["serve", "--handler", f"{handlers}:router.__call__"])
    assert callable(load_handler(options))


def test_quiet_logs_no_connections() -> None:
    set_up_log(new_parser().parse_args(["serve", "--echo", "--quiet"]))
    assert not LOGGER.isEnabledFor(logging.INFO)
    assert LOGGER.isEnabledFor(logging.WARNING)


# In a process of its own


@needs_signals
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the program is in another process
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_program_serves_until_a_signal(backend: str, handlers: str, tmp_path: Path) -> None:
    number = signal.SIGTERM if backend == "trio" else signal.SIGINT
    arguments = ["serve", "--handler", f"{handlers}:shout", "--port", "0", "--backend", backend]
    with running(*arguments, cwd=tmp_path) as process:
        assert process.stdout is not None
        line = await to_thread.run_sync(process.stdout.readline)
        async with connect(line.removeprefix("serving on ").strip()) as ws:
            await ws.send("hello")
            assert await ws.receive() == "HELLO"
            process.send_signal(number)
            await ws.wait_closed()
            assert ws.close_code == 1001
        status, out, err = await to_thread.run_sync(finish, process)
    assert (status, out) == (0, "")
    assert len(err.splitlines()) == 2
