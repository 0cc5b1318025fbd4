"""From what a key store keeps to what issuance signs with, tried out before it is used.

In: kept authorities and the time. Out: a snapshot, or the reason why there is none
(docs/protocol/authorities.md AT-30 to AT-33).
"""

from dataclasses import replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.ca.authority import AuthorityKey, pem_of, signing_hash
from controlplane.ca.authority_set import AuthoritySet, KeptAuthorities
from controlplane.ca.bundle import bundle_pem
from controlplane.ca.checks import check
from controlplane.ca.errors import AuthorityError, AuthoritySourceError
from controlplane.ca.profile import Profile, unsigned_certificate
from controlplane.ca.rotation_policy import RotationPolicy
from controlplane.ca.signer import SignerSnapshot
from controlplane.ca.ttl import Validity
from controlplane.model.certificate import AuthorityStatus, AuthorityTier

_TRIAL = Profile.for_serving(("self-test.invalid",))


def snapshot_of(kept: KeptAuthorities, *, now: datetime, policy: RotationPolicy) -> SignerSnapshot:
    """Return what signs now.

    Raises:
        AuthoritySourceError: nothing is in force, or what is does not work.
    """
    authorities = kept.authorities
    signer = authorities.active_intermediate
    if signer is None or signer.status is not AuthorityStatus.ACTIVE:
        raise AuthoritySourceError("no authority is in force", reason_code="signer-none")
    root = authorities.find(signer.parent_authority_id)
    trusted = {entry.certificate for entry in authorities.trusted}
    if root is None or root.certificate not in trusted:
        raise AuthoritySourceError(
            "the root of the authority in force is not trusted", reason_code="signer-root-untrusted"
        )
    key = kept.keys.get(signer.authority_id)
    if key is None:
        raise AuthoritySourceError(
            "the key of the authority in force is missing", reason_code="signer-key-missing"
        )
    certificate = x509.load_der_x509_certificate(signer.certificate)
    parent = x509.load_der_x509_certificate(root.certificate)
    snapshot = SignerSnapshot(
        certificate=certificate,
        key=key,
        chain=(pem_of(certificate),),
        bundle=bundle_pem(authorities),
        generation=authorities.state.generation,
        trust_domain=authorities.state.trust_domain,
        not_after=min(certificate.not_valid_after_utc, parent.not_valid_after_utc),
        authority_id=signer.authority_id,
        leaf_ttl_cap=_narrowed(authorities, policy),
    )
    try_out(snapshot, key, above=(parent,), now=now)
    _try_waiting(kept, snapshot, now)
    return snapshot


def _try_waiting(kept: KeptAuthorities, snapshot: SignerSnapshot, now: datetime) -> None:
    """Try out what will sign next: a replica confirms only what works on it."""
    authorities = kept.authorities
    for record in authorities.of_tier(AuthorityTier.INTERMEDIATE, AuthorityStatus.PREPARED):
        if record.not_after <= now:
            continue  # It will fail unused, which is no reason to stop what is in force.
        root = authorities.find(record.parent_authority_id)
        key = kept.keys.get(record.authority_id)
        if root is None or key is None:
            raise AuthoritySourceError(
                "an authority that waits to sign is not whole", reason_code="waiting-not-whole"
            )
        certificate = x509.load_der_x509_certificate(record.certificate)
        parent = x509.load_der_x509_certificate(root.certificate)
        waiting = replace(
            snapshot, certificate=certificate, key=key, not_after=certificate.not_valid_after_utc
        )
        try_out(waiting, key, above=(parent,), now=now)


def try_out(
    snapshot: SignerSnapshot,
    key: AuthorityKey,
    *,
    above: tuple[x509.Certificate, ...],
    now: datetime,
) -> None:
    """Sign a certificate nobody gets and follow it up to a root.

    Args:
        snapshot: what will sign.
        key: its key.
        above: the certificates above the signing one, nearest first, a root last; empty where
            the signing one is a root.
        now: the time.

    Raises:
        AuthoritySourceError: the key does not fit, or the certificates do not hang together.
    """
    signer = snapshot.certificate
    if not signer.not_valid_before_utc <= now < snapshot.not_after:
        raise AuthoritySourceError(
            "the authority in force is not valid now", reason_code="signer-expired"
        )
    try:
        start = now.replace(microsecond=0)
        validity = Validity(
            not_before=max(start, signer.not_valid_before_utc),
            not_after=min(start + timedelta(minutes=1), snapshot.not_after),
        )
        trial = unsigned_certificate(
            _TRIAL, key.public_key(), validity, signer=signer, serial=x509.random_serial_number()
        ).sign(key, signing_hash(key))
        check(trial.public_bytes(Encoding.DER), _TRIAL, key.public_key(), snapshot)
        links = (signer, *above)
        for lower, upper in zip(links, (*links[1:], links[-1]), strict=True):
            lower.verify_directly_issued_by(upper)
    except (AuthorityError, InvalidSignature, ValueError, TypeError):
        raise AuthoritySourceError(
            "the authority in force cannot sign a certificate that its root confirms",
            reason_code="signer-self-test",
        ) from None


def _narrowed(authorities: AuthoritySet, policy: RotationPolicy) -> float | None:
    """Return the cap of lifetimes while a root is on its way in, or the one there is is tainted."""
    root = authorities.active_root
    if root is not None and root.status is AuthorityStatus.TAINTED:
        return policy.tainted_leaf_lifetime.total_seconds()
    if root is not None and any(
        each.status is AuthorityStatus.PUBLISHED for each in authorities.authorities
    ):
        return policy.published_leaf_lifetime.total_seconds()
    return None
