"""The certificate that a server of TLS shows to whoever connects."""

import asyncio
import socket
import ssl

from cryptography import x509

_SECONDS = 10.0


async def shown_certificate(host: str, port: int) -> x509.Certificate:
    """Connect without a certificate and without looking at theirs; return what they show.

    It is over before anybody asks for ours. In a thread of its own: OpenSSL keeps errors by thread,
    and what a client without a certificate is answered was seen to end somebody else's connection.
    """
    return await asyncio.to_thread(_shown, host, port)


def _shown(host: str, port: int) -> x509.Certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=_SECONDS) as plain,
        context.wrap_socket(plain) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found)
