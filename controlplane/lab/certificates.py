"""Certificates as a node proxy gets them: an identity and a token in, a key and its chain out.

Every request has a key of its own, as ztunnel's have; the answer is looked at as ztunnel looks at
it (docs/protocol/certificates.md CA-31).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.lab.cancellation import heed_cancellation
from controlplane.lab.errors import LabError
from controlplane.lab.ztunnel.client import Target
from controlplane.pb import certificate_pb2

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
_LIFETIME = 86_400
_PATIENCE = 10.0


class RefusedError(LabError):
    """The authority said no; ``status`` is the name of the gRPC status."""

    code = "certificate-refused"

    def __init__(self, status: str, details: str) -> None:
        super().__init__(f"{status}: {details}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCertificate:
    """A certificate and its key; ``chain`` lists the leaf first, ``roots`` what came last."""

    identity: str
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def serial(self) -> str:
        """Return the leaf's serial number in hexadecimal."""
        return format(self.chain[0].serial_number, "x")

    @property
    def not_after(self) -> datetime:
        """Return when the leaf ends."""
        return self.chain[0].not_valid_after_utc


async def fetch_certificate(
    target: Target, identity: str, token: Callable[[], str]
) -> HeldCertificate:
    """Ask for a certificate of ``identity`` in the name of whoever ``token`` belongs to.

    Raises:
        RefusedError: the authority refuses.
        LabError: what it answered is not a chain for this identity.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True
        )
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )
    request = certificate_pb2.IstioCertificateRequest(csr=csr, validity_duration=_LIFETIME)
    request.metadata["ImpersonatedIdentity"] = identity
    headers = (("authorization", f"Bearer {token()}"), ("clusterid", target.cluster_id))
    async with target.channel() as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        try:
            answer = await call(request.SerializeToString(), metadata=headers, timeout=_PATIENCE)
        except grpc.aio.AioRpcError as error:
            heed_cancellation()
            raise RefusedError(error.code().name, error.details() or "") from error
    return _held(identity, key, certificate_pb2.IstioCertificateResponse.FromString(answer))


def _held(
    identity: str,
    key: ec.EllipticCurvePrivateKey,
    response: certificate_pb2.IstioCertificateResponse,
) -> HeldCertificate:
    *links, bundle = response.cert_chain
    if not links:
        raise LabError("the answer holds no root certificate")
    chain = tuple(x509.load_pem_x509_certificate(link.encode()) for link in links)
    roots = tuple(x509.load_pem_x509_certificates(bundle.encode()))
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [identity]:
        raise LabError(f"the certificate is not for {identity}")
    if chain[0].public_key() != key.public_key():
        raise LabError("the certificate is for another key")
    for below, above in zip(chain, (*chain[1:], None), strict=True):
        issuers = roots if above is None else (above,)
        if not any(_issued(below, issuer) for issuer in issuers):
            raise LabError("the chain does not end at a root")
    return HeldCertificate(identity=identity, chain=chain, roots=roots, key=key)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, this issuer is not the one
        return False
    return True
