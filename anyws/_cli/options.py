"""Arguments that commands share, and what they are as keyword arguments of `connect`.

Owns the checks of single values. What goes together is checked by the commands.
"""

from __future__ import annotations

import argparse
import getpass
import math
import ssl
from typing import Any

from .. import parse_uri
from .running import BACKENDS, Failure, UsageError

__all__ = [
    "add_backend",
    "add_client_arguments",
    "client_keywords",
    "count",
    "load_certificate",
    "max_size",
    "port",
    "positive_seconds",
    "seconds",
    "uri_shown",
]


def seconds(text: str) -> float:
    """Read a duration from the command line; "inf" is for ever."""
    value = float(text)
    if math.isnan(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0 seconds")
    return value


def positive_seconds(text: str) -> float:
    """Read a duration that is more than nothing."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 seconds")
    return value


def count(text: str) -> int:
    """Read how many of something, at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def port(text: str) -> int:
    """Read a TCP port."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port, 0 to 65535")
    return value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:VALUE")
    return name.strip(), value.strip()


def max_size(text: str) -> int | None:
    """Read a number of bytes; "none" is no limit."""
    return None if text == "none" else count(text)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add the choice of an event loop."""
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="asyncio",
        help="the event loop; trio and uvloop are extras (default: %(default)s)",
    )


def add_client_arguments(parser: argparse.ArgumentParser, *, uri_is_optional: bool = False) -> None:
    """Add the URI, and what there is to say about a client."""
    parser.add_argument(
        "uri", metavar="URI", nargs="?" if uri_is_optional else None, help="ws://... or wss://..."
    )
    http = parser.add_argument_group("opening handshake")
    http.add_argument(
        "--header",
        metavar="NAME:VALUE",
        type=_header,
        action="append",
        default=[],
        help="send this too; may be given again",
    )
    http.add_argument(
        "--auth", metavar="USER[:PASSWORD]", help="Basic authentication; asks for the password"
    )
    http.add_argument("--origin", help="be a page of this origin, https://example.com for instance")
    http.add_argument(
        "--subprotocol",
        metavar="NAME",
        action="append",
        default=[],
        help="offer this one; may be given again, in order of preference",
    )
    http.add_argument("--compression", action="store_true", help="offer to compress messages")
    http.add_argument(
        "--max-redirects",
        metavar="N",
        type=int,
        default=0,
        help="follow so many redirects (default: none)",
    )
    way = parser.add_argument_group("the way to the server")
    way.add_argument("--proxy", metavar="URI", help='http, https or socks5; or "env"')
    way.add_argument("--unix-socket", metavar="PATH", help="connect to this socket instead")
    way.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=10.0,
        help="until the connection is open (default: %(default)g)",
    )
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--cacert", metavar="FILE", help="trust these authorities, and no others")
    tls.add_argument("--insecure", action="store_true", help="trust any certificate")
    tls.add_argument("--certfile", metavar="FILE", help="a certificate of the client's own")
    tls.add_argument("--keyfile", metavar="FILE", help="its key, if that is another file")
    parser.add_argument(
        "--max-size",
        metavar="BYTES",
        type=max_size,
        default=1 << 20,
        help='of a message that is received, or "none" (default: 1 MiB)',
    )
    add_backend(parser)


def client_keywords(options: argparse.Namespace) -> dict[str, Any]:
    """Return keyword arguments of `connect` by what `add_client_arguments` has read.

    Raises:
        InvalidURI: the URI cannot be used.
        UsageError: options do not go together.
        Failure: a file cannot be used.
    """
    keywords: dict[str, Any] = {
        "headers": options.header,
        "origin": options.origin,
        "subprotocols": options.subprotocol,
        "compression": "deflate" if options.compression else None,
        "max_redirects": options.max_redirects,
        "proxy": options.proxy,
        "path": options.unix_socket,
        "open_timeout": None if math.isinf(options.timeout) else options.timeout,
        "max_size": options.max_size,
    }
    if options.auth is not None:
        user, colon, password = options.auth.partition(":")
        keywords["auth"] = (user, password if colon else getpass.getpass(f"Password of {user}: "))
    target = parse_uri(options.uri)
    wants_tls = options.cacert or options.insecure or options.certfile
    if options.keyfile and not options.certfile:
        raise UsageError("--keyfile goes with --certfile")
    if options.cacert and options.insecure:
        raise UsageError("--cacert and --insecure exclude each other")
    if wants_tls:
        if not target.secure:
            raise UsageError("--cacert, --insecure and --certfile are for wss://, not for ws://")
        keywords["ssl"] = _client_context(options)
    return keywords


def uri_shown(uri: str) -> str:
    """Return a URI as it may be shown: without a password that is in it."""
    target = parse_uri(uri)
    return f"{target.origin}{target.path}"


def _client_context(options: argparse.Namespace) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.cacert)
    except (OSError, ValueError) as exc:
        raise Failure(f"--cacert {options.cacert} cannot be used: {exc}") from exc
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.certfile:
        load_certificate(context, options.certfile, options.keyfile)
    return context


def load_certificate(context: ssl.SSLContext, certfile: str, keyfile: str | None) -> None:
    """Load a certificate and its key.

    Raises:
        Failure: they cannot be used.
    """
    try:
        context.load_cert_chain(certfile, keyfile)
    except (OSError, ValueError) as exc:
        files = certfile if keyfile is None else f"{certfile} with --keyfile {keyfile}"
        raise Failure(f"--certfile {files} cannot be used: {exc}") from exc
