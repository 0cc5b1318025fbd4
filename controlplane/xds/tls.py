"""The certificate of a TLS port: PEM in, gRPC credentials out, replaced without a restart.

gRPC asks at every handshake, on a thread of its own; connections that are open keep theirs.
"""

from pathlib import Path
from threading import Lock
from typing import Any, Self

import grpc
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from controlplane.xds.errors import ListenError

_Stamp = tuple[int, int]


class HotCertificate:
    """A chain and its key, both PEM; ``replace`` takes effect at the next handshake.

    Raises:
        ListenError: the two do not parse or do not belong together.
    """

    def __init__(self, chain: bytes, key: bytes) -> None:
        self._lock = Lock()
        self._files: tuple[Path, Path] | None = None
        self._stamps: tuple[_Stamp, _Stamp] | None = None
        self._current = _configuration(chain, key)

    @classmethod
    def from_files(cls, certificate: Path, key: Path) -> Self:
        """Read PEM files, and read them again whenever they change.

        Raises:
            ListenError: they cannot be read, or do not hold a chain and its key.
        """
        try:
            stamps = (_stamp(certificate), _stamp(key))
            hot = cls(certificate.read_bytes(), key.read_bytes())
        except OSError as error:
            raise ListenError(f"cannot read the serving certificate: {error}") from error
        hot._files = (certificate, key)
        hot._stamps = stamps
        return hot

    def replace(self, chain: bytes, key: bytes) -> None:
        """Serve another certificate from the next handshake on.

        Raises:
            ListenError: the two do not parse or do not belong together; the old ones stay.
        """
        configuration = _configuration(chain, key)
        with self._lock:
            self._current = configuration

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that follow this certificate; no client certificate is asked for."""
        with self._lock:
            served = self._current

        def changed() -> grpc.ServerCertificateConfiguration | None:
            # Nothing unless it changed: what gRPC is handed replaces its state while other
            # handshakes still read it, and a burst of new connections then ends the process.
            nonlocal served
            if self._files is not None:
                self._reload(*self._files)
            with self._lock:
                if served is self._current:
                    return None
                served = self._current
                return served

        # The stubs do not know that None stands for no change.
        fetcher: Any = changed
        return grpc.dynamic_ssl_server_credentials(served, fetcher)

    def _reload(self, certificate: Path, key: Path) -> None:
        """Read changed files; a pair that does not fit (half replaced) is tried again later."""
        try:
            stamps = (_stamp(certificate), _stamp(key))
            if stamps == self._stamps:
                return
            self.replace(certificate.read_bytes(), key.read_bytes())
        except (OSError, ListenError):
            return
        self._stamps = stamps


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def _configuration(chain: bytes, key: bytes) -> grpc.ServerCertificateConfiguration:
    try:
        leaf = load_pem_x509_certificates(chain)[0]
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, IndexError) as error:
        raise ListenError("not a PEM chain and its unencrypted key") from error
    if private.public_key() != leaf.public_key():
        raise ListenError("the key does not belong to the certificate")
    return grpc.ssl_server_certificate_configuration([(key, chain)])
