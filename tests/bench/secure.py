"""TLS for the load and the servers: one certificate, and the defaults of the standard library.

Those are TLS 1.3 with the same cipher on all sides. A server is given the file and makes its own
context of it.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

NAME: Final = "localhost"


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate with its key, in a file, and a client context that trusts it."""

    certificate: Path
    client: ssl.SSLContext


@contextmanager
def made_up_certificate() -> Iterator[Tls]:
    """Make a certificate of an authority of its own, for as long as the block runs."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.configure_trust(client)
    with tempfile.TemporaryDirectory() as directory:
        certificate = Path(directory) / "server.pem"
        authority.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        yield Tls(certificate, client)
