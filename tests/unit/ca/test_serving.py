import asyncio
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controlplane.ca.errors import UnavailableError
from controlplane.ca.issuance import Issuance
from controlplane.ca.serving import LIFETIME, ServingCertificate, istiod_names
from controlplane.ca.signer import SignerSnapshot
from controlplane.ca.ttl import LifetimePolicy
from tests.support.authorities import FixedSigner, a_snapshot
from tests.support.dataflow_time import VirtualClock

NAMES = istiod_names("istio-system")
DAY = 86_400


class Rig:
    def __init__(self, snapshot: SignerSnapshot | None = None) -> None:
        self.clock = VirtualClock()
        # A day of clearance: virtual time starts at the instant the authority does.
        self.first = a_snapshot(now=self.clock.now())
        self.signer = FixedSigner(snapshot or self.first)
        self.installed: list[tuple[bytes, bytes]] = []
        issuance = Issuance(self.signer, self.clock, LifetimePolicy(), draw=lambda: 0.0)
        self.serving = ServingCertificate(
            issuance,
            self.signer,
            NAMES,
            self.clock,
            poll=60,
        )

    def install(self, chain: bytes, key: bytes) -> None:
        self.installed.append((chain, key))

    def leaf(self, position: int = -1) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.installed[position][0])[0]


def names_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


@pytest.mark.proves("CA-40")
async def test_the_names_are_those_clients_know() -> None:
    rig = Rig()
    served = await rig.serving.issue()
    leaf = x509.load_pem_x509_certificates(served.chain)[0]
    assert names_of(leaf).get_values_for_type(x509.DNSName) == [
        "istio-pilot.istio-system.svc",
        "istiod-remote.istio-system.svc",
        "istiod.istio-system.svc",
        "localhost",
    ]
    assert load_pem_private_key(served.key, None).public_key() == leaf.public_key()
    leaf.verify_directly_issued_by(rig.first.certificate)


@pytest.mark.refutes("CA-40")
def test_a_revision_adds_a_name_unless_it_is_the_default_one() -> None:
    assert "istiod-canary.a.svc" in istiod_names("a", revision="canary")
    assert istiod_names("a", revision="default") == istiod_names("a")
    with pytest.raises(ValueError, match="not a host name"):
        ServingCertificate(
            Issuance(FixedSigner(None), VirtualClock(), LifetimePolicy(), draw=lambda: 0.0),
            FixedSigner(None),
            ("*.example",),
            VirtualClock(),
        )


@pytest.mark.proves("CA-41")
@pytest.mark.refutes("CA-41", "CA-42")
async def test_it_is_replaced_at_half_its_life_and_not_before() -> None:
    rig = Rig()
    first = await rig.serving.issue()
    leaf = x509.load_pem_x509_certificates(first.chain)[0]
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert life <= timedelta(seconds=LIFETIME + 120)
    running = asyncio.ensure_future(rig.serving.run(rig.install))
    await rig.clock.advance(3 * DAY)
    assert rig.installed == []
    await rig.clock.advance(DAY)
    assert len(rig.installed) == 1
    assert rig.leaf().public_key() != leaf.public_key()
    running.cancel()


@pytest.mark.proves("CA-42")
async def test_it_follows_the_authority_and_outlasts_its_absence() -> None:
    rig = Rig()
    await rig.serving.issue()
    running = asyncio.ensure_future(rig.serving.run(rig.install))
    rig.signer.snapshot = None
    await rig.clock.advance(4 * DAY)
    assert rig.installed == []
    second = a_snapshot(now=rig.clock.now(), generation=7)
    rig.signer.snapshot = second
    await rig.clock.advance(120)
    assert len(rig.installed) == 1
    rig.leaf().verify_directly_issued_by(second.certificate)
    running.cancel()


async def test_without_an_authority_there_is_none() -> None:
    rig = Rig()
    rig.signer.snapshot = None
    with pytest.raises(UnavailableError):
        await rig.serving.issue()
