"""nginx and HAProxy, started on a free port with the configuration that the documentation shows.

What is changed in it is what cannot be the same here: addresses, certificates and times. Nothing of
the system's own nginx or HAProxy is used but the program.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket as stdlib_socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import anyio
import pytest
import trustme

from anyws import Server

__all__ = ["FRONT_ENDS", "FrontEnd", "HAProxy", "Nginx"]

_CONFIGURATIONS = Path(__file__).parents[2] / "docs" / "howto" / "deploying"

# Where Debian has them is on the PATH of root only.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))

# The servers in the configurations.
_ADDRESSES = ("127.0.0.1:8765", "127.0.0.1:8766")


class FrontEnd(ABC):
    """A program that passes on connections to two servers.

    Args:
        directory: for its files; an empty one.
        certificate: what it shows to clients.
        idle: how long a connection may be idle, as it is configured; None for what is documented.
    """

    name: ClassVar[str]

    def __init__(
        self, directory: Path, certificate: trustme.LeafCert, idle: str | None = None
    ) -> None:
        self._directory = directory
        self._certificate = certificate
        self._idle = idle

    @classmethod
    def find(cls) -> str | None:
        """Return the path of the program, if it is installed."""
        return shutil.which(cls.name, path=_PATH)

    @contextmanager
    def running(self, servers: Sequence[Server]) -> Iterator[int]:
        """Run it for two servers; yield its port, which speaks TLS."""
        program = self.find()
        assert program is not None
        # The program inherits the socket, so that nobody else can take the port.
        with stdlib_socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
            environment = self._configure(
                listener.fileno(), port, [each.addresses[0] for each in servers]
            )
            with open(self._directory / "log", "wb") as log:
                process = subprocess.Popen(
                    [program, *self._arguments],
                    env={**os.environ, **environment},
                    pass_fds=[listener.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._directory,
                )
        try:
            yield port
        finally:
            ended = process.poll()
            process.terminate()
            process.wait()
        assert ended is None, (self._directory / "log").read_text()

    @property
    @abstractmethod
    def _arguments(self) -> Sequence[str]:
        """Return the arguments of the program."""

    @abstractmethod
    def _configure(self, fd: int, port: int, addresses: Sequence[object]) -> Mapping[str, str]:
        """Write the configuration; return what the environment has to have."""

    def _write(self, name: str, changes: Mapping[str, str]) -> None:
        """Write a configuration of the documentation with changes to it."""
        text = (_CONFIGURATIONS / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
            text = text.replace(old, new)
        (self._directory / name).write_text(text, encoding="utf-8")


class Nginx(FrontEnd):
    name = "nginx"

    # What is around the configuration: nothing outside of the directory is read or written.
    _MAIN = """
        daemon off;
        {user}
        pid nginx.pid;
        error_log stderr;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            include nginx.conf;
        }}
    """

    @property
    def _arguments(self) -> Sequence[str]:
        return ("-p", str(self._directory), "-c", "main.conf", "-e", "stderr")

    def _configure(self, fd: int, port: int, addresses: Sequence[object]) -> Mapping[str, str]:
        chain = b"".join(pem.bytes() for pem in self._certificate.cert_chain_pems)
        (self._directory / "chain.pem").write_bytes(chain)
        self._certificate.private_key_pem.write_to_path(self._directory / "key.pem")
        # Its workers would be another user's, who must not open the Unix sockets.
        user = "user root;" if os.geteuid() == 0 else ""
        (self._directory / "main.conf").write_text(self._MAIN.format(user=user))
        changes = {
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "/etc/ssl/example.org.pem": "chain.pem",
            "/etc/ssl/example.org.key": "key.pem",
        }
        for old, new in zip(_ADDRESSES, addresses, strict=True):
            changes[old] = _address(new, "unix:")
        if self._idle is not None:
            changes["proxy_read_timeout 60s"] = f"proxy_read_timeout {self._idle}"
        self._write("nginx.conf", changes)
        return {"NGINX": f"{fd};"}


class HAProxy(FrontEnd):
    name = "haproxy"

    @property
    def _arguments(self) -> Sequence[str]:
        return ("-db", "-f", "main.cfg", "-f", "haproxy.cfg")

    def _configure(self, fd: int, port: int, addresses: Sequence[object]) -> Mapping[str, str]:
        self._certificate.private_key_and_cert_chain_pem.write_to_path(
            self._directory / "example.org.pem"
        )
        (self._directory / "main.cfg").write_text(
            f"global\n    stats socket {self._directory}/stats mode 600\n"
        )
        changes = {
            "bind :443 ssl crt /etc/ssl/": f"bind fd@{fd} ssl crt {self._directory}/",
        }
        for name, old, new in zip(("one", "two"), _ADDRESSES, addresses, strict=True):
            changes[f"server {name} {old} check inter 2s"] = (
                f"server {name} {_address(new, 'unix@')} check inter 100ms"
            )
        if self._idle is not None:
            changes["timeout tunnel 60s"] = f"timeout tunnel {self._idle}"
        self._write("haproxy.cfg", changes)
        return {}

    async def statuses(self) -> dict[str, str]:
        """Ask what it thinks of each server: "UP", "DOWN" or on the way to one of them."""
        async with await anyio.connect_unix(self._directory / "stats") as stream:
            await stream.send(b"show stat\n")
            answer = b"".join([chunk async for chunk in stream]).decode()
        rows = csv.DictReader(answer.removeprefix("# ").splitlines())
        return {row["svname"]: row["status"] for row in rows if row["pxname"] == "anyws"}


def _address(address: object, prefix: str) -> str:
    """Write an address as the program does, with its prefix for Unix sockets."""
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return f"{prefix}{address}"


FRONT_ENDS = [
    pytest.param(
        kind,
        id=kind.name,
        marks=pytest.mark.skipif(kind.find() is None, reason=f"{kind.name} is not installed"),
    )
    for kind in (Nginx, HAProxy)
]
