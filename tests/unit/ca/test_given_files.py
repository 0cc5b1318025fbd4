import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given_files import GivenFiles, certificates_in, key_in, read_file
from tests.support.authorities import KINDS, a_key
from tests.support.issuing import NOW
from tests.support.plugged import CA, MAY_SIGN, key_pem, link, tiers

WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what is to be refused
PEM = tiers().signing.pem.encode()
OTHER = tiers().middle.pem.encode()


def holding(text: bytes) -> GivenFiles:
    return GivenFiles(
        place="etc/cacerts", texts={"file": text}, certificate="file", key="file", roots="file"
    )


@pytest.mark.refutes("PL-5")
@pytest.mark.parametrize(
    "text",
    [
        PEM + OTHER,
        PEM + PEM + OTHER + PEM,
        b"# the signing one\n" + PEM + b"\nCertificate:\n  Data: - -- ---\n" + OTHER + b"\n\n",
        (PEM + OTHER).replace(b"\n", b"\r\n"),
        (PEM + OTHER).rstrip(b"\n"),
    ],
    ids=["plain", "twice", "commentary", "crlf", "no line feed at the end"],
)
def test_whole_certificates(text: bytes) -> None:
    found = certificates_in(holding(text), "file")
    assert found == (tiers().signing.certificate, tiers().middle.certificate)


@pytest.mark.proves("PL-5")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "holds no PEM certificate"),
        (b"hello", "holds no PEM certificate"),
        (PEM + key_pem(a_key()), "something that is not a certificate"),
        (PEM + b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "not a certificate"),
        (PEM + OTHER[:-40], "damaged"),
        (PEM + OTHER[40:], "damaged"),
        (PEM[:-30] + PEM, "damaged"),
        (PEM.replace(b"END CERTIFICATE", b"END CERTIFICATES"), "damaged"),
        (PEM + OTHER.replace(OTHER[100:130], b"A" * 30), "certificate 2 of .* cannot be read"),
        (PEM + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 2"),
        (b"\x00\xff" * 100, "holds no PEM certificate"),
    ],
)
def test_anything_else(text: bytes, fault: str) -> None:
    with pytest.raises(GivenAuthorityError, match=fault) as raised:
        certificates_in(holding(text), "file")
    assert "etc/cacerts/file" in str(raised.value)


def test_too_many_certificates() -> None:
    with pytest.raises(GivenAuthorityError, match="more than 256"):
        certificates_in(holding(PEM * 257), "file")


@pytest.mark.proves("PL-5")
def test_blank_where_it_may_be() -> None:
    assert certificates_in(holding(b" \n"), "file", may_be_blank=True) == ()
    with pytest.raises(GivenAuthorityError, match="holds no PEM certificate"):
        certificates_in(holding(b"none"), "file", may_be_blank=True)


@pytest.mark.proves("PL-6")
@pytest.mark.parametrize("kind", [*KINDS, "RSA-3072"])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_keys(kind: str, form: PrivateFormat) -> None:
    text = key_pem(a_key(kind), form)
    found = key_in(
        holding(b"-----BEGIN EC PARAMETERS-----\nAA==\n-----END EC PARAMETERS-----\n" + text)
    )
    assert found.public_key() == a_key(kind).public_key()


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked(form: PrivateFormat) -> bytes:
    return a_key().private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"passphrase"))


@pytest.mark.refutes("PL-6")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "exactly one PEM private key"),
        (PEM, "exactly one PEM private key"),
        (key_pem(a_key()) * 2, "exactly one PEM private key"),
        (key_pem(a_key())[:-20], "damaged"),
        (key_pem(a_key()).replace(b"PRIVATE", b"EC PRIVATE"), "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (locked(PrivateFormat.PKCS8), "encrypted"),
        (locked(PrivateFormat.TraditionalOpenSSL), "encrypted"),
        (pem(ec.generate_private_key(ec.SECP521R1())), "neither P-256"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "neither P-256"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "neither P-256"),
        (pem(WEAK), "neither P-256"),
    ],
)
@pytest.mark.proves("PL-7")
def test_other_keys(text: bytes, fault: str) -> None:
    with pytest.raises(GivenAuthorityError, match=fault) as raised:
        key_in(holding(text))
    said = f"{raised.value}"
    assert "etc/cacerts/file" in said
    quoted = [line for line in text.decode().splitlines() if len(line) > 8 and "-----" not in line]
    assert not any(line in said for line in quoted)


@pytest.mark.refutes("PL-7")
def test_what_is_whole_is_not_complained_about() -> None:
    files = holding(key_pem(a_key()))
    assert key_in(files).public_key() == a_key().public_key()
    assert "PRIVATE" not in repr(files)


def test_a_pipe_does_not_hold_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GivenAuthorityError, match="pipe is not an ordinary file"):
        read_file(tmp_path / "pipe")


def test_names_of_files_are_part_of_the_digest() -> None:
    first = GivenFiles(place="", texts={"a": b"b", "c": b""}, certificate="", key="", roots="")
    second = GivenFiles(place="", texts={"a": b"", "c": b"b"}, certificate="", key="", roots="")
    assert len({first.digest, second.digest}) == 2


def test_a_subject_of_any_kind_is_readable() -> None:
    odd = link(key=a_key(number=7), extensions=[CA, MAY_SIGN], name="a\nb", life=timedelta(days=1))
    assert odd.certificate.not_valid_after_utc > NOW
    assert certificates_in(holding(odd.pem.encode()), "file") == (odd.certificate,)
