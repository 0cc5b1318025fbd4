"""Authorities as somebody gives them to us: folders in both forms, and istio's own Secret."""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.authorities import Authority, PrivateKey, a_key, an_authority
from tests.support.issuing import NOW

YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """A root, one authority below it and one below that, which signs."""

    root: Authority
    middle: Authority
    signing: Authority


@cache
def tiers(kind: str = "P-256", *, number: int = 0, renewal: int = 0) -> Tiers:
    """Return three tiers: equal numbers have one root, each renewal another signing key."""
    begins = NOW - timedelta(hours=1)
    root = plugged_root(kind, number=number)
    middle = an_authority(
        f"middle {number}",
        key=a_key(kind, 400 + number),
        parent=root,
        path_length=1,
        not_before=begins,
        life=YEAR,
    )
    signing = an_authority(
        f"signing {number}.{renewal}",
        key=a_key(kind, 500 + 10 * number + renewal),
        parent=middle,
        path_length=0,
        not_before=begins,
        life=timedelta(days=30 + renewal),
    )
    return Tiers(root=root, middle=middle, signing=signing)


@cache
def plugged_root(kind: str = "P-256", *, number: int = 0) -> Authority:
    """Return the same root for the same arguments."""
    return an_authority(
        f"plugged root {number}",
        key=a_key(kind, 300 + number),
        path_length=2,
        not_before=NOW - timedelta(hours=1),
        life=10 * YEAR,
    )


def key_pem(key: PrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def istio_form(
    given: Tiers, *, roots: Sequence[Authority] | None = None, form: PrivateFormat | None = None
) -> dict[str, bytes]:
    """Return the files of a folder in istio's form: the chain has the signing certificate too."""
    return {
        "ca-cert.pem": given.signing.pem.encode(),
        "ca-key.pem": key_pem(given.signing.key, form or PrivateFormat.PKCS8),
        "cert-chain.pem": (given.signing.pem + given.middle.pem).encode(),
        "root-cert.pem": "".join(each.pem for each in roots or [given.root]).encode(),
    }


def tls_form(given: Tiers) -> dict[str, bytes]:
    """Return the files of a folder in the form of a Secret for TLS."""
    return {
        "tls.crt": (given.signing.pem + given.middle.pem).encode(),
        "tls.key": key_pem(given.signing.key),
        "ca.crt": given.root.pem.encode(),
    }


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_bytes(text)
        # What was written in the same tick of the file system's clock cannot be told from before.
        if path.stat().st_mtime_ns <= before:
            os.utime(path, ns=(before + 1, before + 1))
    return folder


def istio_root(
    kind: str = "RSA-2048", *, begins: datetime = NOW - YEAR, life: timedelta = 10 * YEAR
) -> Authority:
    """Return a root as an istio installation makes one: named by organisation, signs only."""
    key = a_key(kind, 600)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + life)
        .add_extension(usage(key_cert_sign=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def usage(*, key_cert_sign: bool = False, digital_signature: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def secret_entries(root: Authority) -> dict[str, bytes]:
    return {
        "ca-cert.pem": root.pem.encode(),
        "ca-key.pem": key_pem(root.key, PrivateFormat.TraditionalOpenSSL),
        "cert-chain.pem": b"",
        "key.pem": b"",
        "root-cert.pem": root.pem.encode(),
    }


def secret_manifest(entries: Mapping[str, bytes], *, as_json: bool = False) -> str:
    """Return a manifest as ``kubectl get secret -o yaml`` (or json) prints it."""
    data = {name: base64.b64encode(value).decode() for name, value in entries.items()}
    if as_json:
        head = {"apiVersion": "v1", "kind": "Secret", "type": "istio.io/ca-root"}
        return json.dumps({**head, "metadata": {"name": "istio-ca-secret"}, "data": data})
    lines = "".join(f'  {name}: "{value}"\n' for name, value in data.items())
    return (
        f"apiVersion: v1\ndata:\n{lines}kind: Secret\nmetadata:\n  name: istio-ca-secret\n"
        "  namespace: istio-system\ntype: istio.io/ca-root\n"
    )


def link(
    *,
    key: PrivateKey,
    parent: Authority | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    name: str = "odd",
    life: timedelta = YEAR,
    begins: datetime = NOW - timedelta(hours=1),
) -> Authority:
    """Return an authority with exactly ``extensions``."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if parent is None else parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + life)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    signer = key if parent is None else parent.key
    return Authority(certificate=builder.sign(signer, hashes.SHA256()), key=key)


CA = (x509.BasicConstraints(ca=True, path_length=None), True)
MAY_SIGN = (usage(key_cert_sign=True), True)
