"""One Chromium for all tests, each of which opens windows of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from .chromium import PROGRAM, chromium


@pytest.fixture(scope="session")
def certificate(certificate_authority: trustme.CA) -> trustme.LeafCert:
    """Return the certificate that Chromium accepts."""
    return certificate_authority.issue_cert("localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def devtools(
    tmp_path_factory: pytest.TempPathFactory, certificate: trustme.LeafCert
) -> Iterator[str]:
    """Run Chromium; return where it is told what to do."""
    if PROGRAM is None:
        pytest.skip("Chromium is not installed")
    with chromium(tmp_path_factory.mktemp("chromium"), certificate) as uri:
        yield uri
