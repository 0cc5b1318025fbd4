"""The situations of docs/protocol/certificates.md that issuance decides, by their numbers."""

import re
import time
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448
from cryptography.x509.oid import ExtensionOID

from controlplane.authentication.errors import MalformedCredentialsError, Reason
from controlplane.ca.signer import SignerSnapshot
from controlplane.model.identity import Identity
from tests.support import hand_made
from tests.support.authorities import KINDS, FixedSigner, a_key, a_snapshot
from tests.support.issuing import (
    EMPTY_ORGANIZATION,
    HEADERS,
    NOW,
    SHOP,
    ZTUNNEL_ITSELF,
    Desk,
    a_csr,
    a_request,
    chain_of,
    leaf_of,
    refusal_of,
)

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "protocol" / "certificates.md"
OVER_CONNECTIONS = TESTS / "integration" / "test_certificate_service.py"
WAYPOINT_HEADERS = {"authorization": ("Bearer waypoint",)}
WAYPOINT_IDENTITY = Identity(
    trust_domain="cluster.local", namespace="shop", service_account="waypoint"
)


def names_of(leaf: x509.Certificate) -> list[x509.GeneralName]:
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert found.critical
    return list(found.value)


def uri(identity: object) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(str(identity))


def test_every_situation_of_the_page_has_a_test() -> None:
    listed = re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    sources = Path(__file__).read_text() + OVER_CONNECTIONS.read_text()
    tested = re.findall(r"^async def test_situation_(\d+)_", sources, re.MULTILINE)
    assert sorted(listed) == sorted(tested)


@pytest.mark.proves("CA-10", "CA-24")
@pytest.mark.parametrize("kind", KINDS)
async def test_situation_1_pod_of_the_node(kind: str) -> None:
    snapshot = a_snapshot(kind, now=NOW)
    answer = await Desk(snapshot=snapshot).ask()
    chain = chain_of(answer)
    assert chain[1:] == [snapshot.chain[0], snapshot.bundle]
    assert names_of(leaf_of(answer)) == [uri(SHOP)]
    assert len(leaf_of(answer).subject) == 0


async def test_situation_2_own_service_account_by_name() -> None:
    desk = Desk()
    answer = await desk.ask(a_request(named=str(ZTUNNEL_ITSELF)))
    assert names_of(leaf_of(answer)) == [uri(ZTUNNEL_ITSELF)]
    assert desk.pods.asked == [ZTUNNEL_ITSELF]


@pytest.mark.proves("CA-8", "CA-5")
async def test_situation_3_waypoint() -> None:
    desk = Desk()
    csr = a_csr(WAYPOINT_IDENTITY, key=a_key("RSA-2048"), subject=EMPTY_ORGANIZATION)
    request = a_request(csr, named=None, metadata={"CertSigner": ""})
    leaf = leaf_of(await desk.ask(request, WAYPOINT_HEADERS))
    assert names_of(leaf) == [uri(WAYPOINT_IDENTITY)]
    assert len(leaf.subject) == 0
    assert desk.witness.heard == ["requested", "signed", "issued RSA-2048"]


@pytest.mark.proves("CA-8")
async def test_situation_4_waypoint_of_another_trust_domain() -> None:
    desk = Desk()
    csr = a_csr("spiffe://elsewhere/ns/shop/sa/waypoint", key=a_key("RSA-2048"))
    answer = await desk.ask(a_request(csr, named=None), WAYPOINT_HEADERS)
    assert names_of(leaf_of(answer)) == [uri(WAYPOINT_IDENTITY)]
    assert "names differed" in desk.witness.heard


async def test_situation_13_two_cluster_headers() -> None:
    desk = Desk()
    desk.authenticator.callers["ztunnel"] = MalformedCredentialsError(Reason.SEVERAL_CLUSTERS)
    answer = await desk.ask(headers={**HEADERS, "clusterid": ("a", "b")})
    assert refusal_of(answer).status == "INVALID_ARGUMENT"


async def denied(named: str) -> Desk:
    desk = Desk()
    reply = refusal_of(await desk.ask(a_request(a_csr(SHOP), named=named)))
    assert (reply.status, reply.text) == (
        "UNAUTHENTICATED",
        "request impersonation authentication failure",
    )
    assert desk.ledger.issued == []
    return desk


@pytest.mark.refutes("CA-11", "CA-10")
@pytest.mark.parametrize(
    "named",
    [
        "",
        "not-a-spiffe",
        "spiffe://cluster.local/ns/shop/sa",
        "spiffe://cluster.local/ns/shop/sa/cart/x",
        "spiffe://cluster.local/ns/shop/sa/cart/",
        "spiffe://cluster.local/ns//sa/cart",
        "spiffe://cluster.local/ns/shop/sa/",
    ],
)
async def test_situation_18_malformed_identities(named: str) -> None:
    desk = await denied(named)
    assert desk.ledger.refused[0].reason == "identity-malformed"
    assert desk.pods.asked == []


async def test_situation_19_another_trust_domain() -> None:
    desk = await denied("spiffe://elsewhere.local/ns/shop/sa/cart")
    assert desk.ledger.refused[0].reason == "foreign-trust-domain"
    assert desk.ledger.refused[0].requested_id == "spiffe://elsewhere.local/ns/shop/sa/cart"


async def test_situation_20_names_inside_a_trust_domain() -> None:
    smuggled = "spiffe://cluster.local,istiod.istio-system.svc,x/ns/shop/sa/cart"
    desk = await denied(smuggled)
    assert desk.ledger.issued == []
    assert desk.ledger.refused[0].requested_id == smuggled


@pytest.mark.parametrize(
    "named",
    [
        "spiffe://cluster.local/ns/shop/sa/cart\0",
        "spiffe://cluster.local/ns/shop/sa/cart\n",
        "\nspiffe://cluster.local/ns/shop/sa/cart",
        "spiffe://cluster.local/ns/shop/sa/ca%2frt",
        "spiffe://cluster.local/ns/Shop/sa/cart",
        "SPIFFE://cluster.local/ns/shop/sa/cart",
        "spiffe://cluster.local/ns/shop/sa/c\u0430rt",
        "spiffe://cluster.local/ns/shop/sa/..",
        "spiffe://cluster.local/ns/shop/../sa/cart",
        "spiffe://cluster.local/ns/shop/sa/cart?x",
        "spiffe://cluster.local:80/ns/shop/sa/cart",
        "spiffe://user@cluster.local/ns/shop/sa/cart",
    ],
)
async def test_situation_21_odd_characters(named: str) -> None:
    desk = await denied(named)
    kept = desk.ledger.refused[0].requested_id
    assert kept.isascii()
    assert kept.isprintable()


@pytest.mark.refutes("CA-5")
@pytest.mark.parametrize("named", [7, ["spiffe://cluster.local/ns/shop/sa/cart"], None, True, {}])
async def test_situation_22_identity_is_no_string(named: Any) -> None:
    desk = Desk()
    request = a_request(named=None, metadata={"ImpersonatedIdentity": named})
    assert refusal_of(await desk.ask(request)).status == "INVALID_ARGUMENT"
    assert desk.ledger.refused[0].reason == "identity-not-a-string"


GOOD = a_csr()
DER = hand_made.der_of(GOOD)


async def rejected(csr: str) -> Desk:
    desk = Desk()
    reply = refusal_of(await desk.ask(a_request(csr)))
    assert reply.status == "INVALID_ARGUMENT"
    assert reply.text.startswith("CSR signing error (")
    assert desk.ledger.issued == []
    return desk


@pytest.mark.refutes("CA-13")
@pytest.mark.parametrize(
    "csr",
    [
        "",
        "hello",
        hand_made.pem(DER[:-9]),
        hand_made.pem(DER + b"\0"),
        GOOD + GOOD,
        "junk\n" + GOOD,
        GOOD + "junk",
        GOOD.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        GOOD.replace("END CERTIFICATE REQUEST", "END NEW CERTIFICATE REQUEST"),
        GOOD.replace("REQUEST-----\n", "REQUEST-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
        GOOD.replace("=", "") + "=",
        "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
    ],
)
async def test_situation_29_not_one_csr(csr: str) -> None:
    await rejected(csr)


@pytest.mark.proves("CA-13")
@pytest.mark.parametrize(
    "csr",
    [
        GOOD.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        "\n " + GOOD.replace("\n", "\r\n") + "\n\n",
    ],
)
async def test_csr_in_other_dress(csr: str) -> None:
    assert names_of(leaf_of(await Desk().ask(a_request(csr)))) == [uri(SHOP)]


@pytest.mark.refutes("CA-15")
@pytest.mark.parametrize("change", ["signature", "key"])
async def test_situation_30_signature_of_another(change: str) -> None:
    mine, other = a_key(), a_key("P-256", 1)
    assert isinstance(mine, ec.EllipticCurvePrivateKey)
    assert isinstance(other, ec.EllipticCurvePrivateKey)
    if change == "key":
        csr = hand_made.with_key(GOOD, mine, other)
    else:
        csr = hand_made.pem(DER[:-1] + bytes([DER[-1] ^ 1]))
    desk = await rejected(csr)
    assert desk.ledger.refused[0].reason in {"csr-signature", "csr-unreadable"}


def key_usage(*, signs_certificates: bool = False, signs_lists: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_lists,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.mark.refutes("CA-16")
@pytest.mark.parametrize(
    "wish",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        key_usage(signs_certificates=True),
        key_usage(signs_lists=True),
    ],
)
@pytest.mark.parametrize("names_nobody", [False, True])
async def test_situation_31_wants_an_authority(
    wish: x509.ExtensionType, names_nobody: bool
) -> None:
    desk = Desk()
    csr = a_csr(WAYPOINT_IDENTITY if names_nobody else SHOP, extensions=[(wish, True)])
    request = a_request(csr, named=None if names_nobody else str(SHOP))
    headers = WAYPOINT_HEADERS if names_nobody else HEADERS
    assert refusal_of(await desk.ask(request, headers)).status == "INVALID_ARGUMENT"
    assert desk.ledger.refused[0].reason == "csr-authority"


@pytest.mark.refutes("CA-17")
@pytest.mark.parametrize(
    "csr",
    [
        a_csr("spiffe://cluster.local/ns/shop/sa/other"),
        a_csr(None),
        a_csr(names=[uri(SHOP), x509.DNSName("istiod.istio-system.svc")]),
        a_csr(names=[x509.IPAddress(ip_address("10.0.0.1")), uri(SHOP)]),
        a_csr(names=[uri(SHOP), uri(SHOP)]),
        a_csr(names=[x509.DNSName(str(SHOP))]),
        a_csr(names=[x509.RFC822Name("a@b.example")]),
        a_csr(SHOP, extensions=[(key_usage(), True)]),
        a_csr(
            SHOP, subject=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "istiod.svc")])
        ),
    ],
    ids=["other", "none", "dns", "ip", "twice", "dns only", "mail", "extension", "common name"],
)
async def test_situation_32_csr_asks_for_more(csr: str) -> None:
    desk = await rejected(csr)
    assert desk.ledger.refused[0].reason == "csr-names"


WEAK = {
    "RSA-1024": a_csr(key=a_key("RSA-1024")),
    "RSA-16384": hand_made.assemble(
        hand_made.a_body(hand_made.rsa_key(16384)), hand_made.RSA_SHA256, bytes(2048)
    ),
    "RSA-2048, exponent 3": hand_made.assemble(
        hand_made.a_body(hand_made.rsa_key(2048, 3)), hand_made.RSA_SHA256, bytes(256)
    ),
    "RSA-2048, huge exponent": hand_made.assemble(
        hand_made.a_body(hand_made.rsa_key(2048, 2**2000 + 1)), hand_made.RSA_SHA256, bytes(256)
    ),
    "P-224": a_csr(key=ec.generate_private_key(ec.SECP224R1())),
    "P-521": a_csr(key=ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": a_csr(key=ec.generate_private_key(ec.SECP256K1())),
    "Ed448": a_csr(key=ed448.Ed448PrivateKey.generate()),
    "DSA": a_csr(key=dsa.generate_private_key(2048)),
    "SHA-1": hand_made.signed_with_sha1(ec.generate_private_key(ec.SECP256R1())),
}


@pytest.mark.refutes("CA-14")
@pytest.mark.parametrize("what", WEAK)
async def test_situation_33_weak_keys(what: str) -> None:
    desk = await rejected(WEAK[what])
    expected = {"SHA-1": "csr-hash", "Ed448": "csr-hash"}.get(what, "key-type")
    assert desk.ledger.refused[0].reason == expected
    message = a_request(WEAK[what])
    costs = []
    for _ in range(5):
        started = time.process_time()
        await desk.ask(message)
        costs.append(time.process_time() - started)
    assert min(costs) < 0.005


@pytest.mark.proves("CA-14", "CA-15", "CA-16", "CA-17")
@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048", "RSA-3072"])
async def test_accepted_keys(kind: str) -> None:
    key = a_key(kind)
    leaf = leaf_of(await Desk().ask(a_request(a_csr(SHOP, key=key))))
    assert leaf.public_key() == key.public_key()


@pytest.mark.proves("CA-20")
@pytest.mark.parametrize("asked", [0, -1, -(2**63)])
async def test_situation_34_no_lifetime(asked: int) -> None:
    leaf = leaf_of(await Desk(draw=0.5).ask(a_request(validity=asked)))
    assert leaf.not_valid_after_utc == NOW + timedelta(seconds=86_400 * 0.975)


@pytest.mark.refutes("CA-21")
@pytest.mark.parametrize("asked", [7_776_001, 2**63 - 1])
async def test_situation_35_too_long_a_lifetime(asked: int) -> None:
    reply = refusal_of(await Desk().ask(a_request(validity=asked)))
    assert reply.status == "INVALID_ARGUMENT"
    assert reply.text == (
        f"CSR signing error (requested TTL {asked}s is greater than the max allowed TTL 7776000s)"
    )


@pytest.mark.proves("CA-23")
async def test_situation_36_lifetime_beyond_the_authority() -> None:
    snapshot = a_snapshot(now=NOW, life=timedelta(hours=3))
    leaf = leaf_of(await Desk(snapshot=snapshot).ask())
    assert leaf.not_valid_after_utc == snapshot.certificate.not_valid_after_utc


@pytest.mark.refutes("CA-23", "CA-32")
@pytest.mark.parametrize("snapshot", [None, a_snapshot(now=NOW, life=timedelta(minutes=30))])
async def test_situation_37_no_authority(snapshot: SignerSnapshot | None) -> None:
    desk = Desk(signers=FixedSigner(snapshot))
    reply = refusal_of(await desk.ask())
    assert (reply.status, reply.text) == ("UNAVAILABLE", "CSR signing error (not ready)")


@pytest.mark.refutes("CA-2")
@pytest.mark.parametrize(
    ("csr", "status"),
    [
        ("A" * 5 * 1024 * 1024, "RESOURCE_EXHAUSTED"),
        (
            a_csr(names=[x509.DNSName(f"name-{n}.example") for n in range(5000)]),
            "INVALID_ARGUMENT",
        ),
    ],
    ids=["5 MiB", "5000 names"],
)
async def test_situation_38_huge(csr: str, status: str) -> None:
    assert len(csr) > 100 * 1024
    desk = Desk()
    assert refusal_of(await desk.ask(a_request(csr))).status == status
    assert desk.authenticator.asked == 0


@pytest.mark.proves("CA-33", "CA-26")
async def test_situation_41_same_csr_and_same_key() -> None:
    desk = Desk()
    request = a_request()
    first, second = leaf_of(await desk.ask(request)), leaf_of(await desk.ask(request))
    assert first.serial_number != second.serial_number
    assert [row.key_seen_on for row in desk.ledger.issued] == ["", ""]
    elsewhere = a_request(a_csr(WAYPOINT_IDENTITY), named=None)
    leaf_of(await desk.ask(elsewhere, WAYPOINT_HEADERS))
    assert desk.ledger.issued[-1].key_seen_on == "node-a"
    assert "key shared" in desk.witness.heard


@pytest.mark.proves("CA-31")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("roots", [1, 3])
@pytest.mark.parametrize("has_intermediate", [True, False])
async def test_situation_52_elements_of_an_answer(
    kind: str, roots: int, has_intermediate: bool
) -> None:
    snapshot = a_snapshot(kind, now=NOW, roots=roots, has_intermediate=has_intermediate)
    chain = chain_of(await Desk(snapshot=snapshot).ask())
    counts = [len(x509.load_pem_x509_certificates(link.encode())) for link in chain]
    assert counts == [1] * (len(chain) - 1) + [roots]
    assert len(chain) == (3 if has_intermediate else 2)
    assert all(link.endswith("-----END CERTIFICATE-----\n") for link in chain)
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    assert leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).critical
