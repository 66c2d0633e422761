"""The arguments of a client, and what they are to `connect`."""

from __future__ import annotations

import argparse
import getpass
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from anyws._cli.options import client_keywords, max_size, uri_shown
from anyws._cli.program import new_parser


def parse(*arguments: str) -> argparse.Namespace:
    """Read the arguments of `connect`."""
    return new_parser().parse_args(["connect", *arguments])


def keywords(*arguments: str) -> dict[str, Any]:
    return client_keywords(parse(*arguments))


def test_defaults_are_those_of_the_library() -> None:
    assert keywords("ws://x/") == {
        "headers": [],
        "origin": None,
        "subprotocols": [],
        "compression": None,
        "max_redirects": 0,
        "proxy": None,
        "path": None,
        "open_timeout": 10.0,
        "max_size": 1 << 20,
    }


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--header", "A: b", "--header", "A:c:d"], "headers", [("A", "b"), ("A", "c:d")]),
        (["--auth", "ada:pass:word"], "auth", ("ada", "pass:word")),
        (["--auth", "ada:"], "auth", ("ada", "")),
        (["--origin", "https://example.com"], "origin", "https://example.com"),
        (["--subprotocol", "a", "--subprotocol", "b"], "subprotocols", ["a", "b"]),
        (["--compression"], "compression", "deflate"),
        (["--max-redirects", "3"], "max_redirects", 3),
        (["--proxy", "env"], "proxy", "env"),
        (["--unix-socket", "/run/x"], "path", "/run/x"),
        (["--timeout", "0.5"], "open_timeout", 0.5),
        (["--timeout", "inf"], "open_timeout", None),
        (["--max-size", "none"], "max_size", None),
        (["--max-size", "5"], "max_size", 5),
    ],
)
def test_option_is_a_keyword(arguments: list[str], name: str, value: object) -> None:
    assert keywords("ws://x/", *arguments)[name] == value


def test_password_that_is_not_given_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "secret"

    monkeypatch.setattr(getpass, "getpass", ask)
    assert keywords("ws://x/", "--auth", "ada")["auth"] == ("ada", "secret")
    assert asked == ["Password of ada: "]


def test_insecure_verifies_nothing() -> None:
    context = keywords("wss://x/", "--insecure")["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_cacert_is_all_that_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = keywords("wss://x/", "--cacert", str(tmp_path / "ca.pem"))["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1


def test_certificate_of_the_client_is_loaded(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("ada@example.com")
    path = tmp_path / "client.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    assert isinstance(keywords("wss://x/", "--certfile", str(path))["ssl"], ssl.SSLContext)


def test_password_in_a_uri_is_not_shown() -> None:
    assert uri_shown("ws://ada:secret@localhost:8765/chat?x=1") == "ws://localhost:8765/chat?x=1"


def test_size_is_a_number_or_none() -> None:
    assert max_size("none") is None
    with pytest.raises(ValueError, match="invalid literal"):
        max_size("many")
