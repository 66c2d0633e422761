"""A server and clients over TLS: an own authority, client certificates, and pinning.

python examples/tls.py [--backend trio|asyncio]
"""

import argparse
import hashlib
import ssl

import anyio
import trustme
from anyio.streams.tls import TLSAttribute

from anyws import ClientConnection, HandshakeError, ServerConnection, connect, serve


async def greet(ws: ServerConnection) -> None:
    """Say who the client is by its certificate, which has been verified."""
    certificate = ws.extra(TLSAttribute.peer_certificate) or {}
    await ws.send(f"hello, {certificate['subjectAltName'][0][1]}")


def fingerprint(ws: ClientConnection) -> str:
    """Return the SHA-256 of the server's certificate."""
    return hashlib.sha256(ws.extra(TLSAttribute.peer_certificate_binary) or b"").hexdigest()


async def main() -> None:
    """Make the certificates, serve, and connect in four ways."""
    authority = trustme.CA()  # in production: files that your authority has signed
    server_ssl = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_ssl)
    server_ssl.verify_mode = ssl.CERT_REQUIRED  # clients need a certificate too,
    authority.configure_trust(server_ssl)  # of this authority

    trusting = ssl.create_default_context()  # verifies the certificate and the name in it
    authority.configure_trust(trusting)
    known = ssl.create_default_context()
    authority.configure_trust(known)
    authority.issue_cert("ada@example.org").configure_cert(known)

    async with serve(greet, "localhost", 0, ssl=server_ssl) as server:
        uri = f"wss://localhost:{server.port}/"
        async with connect(uri, ssl=known) as ws:
            print(await ws.receive())
            pinned = fingerprint(ws)
        async with connect(uri, ssl=known) as ws:
            print("pinned:", fingerprint(ws) == pinned)
        for context in (ssl.create_default_context(), trusting):
            try:
                async with connect(uri, ssl=context) as ws:
                    await ws.receive()
            except HandshakeError as exc:
                print(f"{type(exc).__name__}: {exc}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Connect over TLS.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
