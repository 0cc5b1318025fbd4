"""Mutual TLS as HBONE wants it: a held certificate comes in, contexts and peers' identities go out.

TLS 1.3 and HTTP/2 only, and both sides show a certificate below a root the other trusts. Nobody
looks at host names: a peer is who the one URI name of its certificate says.
"""

import ssl
from asyncio import StreamWriter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.hbone_errors import HandshakeError

_PROTOCOL: Final = "h2"


def client_context(held: HeldCertificate) -> ssl.SSLContext:
    """Return what connects in the name of ``held``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    prepare(context, held)
    return context


def anonymous_context(held: HeldCertificate) -> ssl.SSLContext:
    """Return what trusts the roots of ``held`` and has no certificate to show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _restricted(context, held)


def server_context(held: HeldCertificate) -> ssl.SSLContext:
    """Return what listens in the name of ``held`` and wants certificates of its peers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    prepare(context, held)
    return context


def peer_identity(writer: StreamWriter) -> str:
    """Return the one SPIFFE id of whoever is at the other end.

    Raises:
        HandshakeError: HTTP/2 was not agreed on, or the certificate has no URI name, or several.
    """
    session: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    certificate = session.getpeercert() if session is not None else None
    if session is None or not certificate:
        raise HandshakeError("the peer showed no certificate")
    if session.selected_alpn_protocol() != _PROTOCOL:
        raise HandshakeError("the peer does not speak HTTP/2")
    names = certificate.get("subjectAltName", ())
    uris = [str(name[1]) for name in names if isinstance(name, tuple) and name[0] == "URI"]
    if len(uris) != 1:
        raise HandshakeError(f"the peer's certificate has {len(uris)} URI names instead of one")
    return uris[0]


def chain_pem(held: HeldCertificate) -> str:
    """Return the certificate and what is above it, without roots, as PEM."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in held.chain)


def key_pem(held: HeldCertificate) -> str:
    """Return the private key as PEM, unencrypted."""
    return held.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def roots_pem(held: HeldCertificate) -> str:
    """Return the trusted roots as PEM."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in held.roots)


def prepare(context: ssl.SSLContext, held: HeldCertificate) -> None:
    """Let ``context`` show ``held`` from the next handshake on, and trust its roots as well."""
    # The standard library reads keys from files alone; this one is gone when the context is made.
    with TemporaryDirectory() as directory:
        chain, key = Path(directory) / "chain.pem", Path(directory) / "key.pem"
        chain.write_text(chain_pem(held))
        key.touch(mode=0o600)
        key.write_text(key_pem(held))
        context.load_cert_chain(chain, key)
    _restricted(context, held)


def _restricted(context: ssl.SSLContext, held: HeldCertificate) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([_PROTOCOL])
    context.load_verify_locations(cadata=roots_pem(held))
    return context
