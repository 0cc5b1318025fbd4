from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from controlplane.ca.authority import (
    Authority,
    KeyType,
    identifier_of,
    key_type_of,
    make_intermediate,
    make_key,
    make_root,
    signing_hash,
)
from controlplane.ca.profile import Profile, unsigned_certificate
from controlplane.ca.ttl import Validity
from controlplane.model.identity import Identity

NOW = datetime(2026, 3, 1, 12, 0, 0, 500, tzinfo=UTC)
LEAF = Identity(trust_domain="cluster.local", namespace="default", service_account="web")


def a_root(key_type: KeyType = KeyType.P256, *, days: int = 3650) -> Authority:
    return make_root("cluster.local", key_type=key_type, now=NOW, lifetime=timedelta(days=days))


def an_intermediate(root: Authority, key_type: KeyType = KeyType.P256) -> Authority:
    return make_intermediate(
        root, "cluster.local", key_type=key_type, now=NOW, lifetime=timedelta(days=14)
    )


def a_leaf(authority: Authority) -> x509.Certificate:
    key = make_key(KeyType.P256)
    validity = Validity(not_before=NOW, not_after=NOW + timedelta(hours=1))
    return unsigned_certificate(
        Profile.for_workload(LEAF),
        key.public_key(),
        validity,
        signer=authority.certificate,
        serial=x509.random_serial_number(),
    ).sign(authority.key, signing_hash(authority.key))


def verify(leaf: x509.Certificate, between: list[x509.Certificate], *roots: Authority) -> None:
    store = Store([root.certificate for root in roots])
    moment = (NOW + timedelta(minutes=1)).replace(tzinfo=None)
    PolicyBuilder().store(store).time(moment).build_client_verifier().verify(leaf, between)


@pytest.mark.proves("AT-1", "AT-3")
@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.P384, KeyType.RSA_2048])
def test_an_independent_verifier_accepts_leaf_intermediate_root(key_type: KeyType) -> None:
    root = a_root(key_type)
    intermediate = an_intermediate(root, key_type)
    verify(a_leaf(intermediate), [intermediate.certificate], a_root(), root)
    assert key_type_of(root.key) is key_type_of(intermediate.key) is key_type
    bits = intermediate.certificate.signature_hash_algorithm
    assert bits is not None
    assert bits.name == ("sha384" if key_type is KeyType.P384 else "sha256")


@pytest.mark.refutes("AT-1")
def test_an_intermediate_below_an_intermediate_is_not_accepted() -> None:
    root = a_root()
    upper = an_intermediate(root)
    lower = an_intermediate(upper)
    with pytest.raises(VerificationError):
        verify(a_leaf(lower), [lower.certificate, upper.certificate], root)


@pytest.mark.refutes("AT-1")
def test_another_root_does_not_vouch() -> None:
    root = a_root()
    intermediate = an_intermediate(root)
    with pytest.raises(VerificationError):
        verify(a_leaf(intermediate), [intermediate.certificate], a_root())


@pytest.mark.proves("AT-2")
def test_the_certificate_of_an_authority() -> None:
    root = a_root()
    intermediate = an_intermediate(root)
    for authority, tier, length in ((root, "root", 1), (intermediate, "int", 0)):
        certificate = authority.certificate
        assert (
            certificate.subject.rfc4514_string()
            == f"CN=istiod-lite {tier} {authority.identifier[:8]},O=cluster.local"
        )
        found = certificate.extensions
        constraints = found.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=length)
        usage = found.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert (usage.value.key_cert_sign, usage.value.crl_sign) == (True, True)
        assert not usage.value.digital_signature
        issuer = found.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert issuer.key_identifier == bytes.fromhex(root.identifier)
        assert certificate.not_valid_before_utc == NOW.replace(microsecond=0) - timedelta(minutes=2)


@pytest.mark.refutes("AT-2")
def test_no_two_authorities_share_a_name() -> None:
    roots = [a_root() for _ in range(4)]
    assert len({root.certificate.subject for root in roots}) == 4
    assert len({root.identifier for root in roots}) == 4


@pytest.mark.refutes("AT-3")
def test_other_kinds_of_keys_have_no_name() -> None:
    with pytest.raises(ValueError, match="P-521"):
        KeyType("P-521")
    assert key_type_of(b"no key") is None


@pytest.mark.proves("AT-4")
def test_an_intermediate_ends_with_its_root() -> None:
    root = a_root(days=3)
    intermediate = an_intermediate(root).certificate
    assert intermediate.not_valid_after_utc == root.certificate.not_valid_after_utc
    assert intermediate.not_valid_before_utc >= root.certificate.not_valid_before_utc


@pytest.mark.refutes("AT-4")
def test_an_intermediate_does_not_live_as_long_as_its_root() -> None:
    root = a_root()
    lifetime = an_intermediate(root).certificate.not_valid_after_utc - NOW
    assert timedelta(days=13) < lifetime <= timedelta(days=14)


def test_a_certificate_without_a_stated_identifier_is_known_by_its_key() -> None:
    root = a_root()
    stated = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert identifier_of(root.certificate) == stated.digest.hex()
    assert "EllipticCurve" not in repr(root)
