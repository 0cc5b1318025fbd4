import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.ca.csr import key_digest_of, read_signing_request
from controlplane.ca.errors import SigningRequestError
from tests.support import hand_made
from tests.support.authorities import a_key
from tests.support.issuing import EMPTY_ORGANIZATION, SHOP, a_csr

EXTENSION_REQUEST = bytes.fromhex("06092a864886f70d01090e")


def reason_of(csr: str, forbidden_keys: frozenset[str] = frozenset()) -> str:
    with pytest.raises(SigningRequestError) as caught:
        read_signing_request(csr, forbidden_keys=forbidden_keys)
    return caught.value.reason_code


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("P-256", hashes.SHA384()), ("P-384", hashes.SHA512()), ("RSA-2048", hashes.SHA256())],
)
def test_what_is_read(kind: str, algorithm: hashes.HashAlgorithm) -> None:
    key = a_key(kind)
    request = read_signing_request(
        a_csr(SHOP, key=key, subject=EMPTY_ORGANIZATION, algorithm=algorithm),
        forbidden_keys=frozenset(),
    )
    assert request.key_type == kind
    assert request.public_key == key.public_key()
    assert request.key_digest == key_digest_of(key.public_key())
    assert len(request.digest) == 64
    assert request.asks_exactly_for(SHOP)
    assert not request.asks_otherwise_than(SHOP)


def test_a_csr_without_names_asks_for_nobody_else() -> None:
    request = read_signing_request(a_csr(None), forbidden_keys=frozenset())
    assert request.names == ()
    assert not request.asks_exactly_for(SHOP)
    assert not request.asks_otherwise_than(SHOP)


@pytest.mark.refutes("CA-16")
def test_the_key_of_an_authority() -> None:
    digest = key_digest_of(a_key().public_key())
    assert reason_of(a_csr(), frozenset({digest})) == "authority-key"


def signed(attributes: bytes) -> str:
    key = a_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    body = hand_made.a_body(hand_made.spki(key), attributes=attributes)
    return hand_made.assemble(
        body, hand_made.ECDSA_SHA256, key.sign(body, ec.ECDSA(hashes.SHA256()))
    )


def extension_request(*extensions: bytes) -> bytes:
    listed = hand_made.tlv(0x30, *extensions)
    return hand_made.tlv(0x30, EXTENSION_REQUEST, hand_made.tlv(0x31, listed))


# Basic constraints: nobody's authority.
HARMLESS = bytes.fromhex("300c0603551d130101ff04023000")


@pytest.mark.refutes("CA-13")
def test_an_extension_or_its_list_twice() -> None:
    read_signing_request(signed(extension_request(HARMLESS)), forbidden_keys=frozenset())
    assert reason_of(signed(extension_request(HARMLESS, HARMLESS))) == "csr-unreadable"
    assert reason_of(signed(extension_request(HARMLESS) * 2)) == "csr-unreadable"


def test_extensions_that_are_garbage() -> None:
    garbage = bytes.fromhex("300c0603551d130101ff04023055")
    assert reason_of(signed(extension_request(garbage))) == "csr-unreadable"


@pytest.mark.refutes("CA-34")
def test_what_is_said_quotes_nothing() -> None:
    secret = "Q" * 64
    with pytest.raises(SigningRequestError) as caught:
        read_signing_request(
            f"-----BEGIN CERTIFICATE REQUEST-----\n{secret}\n-----END CERTIFICATE REQUEST-----\n",
            forbidden_keys=frozenset(),
        )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert secret not in str(caught.value) + caught.value.reply


def test_names_that_cannot_be_read() -> None:
    # An x400Address: a kind of name that no reader knows.
    names = hand_made.tlv(0x30, hand_made.tlv(0xA3, b"\x30\x00"))
    extension = hand_made.tlv(0x30, bytes.fromhex("0603551d11"), hand_made.tlv(4, names))
    assert reason_of(signed(extension_request(extension))) == "csr-unreadable"


def test_the_length_is_looked_at_first() -> None:
    assert reason_of("A" * 16_385) == "csr-size"
    assert reason_of("A" * 16_384) == "csr-framing"
    assert isinstance(x509.load_pem_x509_csr(a_csr().encode()), x509.CertificateSigningRequest)
