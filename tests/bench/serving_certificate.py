"""A certificate for servers under load: a root of its own and a leaf under it.

Servers here are measured without an authority of ours, so they bring their own.
"""

import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.app.errors import StartupError

_CLOCK_SKEW = timedelta(minutes=2)
_ROOT_LIFETIME = timedelta(days=3650)
_LEAF_LIFETIME = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCertificate:
    """PEM bytes for the server, and the root file that clients verify it with."""

    chain: bytes
    key: bytes
    root_file: Path


def make_serving_certificate(
    folder: Path, *, names: tuple[str, ...], now: datetime
) -> ServingCertificate:
    """Return a fresh leaf for ``names`` under the root kept in ``folder`` (made when missing).

    Args:
        folder: where ``root-cert.pem`` and ``root-key.pem`` live; created, owner-only.
        names: DNS names and IP addresses clients may use.
        now: the current time, aware.

    Raises:
        StartupError: the folder cannot be used, or holds half a root.
    """
    root_file, key_file = folder / "root-cert.pem", folder / "root-key.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if root_file.exists() != key_file.exists():
            raise StartupError(f"{folder} holds only one of root-cert.pem and root-key.pem")
        if not root_file.exists():
            _make_root(root_file, key_file, now)
        root = x509.load_pem_x509_certificate(root_file.read_bytes())
        root_key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise StartupError(f"cannot use {folder} for the serving certificate: {error}") from error
    if not isinstance(root_key, ec.EllipticCurvePrivateKey):
        raise StartupError(f"{key_file} is not an elliptic-curve key")
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        _builder(leaf_key, "istiod-lite", now, _LEAF_LIFETIME)
        .issuer_name(root.subject)
        .add_extension(x509.SubjectAlternativeName(_subject_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return ServingCertificate(
        chain=leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM),
        key=_private_pem(leaf_key),
        root_file=root_file,
    )


def _make_root(root_file: Path, key_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "istiod-lite serving root")])
    root = (
        _builder(key, "istiod-lite serving root", now, _ROOT_LIFETIME)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_private_pem(key))
    root_file.write_bytes(root.public_bytes(Encoding.PEM))


def _builder(
    key: ec.EllipticCurvePrivateKey, name: str, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _subject_names(names: tuple[str, ...]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
