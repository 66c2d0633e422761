"""The program as a whole: help, exit statuses, and errors that people can read."""

from __future__ import annotations

import importlib.util
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec

import pytest
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from anyws import Request, Response, Server, ServerConnection, serve
from anyws._cli.program import main

from ..serving import echo
from .running import TIMEOUT, finish, running

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def refuse(ws: ServerConnection, request: Request) -> Response | None:
    """Refuse as the path says, or not."""
    answers = {
        "/missing": (404, "no such page\x1b[2J\nsecond line", {}),
        "/moved": (302, "", {"Location": "ws://localhost/elsewhere"}),
        "/secret": (401, "who are you?", {"WWW-Authenticate": "Basic"}),
        "/forbidden": (403, "", {}),
        "/gone": (502, "", {}),
        "/page": (500, "<html>", {"Content-Type": "text/html"}),
    }
    answer = answers.get(request.path)
    return None if answer is None else ws.respond(*answer)


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """The URI of a server that refuses, without the path."""
    with start_blocking_portal() as portal:
        serving = serve(echo, "127.0.0.1", 0, process_request=refuse)
        with portal.wrap_async_context_manager(serving) as running_server:
            yield running_server.uri.rstrip("/")


@pytest.fixture(scope="module")
def secure(server_ssl: ssl.SSLContext) -> Iterator[Server]:
    """A server of wss, whose certificate nobody knows."""
    with start_blocking_portal() as portal:
        serving = serve(echo, "127.0.0.1", 0, ssl=server_ssl)
        with portal.wrap_async_context_manager(serving) as running_server:
            yield running_server


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> list[str]:
    """Run a command that fails, and return the lines of its error."""
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    lines = err.removeprefix("error: ").splitlines()
    assert len(lines) <= 2
    return lines


# Help


def test_without_a_command_the_whole_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    for word in ("connect", "serve", "ping", "bench", "exit status", "print what is installed"):
        assert word in err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("anyws-structured ")


@pytest.mark.parametrize("command", ["connect", "serve", "ping", "bench"])
def test_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main([command, "--help"])
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m anyws {command} ")


# What the command line cannot be


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        (["connect", "ws://x/", "--nothing"], "anyws connect: error: unrecognized arguments: --no"),
        (["--nothing"], "anyws: error: unrecognized arguments: --nothing"),
        (["connect"], "the following arguments are required: URI"),
        (["connect", "ws://x/", "--header", "one"], "argument --header: 'one' is not NAME:VALUE"),
        (["connect", "ws://x/", "--header", ":one"], "argument --header: ':one' is not NAME:VALUE"),
        (["connect", "ws://x/", "--timeout", "0"], "argument --timeout: 0 is not above 0 seconds"),
        (["connect", "ws://x/", "--wait", "nan"], "argument --wait: nan is not at least 0 seconds"),
        (["connect", "ws://x/", "--count", "0"], "argument --count: 0 is not at least 1"),
        (["connect", "ws://x/", "--insecure"], "--cacert, --insecure and --certfile are for wss"),
        (["connect", "wss://x/", "--insecure", "--cacert", "x"], "exclude each other"),
        (["connect", "wss://x/", "--keyfile", "x"], "--keyfile goes with --certfile"),
        (["serve"], "one of the arguments --echo --handler is required"),
        (["serve", "--echo", "--handler", "a:b"], "not allowed with argument --echo"),
        (["serve", "--echo", "--port", "65536"], "65536 is not a port, 0 to 65535"),
        (["serve", "--echo", "--keyfile", "x"], "--keyfile goes with --certfile"),
        (["serve", "--echo", "--reload", "--unix-socket", "x"], "share a TCP port"),
    ],
)
def test_usage_is_an_error_of_few_lines(
    capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert problem in err
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("uri", "lines"),
    [
        (
            "localhost:8765",
            [
                "'localhost:8765' has the scheme 'localhost', allowed are ws and wss",
                "hint: try ws://localhost:8765",
            ],
        ),
        (
            "https://example.com/a",
            [
                "'https://example.com/a' has the scheme 'https', allowed are ws and wss",
                "hint: try wss://example.com/a",
            ],
        ),
        ("ws://", ["'ws://' has no host"]),
        ("ws://a b/", ["'ws://a b/' has spaces or control characters"]),
        ("ws://localhost:99999/", None),
    ],
)
def test_wrong_uri_is_a_matter_of_usage(
    capsys: pytest.CaptureFixture[str], uri: str, lines: list[str] | None
) -> None:
    seen = error_of(capsys, "connect", uri, status=2)
    assert lines is None or seen == lines


def test_what_the_library_does_not_take_is_a_matter_of_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (line,) = error_of(capsys, "connect", "ws://x/", "--header", "a b:c", status=2)
    assert line.startswith("header name 'a b' is not a token")
    (line,) = error_of(capsys, "connect", "ws://x/", "--proxy", "gopher://x", status=2)
    assert line.startswith("proxy 'gopher://x' has no scheme of a proxy")


# What goes wrong on the way


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that is taken, and on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("command", ["connect", "ping", "bench"])
def test_refused_connection_is_told(
    capsys: pytest.CaptureFixture[str], deaf_port: int, command: str
) -> None:
    (line,) = error_of(capsys, command, f"ws://ada:secret@127.0.0.1:{deaf_port}/")
    where = f"127.0.0.1 port {deaf_port}"
    assert line == f"{where} refused the connection: nothing listens there, it seems"


def test_unknown_host_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    (line,) = error_of(capsys, "connect", "ws://no.such.host.invalid/")
    assert line == "there is no host called no.such.host.invalid: Name or service not known"


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (
            "/missing",
            ["HTTP 404 Not Found, not with a WebSocket connection: no such page\\x1b[2J"],
        ),
        (
            "/moved",
            [
                "HTTP 302 Found, not with a WebSocket connection",
                "hint: it redirects to ws://localhost/elsewhere; --max-redirects 5 follows",
            ],
        ),
        (
            "/secret",
            [
                "HTTP 401 Unauthorized, not with a WebSocket connection: who are you?",
                "hint: --auth USER:PASSWORD or --header 'Authorization: ...' says who you are",
            ],
        ),
        (
            "/forbidden",
            [
                "HTTP 403 Forbidden, not with a WebSocket connection",
                "hint: the server may want another --origin, or --auth",
            ],
        ),
        (
            "/gone",
            [
                "HTTP 502 Bad Gateway, not with a WebSocket connection",
                "hint: a proxy in front of the server answers, and does not reach it",
            ],
        ),
        ("/page", ["HTTP 500 Internal Server Error, not with a WebSocket connection"]),
    ],
)
def test_refusal_is_told_with_the_first_line_of_its_body(
    capsys: pytest.CaptureFixture[str], refusing: str, path: str, lines: list[str]
) -> None:
    first, *rest = error_of(capsys, "connect", refusing + path)
    assert [first, *rest] == [f"the server answered with {lines[0]}", *lines[1:]]


def test_certificate_that_nobody_knows_is_told(
    capsys: pytest.CaptureFixture[str], secure: Server
) -> None:
    first, hint = error_of(capsys, "connect", secure.uri)
    assert first.startswith(f"the certificate of 127.0.0.1 port {secure.port} cannot be trusted: ")
    assert hint == "hint: --cacert FILE trusts an authority, --insecure trusts anybody"


def test_server_without_tls_is_told(capsys: pytest.CaptureFixture[str], refusing: str) -> None:
    first, hint = error_of(capsys, "connect", refusing.replace("ws:", "wss:"))
    assert first.endswith(" does not speak TLS")
    assert hint == "hint: try ws:// instead of wss://"


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_server_that_is_none_is_told(capsys: pytest.CaptureFixture[str], banner: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, start_blocking_portal() as portal:
        port = listener.getsockname()[1]
        listener.settimeout(TIMEOUT)

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(banner)

        done = portal.start_task_soon(_in_thread, answer)
        lines = error_of(capsys, "connect", f"ws://127.0.0.1:{port}/")
        done.result(TIMEOUT)
    assert f"127.0.0.1 port {port} is no WebSocket server" in lines[0] or "HTTP 200 OK" in lines[0]


async def _in_thread(function: Callable[[], None]) -> None:
    await to_thread.run_sync(function)


def test_timeout_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        first, hint = error_of(capsys, "connect", uri, "--timeout", "0.01")
    assert first.endswith("took too long: open_timeout is 0.01 s")
    assert hint == "hint: --timeout SECONDS allows more"


@pytest.mark.parametrize("name", ["--cacert", "--certfile"])
def test_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], name: str) -> None:
    (line,) = error_of(capsys, "connect", "wss://127.0.0.1/", name, "no/such/file")
    assert line.startswith(f"{name} no/such/file cannot be used: ")


# What is not installed


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a module look as if it was not installed."""
    find = importlib.util.find_spec

    def remove(missing: str) -> None:
        def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
            return None if name == missing else find(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find_others)

    return remove


@pytest.mark.parametrize(
    ("arguments", "module", "line"),
    [
        (
            ["ping", "ws://x/", "--backend", "trio"],
            "trio",
            "--backend trio needs trio, an extra: in a checkout, pip install '.[trio]'",
        ),
        (
            ["serve", "--echo", "--backend", "uvloop"],
            "uvloop",
            "--backend uvloop needs uvloop, an extra: in a checkout, pip install '.[uvloop]'",
        ),
        (
            ["serve", "--echo", "--reload"],
            "watchfiles",
            "--reload needs watchfiles, an extra: in a checkout, pip install '.[cli]'",
        ),
    ],
)
def test_missing_extra_is_named_with_what_installs_it(
    capsys: pytest.CaptureFixture[str],
    without: Callable[[str], None],
    arguments: list[str],
    module: str,
    line: str,
) -> None:
    without(module)
    assert error_of(capsys, *arguments) == [line]


@pytest.mark.parametrize(
    ("arguments", "module", "line"),
    [
        (
            ["connect", "ws://x/"],
            "prompt_toolkit",
            "the prompt needs prompt-toolkit, an extra: in a checkout, pip install '.[cli]'",
        ),
        (
            ["bench", "ws://x/"],
            "rich",
            "the progress bar (--quiet leaves it out) needs rich, an extra: "
            "in a checkout, pip install '.[cli]'",
        ),
    ],
)
def test_what_is_for_terminals_is_needed_at_a_terminal_only(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    without: Callable[[str], None],
    arguments: list[str],
    module: str,
    line: str,
) -> None:
    without(module)
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: True, raising=False)
    assert error_of(capsys, *arguments) == [line]


def test_prompt_and_trio_exclude_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit) as raised:
        main(["connect", "ws://x/", "--backend", "trio"])
    assert raised.value.code == 2
    assert "--backend trio works in a pipe only" in capsys.readouterr().err


# In a process of its own


@needs_signals
@pytest.mark.parametrize(
    ("backend", "number", "status"),
    [("asyncio", signal.SIGINT, 130), ("trio", signal.SIGTERM, 143)],
    ids=["asyncio", "trio"],
)
def test_signal_gives_its_exit_status(
    server: Server, backend: str, number: signal.Signals, status: int
) -> None:
    with running("connect", server.uri, "--backend", backend) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("connected to ws://127.0.0.1:")
        process.send_signal(number)
        assert finish(process) == (status, "", "")


@needs_signals
def test_output_that_nobody_reads_ends_the_program(server: Server) -> None:
    with running("connect", server.uri) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline()
        process.stdout.close()
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT) == 141
