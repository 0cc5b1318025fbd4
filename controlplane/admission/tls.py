"""The certificate of the webhook's port: PEM in, a TLS context out that follows replacements.

Every certificate gets a context of its own, chosen at each handshake: loading a second pair into
one context would keep the first where the types of the keys differ, and break it half way where
the new pair does not fit. Keys reach OpenSSL through memory, never through a readable file.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from controlplane.admission.errors import UnusableCertificateError


class ServingContext:
    """Serves one chain and its key until ``replace``; open connections keep theirs.

    Raises:
        UnusableCertificateError: the two are not PEM, or do not belong together.
    """

    def __init__(self, chain_pem: bytes, key_pem: bytes) -> None:
        self._current = _context(chain_pem, key_pem)
        self.context = _context(chain_pem, key_pem)
        """What a server listens with."""
        self.context.sni_callback = self._choose

    def replace(self, chain_pem: bytes, key_pem: bytes) -> None:
        """Serve another certificate from the next handshake on.

        Raises:
            UnusableCertificateError: as at construction; the ones before stay.
        """
        self._current = _context(chain_pem, key_pem)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self._current


def _context(chain_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    _require_pair(chain_pem, key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would show no certificate, and so outlive the one it began with.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        with _file_of(key_pem + b"\n" + chain_pem) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, OSError) as error:
        raise UnusableCertificateError(f"TLS cannot serve it: {type(error).__name__}") from error
    return context


def _require_pair(chain_pem: bytes, key_pem: bytes) -> None:
    try:
        leaf = load_pem_x509_certificates(chain_pem)[0]
        private = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, IndexError) as error:
        raise UnusableCertificateError("not a PEM chain and its unencrypted key") from error
    if private.public_key() != leaf.public_key():
        raise UnusableCertificateError("the key does not belong to the certificate")


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """Give ``content`` a path, for this process alone and only as long as it is needed."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        number = os.memfd_create("serving-certificate", os.MFD_CLOEXEC)
        try:
            os.fchmod(number, 0o600)
            with open(number, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
        return
    # mkstemp and what is built on it let the owner alone read the file.
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
