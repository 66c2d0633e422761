"""Digest authentication against servers that others wrote, and our tests' server against theirs.

What is proved does not depend on what is asked for, so that a server without WebSocket will do: it
lets `connect` in by the status 200.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import aiohttp
import anyio
import pytest

from anyws import DigestAuth, HandshakeRejected, Headers, Response, connect, parse_uri
from anyws._digest import DigestExchange

from ..digest_verifier import DigestVerifier
from .digest_servers import APACHE, HAS_HTTPBIN, apache, httpbin

LIMIT = 30.0

needs_httpbin = pytest.mark.skipif(not HAS_HTTPBIN, reason="needs httpbin, from PyPI")
needs_apache = pytest.mark.skipif(APACHE is None, reason="needs Apache httpd (apache2 of Debian)")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def get(port: int, path: str, cookie: str, authorization: str | None) -> Response:
    """Ask for a page."""
    connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    headers = {"Cookie": cookie}
    if authorization is not None:
        headers["Authorization"] = authorization
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return Response(answer.status, Headers(answer.getheaders()), answer.read())
    finally:
        connection.close()


def statuses(auth: DigestAuth, port: int, path: str) -> list[int]:
    """Ask for a page as often as it is worth it; return what was answered."""
    exchange = DigestExchange(auth, parse_uri(f"ws://127.0.0.1:{port}{path}"))
    found = []
    cookie = ""
    while True:
        response = get(port, path, cookie, exchange.header_value())
        found.append(response.status_code)
        # httpbin counts by cookies.
        for value in response.headers.get_all("Set-Cookie"):
            cookie = f"{cookie}; {value.partition(';')[0]}".removeprefix("; ")
        if not exchange.take_response(response):
            return found


@pytest.fixture(scope="module")
def httpbin_port() -> Iterator[int]:
    with httpbin() as port:
        yield port


@needs_httpbin
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", "any"])
def test_httpbin_is_content(httpbin_port: int, algorithm: str, qop: str) -> None:
    path = f"/digest-auth/{qop}/ann/secret/{algorithm}"
    auth = DigestAuth("ann", "secret")
    assert statuses(auth, httpbin_port, path) == [401, 200]
    assert statuses(DigestAuth("ann", "Secret"), httpbin_port, path) == [401, 401]


@needs_httpbin
def test_httpbin_does_not_know_the_algorithm(httpbin_port: int) -> None:
    path = "/digest-auth/auth/ann/secret/SHA-512"
    assert statuses(DigestAuth("ann", "secret"), httpbin_port, path) == [401]


@pytest.fixture(scope="module")
def apache_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("apache")
    with apache(directory, username="jäne", password="pässwörd", realm="a realm") as port:
        yield port


@needs_apache
def test_apache_is_content(apache_port: int) -> None:
    auth = DigestAuth("jäne", "pässwörd")
    assert statuses(auth, apache_port, "/page") == [401, 200]
    # What it asked is remembered, and may be answered again.
    assert statuses(auth, apache_port, "/page") == [200]
    assert statuses(auth, apache_port, "/page?query=1&b=%20") == [200]


@needs_apache
def test_apache_refuses_another_password(apache_port: int) -> None:
    assert statuses(DigestAuth("jäne", "passwort"), apache_port, "/page") == [401, 401]
    assert statuses(DigestAuth("ann", "pässwörd"), apache_port, "/page") == [401, 401]


# Through `connect`


async def status_for(uri: str, auth: DigestAuth) -> int:
    """Return the status with which a server that knows no WebSocket refuses."""
    with anyio.fail_after(LIMIT), pytest.raises(HandshakeRejected) as caught:
        await connect(uri, auth=auth, cookies=CookieJar()).__aenter__()
    return caught.value.response.status_code


@needs_httpbin
@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_httpbin_lets_our_client_in(httpbin_port: int, algorithm: str) -> None:
    uri = f"ws://127.0.0.1:{httpbin_port}/digest-auth/auth/ann/secret/{algorithm}"
    assert await status_for(uri, DigestAuth("ann", "secret")) == 200
    assert await status_for(uri, DigestAuth("ann", "Secret")) == 401


@needs_apache
@pytest.mark.anyio
async def test_apache_lets_our_client_in(apache_port: int) -> None:
    uri = f"ws://127.0.0.1:{apache_port}/page?query=1"
    auth = DigestAuth("jäne", "pässwörd")
    # The second time, the first request is answered already.
    for _ in range(2):
        assert await status_for(uri, auth) == 200
    assert await status_for(uri, DigestAuth("jäne", "passwort")) == 401


# The verifier of the tests against clients that others wrote


class Server(HTTPServer):
    """A page for the one user that a verifier knows."""

    verifier: DigestVerifier


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        verifier = self.server.verifier
        is_right = verifier.accepts(self.headers["Authorization"], self.path)
        self.send_response(200 if is_right else 401)
        if not is_right:
            # In this order: aiohttp looks at the first one only.
            self.send_header("WWW-Authenticate", verifier.challenge())
            self.send_header("WWW-Authenticate", 'Basic realm="not this one"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.timeout = LIMIT
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(LIMIT)


ALGORITHMS = ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess"]


def verifier(algorithm: str, password: str, *, userhash: bool = False) -> DigestVerifier:
    return DigestVerifier(
        "ann", password, algorithm=algorithm, opaque='of "this" \\ server', userhash=userhash
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("password", "status"), [("secret", 200), ("Secret", 401)])
def test_server_takes_ours(server: Server, algorithm: str, password: str, status: int) -> None:
    server.verifier = verifier(algorithm, password)
    found = statuses(DigestAuth("ann", "secret"), server.server_port, "/a/page?of=it")
    assert found == [401, status]


@needs_curl
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("userhash", [False, True], ids=["name", "userhash"])
@pytest.mark.parametrize(("password", "status"), [("secret", b"200"), ("Secret", b"401")])
def test_server_takes_curl(
    server: Server, algorithm: str, userhash: bool, password: str, status: bytes
) -> None:
    server.verifier = verifier(algorithm, password, userhash=userhash)
    uri = f"http://127.0.0.1:{server.server_port}/a/page?of=it"
    command = ["curl", "-q", "--silent", "--noproxy", "*", "--digest", "--user", "ann:secret"]
    done = subprocess.run(
        [*command, "--write-out", "%{http_code}", "--max-time", str(LIMIT), uri],
        check=True,
        capture_output=True,
    )
    assert done.stdout == status


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("password", "status"), [("secret", 200), ("Secret", 401)])
def test_server_takes_aiohttp(server: Server, algorithm: str, password: str, status: int) -> None:
    server.verifier = verifier(algorithm, password)

    async def ask() -> int:
        login = aiohttp.DigestAuthMiddleware("ann", "secret")
        async with aiohttp.ClientSession(middlewares=(login,)) as session:
            uri = f"http://127.0.0.1:{server.server_port}/a/page?of=it"
            async with session.get(uri) as response:
                return response.status

    assert anyio.run(ask, backend="asyncio") == status
