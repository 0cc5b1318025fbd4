import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.ca.errors import (
    FaultyCertificateError,
    SigningRequestError,
    TicketError,
    UnavailableError,
)
from controlplane.ca.issuance import Issuance, Ticket
from controlplane.ca.profile import Profile
from controlplane.ca.ttl import LifetimePolicy
from controlplane.model.identity import Identity
from tests.support.authorities import FixedSigner, a_key, a_root, a_snapshot
from tests.support.issuing import NOW, SHOP, SetClock, a_csr

FOR_SHOP = Profile.for_workload(SHOP)


def an_issuance(source: FixedSigner | None = None) -> Issuance:
    signers = source or FixedSigner(a_snapshot(now=NOW))
    return Issuance(signers, SetClock(), LifetimePolicy(), draw=lambda: 0.0)


def leaf_of(chain: tuple[str, ...]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain[0].encode())


@pytest.mark.proves("CA-30", "CA-26")
async def test_a_ticket_becomes_a_chain() -> None:
    issuance = an_issuance()
    ticket = issuance.prepare(FOR_SHOP, a_csr())
    chain = await issuance.sign(ticket)
    leaf = leaf_of(chain.certificates)
    assert leaf.serial_number == chain.serial == ticket.serial
    assert chain.serial.bit_length() <= 159
    assert leaf.fingerprint(hashes.SHA256()).hex() == chain.digest
    assert leaf.public_key() == ticket.request.public_key


@pytest.mark.refutes("CA-30")
async def test_a_ticket_is_signed_once_and_by_its_issuance_only() -> None:
    issuance = an_issuance()
    ticket = issuance.prepare(FOR_SHOP, a_csr())
    with pytest.raises(TicketError):
        await an_issuance().sign(ticket)
    await issuance.sign(ticket)
    with pytest.raises(TicketError):
        await issuance.sign(ticket)


@pytest.mark.refutes("CA-30")
async def test_a_ticket_that_nobody_made_is_not_signed() -> None:
    issuance = an_issuance()
    made = issuance.prepare(FOR_SHOP, a_csr())
    other = Identity(trust_domain="cluster.local", namespace="a", service_account="b")
    forged = replace(made, profile=Profile.for_workload(other))
    assert isinstance(forged, Ticket)
    with pytest.raises(TicketError):
        await issuance.sign(forged)


def test_tickets_that_are_never_signed_are_forgotten() -> None:
    issuance = an_issuance()
    for _ in range(20):
        issuance.prepare(FOR_SHOP, a_csr())
    assert len(issuance._open) == 0


@pytest.mark.proves("CA-32")
async def test_the_snapshot_of_the_ticket_signs_whatever_happens_meanwhile() -> None:
    source = FixedSigner(a_snapshot(now=NOW, generation=1))
    issuance = an_issuance(source)
    first = source.snapshot
    ticket = issuance.prepare(FOR_SHOP, a_csr())
    source.snapshot = a_snapshot(now=NOW, generation=2, roots=2)
    chain = await issuance.sign(ticket)
    assert first is not None
    assert chain.certificates[1:] == (*first.chain, first.bundle)
    assert leaf_of(chain.certificates).issuer == first.certificate.subject


@pytest.mark.proves("CA-27")
@pytest.mark.parametrize(
    ("kind", "algorithm"), [("P-256", "sha256"), ("RSA-2048", "sha256"), ("P-384", "sha384")]
)
async def test_the_hash_goes_with_the_authority(kind: str, algorithm: str) -> None:
    issuance = an_issuance(FixedSigner(a_snapshot(kind, now=NOW)))
    chain = await issuance.sign(issuance.prepare(FOR_SHOP, a_csr()))
    found = leaf_of(chain.certificates).signature_hash_algorithm
    assert found is not None
    assert found.name == algorithm


@pytest.mark.refutes("CA-27")
async def test_the_hash_does_not_go_with_the_csr() -> None:
    issuance = an_issuance()
    csr = a_csr(key=a_key("P-384"), algorithm=hashes.SHA512())
    chain = await issuance.sign(issuance.prepare(FOR_SHOP, csr))
    assert isinstance(leaf_of(chain.certificates).signature_hash_algorithm, hashes.SHA256)


@pytest.mark.parametrize(("kind", "is_pooled"), [("P-256", False), ("RSA-2048", True)])
async def test_slow_keys_sign_in_a_thread(
    kind: str, is_pooled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuance = an_issuance(FixedSigner(a_snapshot(kind, now=NOW)))
    threads = []

    def watched(*_: object) -> None:
        threads.append(threading.current_thread() is not threading.main_thread())

    monkeypatch.setattr("controlplane.ca.issuance.check", watched)
    tickets = [issuance.prepare(FOR_SHOP, a_csr()) for _ in range(4)]
    await asyncio.gather(*map(issuance.sign, tickets))
    issuance.close()
    assert threads == [is_pooled] * 4


@pytest.mark.refutes("CA-26")
async def test_nothing_of_a_csr_but_its_key() -> None:
    issuance = an_issuance()
    csr = a_csr(
        names=[x509.DNSName("istiod.istio-system.svc")],
        subject=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "istiod")]),
        extensions=[(x509.OCSPNoCheck(), False)],
    )
    leaf = leaf_of((await issuance.sign(issuance.prepare(FOR_SHOP, csr))).certificates)
    der = leaf.public_bytes(Encoding.DER)
    assert b"istiod" not in der
    assert len(list(leaf.extensions)) == 6


@pytest.mark.proves("CA-28")
async def test_serving_certificates_go_the_same_way() -> None:
    issuance = an_issuance()
    profile = Profile.for_serving(("localhost", "istiod.istio-system.svc"))
    week = LifetimePolicy(default=604_800, maximum=604_800, cap=604_800, jitter=0)
    chain = await issuance.sign(issuance.prepare(profile, a_csr(None), lifetimes=week))
    leaf = leaf_of(chain.certificates)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == list(profile.names)
    assert leaf.not_valid_after_utc == NOW + timedelta(days=7)


@pytest.mark.refutes("CA-16")
@pytest.mark.parametrize("number", [100, 101, 201])
def test_keys_of_roots_and_intermediates_are_nobody_elses(number: int) -> None:
    issuance = an_issuance(FixedSigner(a_snapshot(now=NOW, roots=2)))
    with pytest.raises(SigningRequestError) as caught:
        issuance.prepare(FOR_SHOP, a_csr(key=a_key("P-256", number)))
    assert caught.value.reason_code == "authority-key"


@pytest.mark.refutes("CA-31", "CA-32")
@pytest.mark.parametrize(
    "change",
    [
        {"bundle": ""},
        {"bundle": "no certificates"},
        {"chain": ("nothing",)},
        {"chain": (a_root(begins=NOW).pem * 2,)},
        {"trust_domain": "elsewhere"},
    ],
)
def test_an_authority_that_clients_could_not_read_signs_nothing(change: dict[str, object]) -> None:
    issuance = an_issuance(FixedSigner(replace(a_snapshot(now=NOW), **change)))  # type: ignore[arg-type]
    with pytest.raises(UnavailableError):
        issuance.prepare(FOR_SHOP, a_csr())


def test_faults_of_callers_come_before_ours() -> None:
    issuance = an_issuance(FixedSigner(None, reason="no key"))
    with pytest.raises(SigningRequestError):
        issuance.prepare(FOR_SHOP, "no csr")
    with pytest.raises(UnavailableError, match="no key"):
        issuance.prepare(FOR_SHOP, a_csr())


@pytest.mark.proves("CA-22")
async def test_the_authority_narrows_lifetimes() -> None:
    source = FixedSigner(a_snapshot(now=NOW))
    source.narrow(7200)
    issuance = an_issuance(source)
    chain = await issuance.sign(issuance.prepare(FOR_SHOP, a_csr()))
    assert chain.validity.not_after == NOW + timedelta(hours=2)


@pytest.mark.refutes("CA-29")
async def test_a_key_that_is_not_the_authoritys_signs_nothing() -> None:
    snapshot = replace(a_snapshot(now=NOW), key=a_key("P-256", 7))
    issuance = an_issuance(FixedSigner(snapshot))
    with pytest.raises(FaultyCertificateError, match="signature"):
        await issuance.sign(issuance.prepare(FOR_SHOP, a_csr()))


async def test_a_key_that_fails_says_nothing_of_itself() -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("secret of the key")

    issuance = an_issuance(FixedSigner(replace(a_snapshot(now=NOW), key=Broken())))  # type: ignore[arg-type]
    ticket = issuance.prepare(FOR_SHOP, a_csr())
    with pytest.raises(FaultyCertificateError) as caught:
        await issuance.sign(ticket)
    assert caught.value.reason_code == "signature-failed"
    assert "secret" not in str(caught.value)
    with pytest.raises(TicketError):
        await issuance.sign(ticket)


def test_keys_are_not_shown() -> None:
    snapshot = a_snapshot(now=NOW)
    ticket = an_issuance(FixedSigner(snapshot)).prepare(FOR_SHOP, a_csr())
    assert "Private" not in repr(snapshot) + repr(ticket)
