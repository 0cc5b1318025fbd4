"""Ten thousand damaged requests: each is answered, none by a fault, and nothing wrong is signed."""

import logging
import random
import sys
from io import StringIO

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.ca.errors import Reply
from controlplane.ca.limits import RateLimits
from controlplane.pb.certificate_pb2 import IstioCertificateRequest
from tests.support.authorities import a_key
from tests.support.hand_made import ECDSA_SHA256, der_of, pem, tlv
from tests.support.issuing import EMPTY_ORGANIZATION, SHOP, Desk, a_csr, a_request, leaf_of

BATCH = 1000
CANARY = "CANARY0TOKEN0CANARY"
SEEDS = [
    a_csr(SHOP),
    a_csr(SHOP, key=a_key("RSA-2048"), subject=EMPTY_ORGANIZATION),
    a_csr(SHOP, key=a_key("P-384")),
    a_csr(
        SHOP,
        names=[x509.UniformResourceIdentifier(str(SHOP)), x509.DNSName("istiod.svc")],
        extensions=[(x509.BasicConstraints(ca=True, path_length=1), True)],
    ),
]
DERS = [der_of(csr) for csr in SEEDS]
INTERESTING = [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x0C, 0x30, 0x31, 0x7F, 0x80, 0x82, 0x84, 0xFF]


def elements(der: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Return where the elements of DER begin and end, nested ones too."""
    found = []
    end = len(der) if end is None else end
    while start + 2 <= end:
        length, body = der[start + 1], start + 2
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(der[body : body + octets], "big")
            body += octets
        stop = body + length
        if stop > end:
            return found
        found.append((start, stop))
        if der[start] & 0x20:
            found += elements(der, body, stop)
        start = stop
    return found


def damaged_der(der: bytes, luck: random.Random) -> bytes:
    """Return DER with one element, length, tag or byte that is not as it was."""
    parts = elements(der)
    start, stop = luck.choice(parts)
    other, other_stop = luck.choice(parts)
    at = luck.randrange(len(der))
    odd = bytes([luck.choice(INTERESTING)])
    return luck.choice(
        [
            der[:start] + der[stop:],
            der[:stop] + der[start:stop] + der[stop:],
            der[:start] + der[other:other_stop] + der[stop:],
            der[:start] + odd + der[start + 1 :],
            der[: start + 1] + odd + der[start + 2 :],
            der[:at] + bytes([der[at] ^ (1 << luck.randrange(8))]) + der[at + 1 :],
            der[:at],
            der[:at] + luck.randbytes(luck.randrange(1, 40)) + der[at:],
        ]
    )


def damaged_and_signed(der: bytes, luck: random.Random) -> bytes:
    """Return a CSR of a P-256 key whose body was damaged before it was signed."""
    body_start, body_stop = elements(der)[1]
    body = damaged_der(der[body_start:body_stop], luck)
    key = a_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(body, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, body, ECDSA_SHA256, tlv(3, b"\0", signature))


def damaged_text(text: str, luck: random.Random) -> str:
    """Return PEM whose frame is not as it was."""
    at = luck.randrange(len(text))
    match luck.randrange(5):
        case 0:
            return text[:at] + chr(luck.randrange(128)) + text[at + 1 :]
        case 1:
            return text[:at] + text[at + luck.randrange(30) :]
        case 2:
            return text + luck.choice(SEEDS)
        case 3:
            return text.replace("CERTIFICATE", luck.choice(["NEW CERTIFICATE", "X509", ""]))
    return text[:at] + "-----BEGIN CERTIFICATE REQUEST-----\n" + text[at:]


def damaged(luck: random.Random) -> bytes:
    """Return a request with damage somewhere: in DER, PEM, metadata or the message."""
    kind = luck.randrange(10)
    if kind < 3:
        return a_request(pem(damaged_and_signed(luck.choice([DERS[0], DERS[3]]), luck)))
    if kind < 5:
        return a_request(pem(damaged_der(luck.choice(DERS), luck)))
    if kind < 7:
        return a_request(damaged_text(luck.choice(SEEDS), luck))
    if kind == 7:
        return a_request(luck.choice(SEEDS), named=luck.choice([CANARY, 1, [CANARY], "spiffe://"]))
    message = a_request(luck.choice(SEEDS), validity=luck.choice([0, -1, 2**63 - 1, 600]))
    if kind == 8:
        at = luck.randrange(len(message))
        return message[:at] + luck.randbytes(luck.randrange(9)) + message[at + 1 :]
    return message[: luck.randrange(len(message))] * luck.randrange(1, 4)


@pytest.mark.proves("CA-34")
@pytest.mark.refutes("CA-13", "CA-34")
@pytest.mark.parametrize("batch", range(10))
async def test_damaged_requests(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    luck = random.Random(batch)
    log = StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(log),
        cache_logger_on_first_use=False,
    )
    unlimited = RateLimits(burst_per_caller=10**9, burst=10**9)
    desk = Desk(limits=unlimited)
    desk.authenticator.callers[CANARY] = desk.authenticator.callers["ztunnel"]
    headers = {"authorization": (f"Bearer {CANARY}",)}
    replies = []
    try:
        for _ in range(BATCH):
            answer = await desk.ask(damaged(luck), headers)
            if isinstance(answer, Reply):
                assert answer.status != "INTERNAL", answer
                replies.append(answer.text)
            else:
                names = leaf_of(answer).extensions.get_extension_for_class(
                    x509.SubjectAlternativeName
                )
                assert len(list(names.value)) == 1
                assert isinstance(next(iter(names.value)), x509.UniformResourceIdentifier)
    finally:
        structlog.reset_defaults()
    assert len(replies) > BATCH / 2
    said = "\n".join([*replies, log.getvalue(), repr(desk.ledger), repr(desk.requests)])
    for secret in secrets():
        assert secret not in said


def secrets() -> list[str]:
    """Return what was planted: the token, and every line of the CSRs and of the signing key."""
    signing = a_key("P-256", 201).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    lines = [line for text in [*SEEDS, signing.decode()] for line in text.splitlines()]
    return [CANARY, *(line for line in lines if len(line) > 40 and not line.startswith("-"))]


def test_the_seeds_are_requests() -> None:
    assert IstioCertificateRequest.FromString(a_request(SEEDS[0])).csr == SEEDS[0]
    assert all(pem(der_of(csr)).split() == csr.split() for csr in SEEDS)
