"""Certificates of workloads, signed by the project's own profile below throw-away authorities."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.ca.profile import Profile, unsigned_certificate
from controlplane.ca.signer import SignerSnapshot
from controlplane.ca.ttl import Validity
from controlplane.lab.certificates import HeldCertificate
from controlplane.model.identity import Identity
from tests.support.authorities import a_root, a_snapshot


def an_identity(account: str, namespace: str = "app", trust_domain: str = "cluster.local") -> str:
    return str(Identity(trust_domain=trust_domain, namespace=namespace, service_account=account))


@cache
def mesh_signer() -> SignerSnapshot:
    """Return the one authority of the mesh, an intermediate below a root."""
    return a_snapshot(now=datetime.now(UTC))


def held(
    identity: str,
    *,
    signer: SignerSnapshot | None = None,
    begins: timedelta = timedelta(minutes=-5),
    life: timedelta = timedelta(hours=1),
) -> HeldCertificate:
    """Return a certificate as the control plane would sign it; ``begins`` counts from now."""
    signer = signer or mesh_signer()
    parsed = Identity.parse(identity)
    assert parsed is not None
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC).replace(microsecond=0) + begins
    leaf = unsigned_certificate(
        Profile.for_workload(parsed),
        key.public_key(),
        Validity(not_before=start, not_after=start + life),
        signer=signer.certificate,
        serial=x509.random_serial_number(),
    ).sign(signer.key, hashes.SHA256())
    roots = tuple(x509.load_pem_x509_certificates(signer.bundle.encode()))
    return HeldCertificate(
        identity=identity, chain=(leaf, signer.certificate), roots=roots, key=key
    )


def of_a_stranger(identity: str) -> HeldCertificate:
    """Return one of an authority nobody in the mesh trusts, which itself trusts the mesh."""
    begins = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    root = a_root(number=9, begins=begins)
    signer = replace(
        mesh_signer(), certificate=root.certificate, key=root.key, chain=(), bundle=root.pem
    )
    stranger = held(identity, signer=signer)
    return replace(stranger, chain=stranger.chain[:1], roots=held(identity).roots)
