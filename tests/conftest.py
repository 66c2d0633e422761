"""Fixtures and settings for every test: the event loops, TLS contexts, the leak check, fuzzing.

What a test of one module needs alone stays with that test.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import ssl
from collections.abc import Iterator

import pytest
import trustme
from hypothesis import settings

from .scripted import Carrier

# No deadline: the time of one example says more about the machine than about the code.
settings.register_profile("default", deadline=None, max_examples=50)
# The same examples in every run, so that CI fails only for what a change did.
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("fuzz-short", deadline=None, max_examples=300, print_blob=True)
settings.register_profile("fuzz", deadline=None, max_examples=20_000, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

UVLOOP_MISSING = importlib.util.find_spec("uvloop") is None


@pytest.fixture(
    # Of module scope, so that hypothesis may use it: it forbids function-scoped fixtures.
    scope="module",
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(
            ("asyncio", {"use_uvloop": True}),
            id="uvloop",
            marks=pytest.mark.skipif(UVLOOP_MISSING, reason="uvloop is not installed"),
        ),
        pytest.param(("trio", {}), id="trio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run the test on this event loop: asyncio, asyncio with uvloop, trio."""
    backend: tuple[str, dict[str, bool]] = request.param
    return backend


@pytest.fixture(scope="session")
def certificate_authority() -> trustme.CA:
    """Return the authority that the test contexts trust."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_ssl(certificate_authority: trustme.CA) -> ssl.SSLContext:
    """Return a server context whose certificate names localhost, 127.0.0.1 and ::1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate_authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_ssl(certificate_authority: trustme.CA) -> ssl.SSLContext:
    """Return a verifying client context that trusts the certificate of `server_ssl`."""
    context = ssl.create_default_context()
    certificate_authority.configure_trust(context)
    return context


@pytest.fixture(params=["memory", "tcp", "tls"])
def carrier(
    request: pytest.FixtureRequest, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> Carrier:
    """Run the test over streams in memory, TCP and TLS."""
    if request.param == "tls":
        return Carrier("tls", server_ssl, client_ssl)
    return Carrier(request.param)


def pytest_configure(config: pytest.Config) -> None:
    """Measure the coverage of the processes that run tests, and not of those that tests start."""
    if not config.getoption("numprocesses", default=None):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_collection_finish() -> None:
    """Keep what exists before the first test out of the collections that follow each test."""
    gc.collect()
    gc.freeze()


class _Failures(logging.Handler):
    """Keeps what callbacks of trio's reactor have raised, which it can but log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[BaseException | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "a callback of the reactor has failed":
            assert record.exc_info is not None
            self.seen.append(record.exc_info[1])


_failures = _Failures()
logging.getLogger("anyws").addHandler(_failures)


@pytest.fixture
def failures_of_callbacks() -> list[BaseException | None]:
    """Return what callbacks of trio's reactor have raised; what is left in it fails the test."""
    return _failures.seen


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """Fail the test that left a socket, a loop or a coroutine behind.

    And the one in which a callback of trio's reactor failed. Whatever warns when it is destroyed
    does so in here, in the test that made it; the `filterwarnings` of pyproject.toml turn the
    warning into an error.
    """
    yield
    failures, _failures.seen[:] = _failures.seen.copy(), []
    assert not failures
    gc.collect()
    # What is left lives longer than the test; the next collection need not look at it again.
    gc.freeze()
