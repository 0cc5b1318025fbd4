from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.ca.checks import check
from controlplane.ca.errors import FaultyCertificateError
from controlplane.ca.profile import (
    USAGES,
    Profile,
    issuer_key_identifier,
    key_usage_for,
    unsigned_certificate,
)
from controlplane.ca.ttl import Validity
from controlplane.model.identity import Identity
from tests.support.authorities import a_key, a_snapshot
from tests.support.issuing import NOW, SHOP

SNAPSHOT = a_snapshot(now=NOW)
SIGNER = SNAPSHOT.certificate
KEY = a_key().public_key()
PROFILE = Profile.for_workload(SHOP)
VALIDITY = Validity(not_before=NOW, not_after=NOW + timedelta(days=1))
OTHER = Identity(trust_domain="cluster.local", namespace="a", service_account="b")
Extensions = dict[type, tuple[x509.ExtensionType, bool]]


def good_extensions() -> Extensions:
    values: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName(PROFILE.names), True),
        (key_usage_for(KEY), True),
        (x509.ExtendedKeyUsage(USAGES), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (issuer_key_identifier(SIGNER), False),
        (x509.SubjectKeyIdentifier.from_public_key(KEY), False),
    ]
    return {type(value): (value, is_critical) for value, is_critical in values}


def signed(
    extensions: Extensions, *, subject: x509.Name | None = None, validity: Validity = VALIDITY
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or x509.Name([]))
        .issuer_name(SIGNER.subject)
        .public_key(KEY)
        .serial_number(5)
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
    )
    for value, is_critical in extensions.values():
        builder = builder.add_extension(value, critical=is_critical)
    return builder.sign(SNAPSHOT.key, hashes.SHA256()).public_bytes(Encoding.DER)


def fault_of(der: bytes) -> str:
    with pytest.raises(FaultyCertificateError) as caught:
        check(der, PROFILE, KEY, SNAPSHOT)
    return str(caught.value)


@pytest.mark.proves("CA-29", "CA-25")
def test_what_is_right_passes() -> None:
    check(signed(good_extensions()), PROFILE, KEY, SNAPSHOT)
    builder = unsigned_certificate(PROFILE, KEY, VALIDITY, signer=SIGNER, serial=7)
    der = builder.sign(SNAPSHOT.key, hashes.SHA256()).public_bytes(Encoding.DER)
    check(der, PROFILE, KEY, SNAPSHOT)


def names(*values: x509.GeneralName) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectAlternativeName(values), True


URI = x509.UniformResourceIdentifier(str(SHOP))
WRONG: dict[str, Callable[[Extensions], object]] = {
    "names: another": lambda e: e.update(
        {x509.SubjectAlternativeName: names(x509.UniformResourceIdentifier(str(OTHER)))}
    ),
    "names: one more": lambda e: e.update(
        {x509.SubjectAlternativeName: names(URI, x509.DNSName("istiod.istio-system.svc"))}
    ),
    "names: none": lambda e: e.pop(x509.SubjectAlternativeName),
    "set of extensions: names not critical": lambda e: e.update(
        {x509.SubjectAlternativeName: (names(URI)[0], False)}
    ),
    "constraints": lambda e: e.update(
        {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=0), True)}
    ),
    "key usage": lambda e: e.update(
        {x509.KeyUsage: (key_usage_for(a_key("RSA-2048").public_key()), True)}
    ),
    "extended key usage": lambda e: e.update(
        {x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)}
    ),
    "issuer key": lambda e: e.update(
        {x509.AuthorityKeyIdentifier: (x509.AuthorityKeyIdentifier(b"1", None, None), False)}
    ),
    "own key": lambda e: e.pop(x509.SubjectKeyIdentifier),
    "set of extensions: one more": lambda e: e.update(
        {x509.OCSPNoCheck: (x509.OCSPNoCheck(), False)}
    ),
}


@pytest.mark.refutes("CA-29", "CA-25", "CA-24")
@pytest.mark.parametrize("what", WRONG)
def test_extensions_that_are_wrong(what: str) -> None:
    extensions = good_extensions()
    WRONG[what](extensions)
    assert what.partition(":")[0] in fault_of(signed(extensions))


@pytest.mark.refutes("CA-29", "CA-24")
def test_a_subject() -> None:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    assert "subject" in fault_of(signed(good_extensions(), subject=subject))


@pytest.mark.refutes("CA-29")
@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        (SIGNER.not_valid_before_utc - timedelta(seconds=1), NOW + timedelta(hours=1)),
        (NOW, SIGNER.not_valid_after_utc + timedelta(seconds=1)),
    ],
)
def test_dates_beyond_the_signer(not_before: object, not_after: object) -> None:
    wrong = Validity(not_before=not_before, not_after=not_after)  # type: ignore[arg-type]
    assert "validity" in fault_of(signed(good_extensions(), validity=wrong))


@pytest.mark.refutes("CA-29")
def test_another_key_and_another_signer() -> None:
    der = signed(good_extensions())
    with pytest.raises(FaultyCertificateError, match="public key"):
        check(der, PROFILE, a_key("P-256", 1).public_key(), SNAPSHOT)
    other = a_snapshot(now=NOW, generation=2)
    with pytest.raises(FaultyCertificateError, match=r"issuer.*signature"):
        check(der, PROFILE, KEY, replace(SNAPSHOT, certificate=other.certificate))


@pytest.mark.refutes("CA-29")
def test_bytes_that_are_damaged() -> None:
    der = signed(good_extensions())
    assert "signature" in fault_of(der[:-1] + bytes([der[-1] ^ 1]))
    assert "not readable" in fault_of(der[:-1])
    assert "not readable" in fault_of(b"")
