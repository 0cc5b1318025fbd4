"""Requests that are refused, each as dear to refuse as we could make it; and one that is not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from controlplane.pb.certificate_pb2 import IstioCertificateRequest
from tests.bench import certificate_fleet
from tests.support import hand_made
from tests.support.authentication import a_token
from tests.support.authorities import a_key
from tests.support.issuing import a_csr, a_request

_SHOP = certificate_fleet.identity(0, 0)
_ELSEWHERE = "spiffe://cluster.local/ns/elsewhere/sa/nobody"


def _good_token(_: int) -> str:
    return certificate_fleet.token(0)


def _made_up_token(number: int) -> str:
    return a_token(f"made-up-{number}-{id(object())}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileRequest:
    """A message and, by the number of its turn, the token it is sent with."""

    name: str
    message: bytes
    token: Callable[[int], str] = _good_token


def hostile_requests() -> Iterator[HostileRequest]:
    """Yield one of each kind; the first is accepted, for comparison."""
    yield HostileRequest(name="accepted", message=_request(a_csr(_SHOP)))
    for name, csr in _signing_requests():
        yield HostileRequest(name=name, message=_request(csr))
    yield HostileRequest(
        name="identity not on the node",
        message=a_request(a_csr(_ELSEWHERE), named=_ELSEWHERE),
    )
    yield HostileRequest(
        name="message of 5 MiB",
        message=IstioCertificateRequest(csr="A" * 5 * 2**20).SerializeToString(),
    )
    yield HostileRequest(
        name="message of 64 KiB, unreadable", message=b"\x0a\x10" + b"\xff" * (2**16 - 2)
    )
    yield HostileRequest(
        name="metadata of 60 KiB",
        message=a_request("A" * 100, metadata={f"{number}": 1 for number in range(3_000)}),
    )
    yield HostileRequest(
        name="token that is none", message=_request(a_csr(_SHOP)), token=lambda _: "x" * 4_000
    )
    yield HostileRequest(name="token made up", message=_request(a_csr(_SHOP)), token=_made_up_token)


def _signing_requests() -> Iterator[tuple[str, str]]:
    yield "RSA-16384", _rsa(16384)
    yield "RSA-4096, wrong signature", _rsa(4096)
    yield "RSA-4096, exponent of 31 bits, wrong signature", _rsa(4096, exponent=2**31 - 1)
    yield "RSA-4096, exponent of 4095 bits", _rsa(4096, exponent=2**4095 - 1)
    yield "P-256, wrong signature", _with_other_key("P-256")
    yield "P-384, wrong signature", _with_other_key("P-384")
    yield "P-521", a_csr(_SHOP, key=ec.generate_private_key(ec.SECP521R1()))
    yield "Ed448", a_csr(_SHOP, key=ed448.Ed448PrivateKey.generate())
    yield "SHA-1", hand_made.signed_with_sha1(ec.generate_private_key(ec.SECP256R1()))
    yield (
        "CA:TRUE",
        a_csr(_SHOP, extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)]),
    )
    yield "5000 names", a_csr(names=_names(5_000))
    yield "names up to 16 KiB", a_csr(names=_names(1_500))
    yield "16 KiB of PEM lines", _frame("A\n" * 8_150)
    yield "16 KiB that frames no PEM", "-----BEGIN CERTIFICATE REQUEST-----\n" + " " * 16_300
    yield "16 KiB of zeros in PEM", hand_made.pem(bytes(11_900))


def _request(csr: str) -> bytes:
    return a_request(csr, named=str(_SHOP))


def _rsa(bits: int, *, exponent: int = 65537) -> str:
    key = hand_made.rsa_key(bits, exponent)
    return hand_made.assemble(
        hand_made.a_body(key), hand_made.RSA_SHA256, bytes([0x01] * (bits // 8))
    )


def _with_other_key(kind: str) -> str:
    key, other = a_key(kind, 1), a_key(kind, 2)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(other, ec.EllipticCurvePrivateKey)
    return hand_made.with_key(a_csr(_SHOP, key=key), key, other)


def _names(number: int) -> list[x509.GeneralName]:
    return [x509.DNSName(f"n{index:x}.a") for index in range(number)]


def _frame(body: str) -> str:
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"
