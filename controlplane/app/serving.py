"""The certificate of the TLS port: given as files, or our own and kept fresh."""

from collections.abc import Callable, Coroutine
from typing import Any

from controlplane.app.certificates import Certificates
from controlplane.app.errors import StartupError
from controlplane.ca.errors import AuthorityError
from controlplane.settings import Settings
from controlplane.xds.errors import ListenError
from controlplane.xds.tls import HotCertificate

Upkeep = Callable[[], Coroutine[Any, Any, None]]


async def served_certificate(
    settings: Settings, certificates: Certificates
) -> tuple[HotCertificate, dict[str, Upkeep]]:
    """Return what the TLS port serves, and by name what keeps it fresh unless files do.

    Raises:
        StartupError: there is none.
    """
    chain, key = settings.tls_certificate, settings.tls_key
    try:
        if chain is not None and key is not None:
            return HotCertificate.from_files(chain, key), {}
        if chain is not None or key is not None:
            raise StartupError("a serving certificate needs both its chain and its key")
        serving = certificates.serving()
        first = await serving.issue()
        certificate = HotCertificate(first.chain, first.key)
    except (ListenError, AuthorityError) as error:
        raise StartupError(f"no serving certificate: {error}") from error
    return certificate, {"serving certificate": lambda: serving.run(certificate.replace)}
