"""Servers with Digest authentication that others wrote, in processes of their own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["APACHE", "HAS_HTTPBIN", "apache", "httpbin"]

HAS_HTTPBIN = importlib.util.find_spec("httpbin") is not None

# Debian has it where only root's PATH leads.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))

#: The path of Apache httpd, None if it is not installed.
APACHE = shutil.which("apache2", path=_PATH)

_HTTPBIN = """
from wsgiref.simple_server import make_server
from httpbin import app

def without_upgrade(environ, start_response):
    # Its router refuses requests for a WebSocket with 400.
    environ.pop("HTTP_UPGRADE", None)
    return app(environ, start_response)

server = make_server("127.0.0.1", 0, without_upgrade)
print(server.server_port, flush=True)
server.serve_forever()
"""

_APACHE = """
ServerRoot {directory}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {directory}/pid
ErrorLog {directory}/error.log
DefaultRuntimeDir {directory}
Mutex file:{directory}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authn_file_module {modules}/mod_authn_file.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule auth_digest_module {modules}/mod_auth_digest.so
DocumentRoot {directory}/pages
<Location />
    AuthType Digest
    AuthName "{realm}"
    AuthDigestProvider file
    AuthUserFile {directory}/users
    Require valid-user
</Location>
"""
_MODULES = "/usr/lib/apache2/modules"

# A port that is free may be another's when the program wants it.
_ATTEMPTS = 5

# Seconds for a program to listen. It takes one at most.
_LIMIT = 30.0


@contextmanager
def httpbin() -> Iterator[int]:
    """Run httpbin; it knows MD5 and SHA-256, and takes the password from the path."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _HTTPBIN],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def apache(directory: Path, *, username: str, password: str, realm: str) -> Iterator[int]:
    """Run Apache httpd with mod_auth_digest, which knows MD5 alone."""
    assert APACHE is not None
    (directory / "pages").mkdir()
    (directory / "pages" / "page").write_text("for users only")
    digest = hashlib.md5(f"{username}:{realm}:{password}".encode()).hexdigest()
    (directory / "users").write_text(f"{username}:{realm}:{digest}\n", "utf-8")
    if os.geteuid() == 0:
        # Its workers run as another user then.
        for path in (directory, *directory.rglob("*"), *list(directory.parents)[:2]):
            path.chmod(0o755)
    process, port = _start(directory, realm=realm)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(_LIMIT)


def _start(directory: Path, *, realm: str) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(_ATTEMPTS):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port: int = sock.getsockname()[1]
        configuration = directory / "apache.conf"
        configuration.write_text(
            _APACHE.format(directory=directory, port=port, modules=_MODULES, realm=realm),
            "utf-8",
        )
        process = _run([str(APACHE), "-f", str(configuration), "-DFOREGROUND"])
        if _listens(process, port):
            return process, port
    raise RuntimeError("Apache httpd does not listen")


def _run(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until a program listens, or has ended."""
    until = time.monotonic() + _LIMIT
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        except ConnectionRefusedError:
            time.sleep(0.02)
    process.kill()
    process.wait()
    return False
