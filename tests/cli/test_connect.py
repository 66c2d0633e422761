"""`connect`, from the arguments to the exit status; the input has ended at once."""

from __future__ import annotations

import os

import pytest

from anyws import Server
from anyws._cli.program import main

from .running import BACKENDS


@pytest.fixture(autouse=True)
def no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the input from nowhere, whatever the tests are run with."""
    empty = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr("anyws._cli.connect._STDIN", empty)


@pytest.mark.parametrize("backend", BACKENDS)
def test_messages_are_the_output_and_all_else_goes_to_stderr(
    capfd: pytest.CaptureFixture[str], server: Server, backend: str
) -> None:
    assert main(["connect", f"{server.uri}json", "--wait", "inf", "--backend", backend]) == 0
    assert capfd.readouterr() == (
        '{"a":[1.10]}\n',
        f"connected to {server.uri}json\nclosed by the server with 1000 (normal closure)\n",
    )


def test_end_that_is_not_normal_is_an_error(
    capfd: pytest.CaptureFixture[str], server: Server
) -> None:
    assert main(["connect", f"{server.uri}bye", "--wait", "inf", "--quiet"]) == 1
    assert capfd.readouterr() == (
        "",
        "error: closed by the server with 4001 (a code of the application): go\\x1b[2J away\n",
    )


def test_options_reach_the_server(capfd: pytest.CaptureFixture[str], server: Server) -> None:
    arguments = ["--header", "X-One: 1", "--header", "X-Two:2", "--auth", "ada:secret"]
    arguments += ["--origin", "https://example.com", "--subprotocol", "chat", "--compression"]
    assert main(["connect", f"{server.uri}request", *arguments, "--wait", "inf"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "Authorization: Basic YWRhOnNlY3JldA==",
        "Origin: https://example.com",
        "X-One: 1",
        "X-Two: 2",
        "chat, ['permessage-deflate']",
    ]
    assert err.splitlines() == [
        f"connected to {server.uri}request, subprotocol chat, permessage-deflate",
        "closed by the server with 1000 (normal closure)",
    ]
