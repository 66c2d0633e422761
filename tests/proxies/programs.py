"""tinyproxy, squid, microsocks, Dante and Twisted, started on free ports of this machine.

Nothing of the system's own ones is used but the programs. What they keep is in a temporary
directory.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket as stdlib_socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import trustme

__all__ = ["DENIED_PORT", "PROGRAMS", "Program"]

#: All but Dante and Twisted, which ask for none, want these.
USER, PASSWORD = "user", "secret"

#: The proxies that can refuse a server refuse this port of it.
DENIED_PORT = 9

# Where Debian has them is on the PATH of root only.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))

# A port that is free may be another's when the program wants it.
_ATTEMPTS = 5

# Seconds for a program to listen, or to end. It takes one at most.
_LIMIT = 20.0


class Program(ABC):
    """A proxy that runs.

    Args:
        directory: for its files, which other users can read.
        certificate: what it shows to clients, if it can do TLS.

    Attributes:
        ports: of this machine, for each of its schemes.
    """

    #: The name of the program.
    name: ClassVar[str]
    #: What it speaks, the first one first of all.
    schemes: ClassVar[tuple[str, ...]]
    #: Whether it wants the user name and the password.
    wants_password: ClassVar[bool] = True
    #: The status or the SOCKS reply for a server that refuses connections.
    unreachable: ClassVar[int]
    #: The same for `DENIED_PORT`; None if it cannot deny.
    denied: ClassVar[int | None] = None
    #: How many ports it listens on.
    listeners: ClassVar[int] = 1

    def __init__(self, directory: Path, certificate: trustme.LeafCert) -> None:
        self._directory = directory
        self._certificate = certificate
        self.ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def find(cls) -> str | None:
        """Return the path of the program, if it is installed."""
        return shutil.which(cls.name, path=_PATH)

    @classmethod
    @contextmanager
    def running(cls, certificate: trustme.LeafCert) -> Iterator[Program]:
        """Run it until the block is left."""
        # Not pytest's directories, which are for one user alone: squid changes to another.
        with tempfile.TemporaryDirectory(prefix="anyws-") as name:
            directory = Path(name)
            directory.chmod(0o755)
            program = cls(directory, certificate)
            program._start()
            try:
                yield program
            finally:
                ended = program._end()
                program._clean_up()
            assert ended is None, program._read_log()

    def uri(self, scheme: str, *, password: str = PASSWORD) -> str:
        """Return the URI of the proxy, with the user name and a password if it wants them."""
        user_info = f"{USER}:{password}@" if self.wants_password else ""
        return f"{scheme}://{user_info}127.0.0.1:{self.ports[scheme]}"

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it do nothing until the block is left; the system still takes connections for it."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, and all of its processes."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @abstractmethod
    def _configure(self, ports: Sequence[int]) -> Sequence[str]:
        """Write the configuration; return the arguments of the program."""

    def _clean_up(self) -> None:  # noqa: B027  # most have nothing to clean up
        """Remove what the program leaves elsewhere if it is killed."""

    def _start(self) -> None:
        for _ in range(_ATTEMPTS):
            ports = _free_ports(self.listeners)
            # The last one is that of all schemes for which there is none of their own.
            self.ports = {
                scheme: ports[min(n, len(ports) - 1)] for n, scheme in enumerate(self.schemes)
            }
            if self._run(ports):
                return
            self._end()
        raise AssertionError(f"{self.name} did not start: {self._read_log()}")

    def _run(self, ports: Sequence[int]) -> bool:
        """Start the program; say whether it listens."""
        program = self.find()
        assert program is not None
        arguments = self._configure(ports)
        with open(self._directory / "log", "wb") as log:
            self._process = subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,  # a process group, for those with several processes
            )
        deadline = time.monotonic() + _LIMIT
        while self._process.poll() is None and time.monotonic() < deadline:
            if all(map(_listens, ports)):
                return True
            time.sleep(0.02)
        return False

    def _end(self) -> int | None:
        """End the program; return its exit status if it had ended by itself."""
        process, self._process = self._process, None
        if process is None:
            return None
        ended = process.poll()
        process.terminate()
        try:
            process.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all of them are gone
        process.wait()
        return ended

    def _read_log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        path.write_text(text, encoding="utf-8")
        return path


class Tinyproxy(Program):
    name = "tinyproxy"
    schemes = ("http",)
    unreachable = 500

    def _configure(self, ports: Sequence[int]) -> Sequence[str]:
        path = self._write(
            "tinyproxy.conf",
            f"Port {ports[0]}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\n"
            f"LogLevel Warning\nBasicAuth {USER} {PASSWORD}\n",
        )
        return ("-d", "-c", str(path))


class Squid(Program):
    name = "squid"
    schemes = ("http", "https")
    unreachable = 503
    denied = 403
    listeners = 2

    _CONFIGURATION = """
        http_port 127.0.0.1:{http}
        https_port 127.0.0.1:{https} tls-cert={directory}/chain.pem tls-key={directory}/key.pem
        auth_param basic program /bin/sh {directory}/authenticate
        auth_param basic children 1 startup=1 idle=1
        acl known proxy_auth REQUIRED
        acl forbidden port {denied}
        http_access deny forbidden
        http_access allow known
        cache deny all
        cache_mem 0
        access_log none
        cache_log /dev/null
        cache_store_log none
        netdb_filename none
        pid_filename none
        pinger_enable off
        max_filedescriptors 1024
        shutdown_lifetime 0 seconds
    """

    _AUTHENTICATE = """
        while read -r name password; do
            if [ "$name:$password" = "{user}:{password}" ]; then echo OK; else echo ERR; fi
        done
    """

    def _configure(self, ports: Sequence[int]) -> Sequence[str]:
        chain = b"".join(pem.bytes() for pem in self._certificate.cert_chain_pems)
        (self._directory / "chain.pem").write_bytes(chain)
        self._certificate.private_key_pem.write_to_path(self._directory / "key.pem")
        self._write("authenticate", self._AUTHENTICATE.format(user=USER, password=PASSWORD))
        text = self._CONFIGURATION.format(
            http=ports[0], https=ports[1], directory=self._directory, denied=DENIED_PORT
        )
        lines = "\n".join(line.strip() for line in text.splitlines())
        path = self._write("squid.conf", lines)
        # A name of its own for what it shares in memory, so that it meets no other squid.
        self._service = f"anyws{ports[0]}"
        return ("-N", "-d", "1", "-n", self._service, "-f", str(path))

    def _clean_up(self) -> None:
        for path in Path("/dev/shm").glob(f"{self._service}-*"):
            path.unlink()


class Microsocks(Program):
    name = "microsocks"
    schemes = ("socks5", "socks5h")
    unreachable = 5

    def _configure(self, ports: Sequence[int]) -> Sequence[str]:
        return ("-i", "127.0.0.1", "-p", str(ports[0]), "-u", USER, "-P", PASSWORD)


class Dante(Program):
    name = "danted"
    # It takes SOCKS4a for SOCKS4, and connects to 0.0.0.1.
    schemes = ("socks5h", "socks5", "socks4")
    wants_password = False
    unreachable = 5  # 91 for SOCKS4
    denied = 2

    _CONFIGURATION = """
        logoutput: stderr
        internal: 127.0.0.1 port = {port}
        external: 127.0.0.1
        clientmethod: none
        socksmethod: none
        {users}
        client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
        socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 port = {denied} }}
        socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
    """

    def _configure(self, ports: Sequence[int]) -> Sequence[str]:
        users = "user.privileged: root\nuser.unprivileged: nobody" if os.geteuid() == 0 else ""
        text = self._CONFIGURATION.format(port=ports[0], users=users, denied=DENIED_PORT)
        return ("-f", str(self._write("danted.conf", text)))


class Twisted(Program):
    name = "twisted"
    schemes = ("socks4a", "socks4")
    wants_password = False
    unreachable = 91

    @classmethod
    def find(cls) -> str | None:
        return sys.executable if importlib.util.find_spec("twisted") else None

    def _configure(self, ports: Sequence[int]) -> Sequence[str]:
        return ("-m", "twisted", "socks", "-i", "127.0.0.1", "-p", str(ports[0]))


def _free_ports(n: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody has just now."""
    sockets = [stdlib_socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def _listens(port: int) -> bool:
    with stdlib_socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


PROGRAMS = [
    pytest.param(
        kind,
        id=kind.name,
        marks=pytest.mark.skipif(kind.find() is None, reason=f"{kind.name} is not installed"),
    )
    for kind in (Tinyproxy, Squid, Microsocks, Dante, Twisted)
]
